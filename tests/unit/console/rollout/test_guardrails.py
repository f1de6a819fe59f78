"""Guardrails: from events to the end of a route, each rule with what it must not do."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client as Browser
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.audit.queries import entries_about
from console.errors import Conflict, Invalid, NotAllowed
from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.registry.models import ModelVersion
from console.review.models import Decided, ReviewItem, State
from console.review.services import Decision, decide, take
from console.rollout import guardrails, queries, services
from console.rollout.models import Arm, Firing, Mode, Observed, Route, Rule, What
from console.rollout.observations import latency_bin, latency_quantile, totals
from console.rollout.sequential import Count
from console.rollout.tasks import watch
from console.site.roles import Role
from console.staff.models import User
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, failure_event, prediction_event
from tests.unit.console.people import browser, caller, member
from tests.unit.console.rollout.desk import Desk, answers, desk_in_production, shadow

pytestmark = pytest.mark.django_db
UNSURE: dict[str, Any] = {"verdict": words.VERDICT_UNSURE, "confidence": 0.5}


@pytest.fixture
def desk() -> Desk:
    return desk_in_production()


def failures(version: ModelVersion, calls: int) -> list[pb.Event]:
    return [failure_event(model="tiny", version=version.version, calls=calls)]


def in_force(desk: Desk) -> dict[str, str]:
    return {route.version.version: str(route.mode) for route in queries.served_model("tiny").routes}


def fired() -> Firing | None:
    watch()
    return Firing.objects.select_related("route__version").first()


def test_a_canary_that_fails_calls_is_ended_and_the_audit_trail_says_why(desk: Desk) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.1)
    apply_batch(answers(desk.first, 270) + answers(desk.second, 25) + failures(desk.second, 30))
    firing = fired()
    assert firing is not None
    assert (firing.rule, firing.watched_yes, firing.watched_n) == (Rule.ERRORS, 30, 55)
    assert (firing.standard_yes, firing.standard_n) == (0, 270)
    assert in_force(desk) == {desk.first.version: "production"}
    assert firing.route.ended_by is None
    labels = f'mode="canary",model="tiny",rule="errors",version="{desk.second.version}"'
    assert f"amulet_guardrails_unseen{{{labels}}} 1.0" in Browser().get("/metrics").content.decode()
    Firing.objects.update(seen_at=now())
    assert "amulet_guardrails_unseen{" not in Browser().get("/metrics").content.decode()
    entry = next(entry for entry in entries_about("model", "tiny") if entry.type == "rollout.guardrail_fired")
    said = json.loads(entry.payload.text)
    assert (entry.actor, said["rule"], said["watched"], said["production"]) == ("system", "errors", [30, 55], [0, 270])
    watch()  # a task that runs twice does nothing twice
    assert Firing.objects.count() == 1


def test_a_canary_that_began_before_the_clock_was_set_back_is_watched_from_then_on(desk: Desk) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.1)
    Route.objects.filter(mode=Mode.CANARY).update(started_at=now() + timedelta(days=1))
    apply_batch(answers(desk.first, 270) + answers(desk.second, 25) + failures(desk.second, 30))
    firing = fired()
    assert firing is not None
    assert (firing.watched_yes, firing.watched_n, firing.standard_n) == (30, 55, 270)


def test_a_production_version_that_was_left_before_the_clock_was_set_back_is_no_standard(desk: Desk) -> None:
    desk.roll_out(desk.second)
    tomorrow = now() + timedelta(days=1)
    Route.objects.filter(ended_at=None).update(started_at=tomorrow)
    Route.objects.exclude(ended_at=None).update(ended_at=tomorrow)
    desk.roll_out(desk.first, Mode.CANARY, 0.1)
    apply_batch(answers(desk.second, 200) + answers(desk.first, 30))
    canary = Route.objects.get(mode=Mode.CANARY)
    counted = totals(canary)
    assert (counted.n(Arm.WATCHED, What.VERDICT), counted.n(Arm.PRODUCTION, What.VERDICT)) == (30, 200)


def test_a_canary_like_production_goes_on(desk: Desk) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.1)
    unsure: dict[str, Any] = {"verdict": words.VERDICT_UNSURE, "confidence": 0.5}
    apply_batch(
        answers(desk.first, 500) + answers(desk.first, 60, **unsure) + failures(desk.first, 3)
        + answers(desk.second, 150) + answers(desk.second, 20, **unsure) + failures(desk.second, 1)
    )  # fmt: skip
    assert fired() is None
    assert desk.shares() == {desk.first.version: 0.9, desk.second.version: 0.1}


def test_a_canary_that_fails_no_more_than_production_does_goes_on(desk: Desk) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.3)
    apply_batch(
        answers(desk.first, 70) + failures(desk.first, 30) + answers(desk.second, 42) + failures(desk.second, 18)
    )
    assert fired() is None
    apply_batch(failures(desk.second, 82))
    firing = fired()
    assert firing is not None
    assert (firing.standard_yes, firing.standard_n) == (30, 100)


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        (Rule.VERDICTS, {"verdict": words.VERDICT_UNSURE, "confidence": 0.5}),
        (Rule.LATENCY, {"inference_ms": 400.0}),
    ],
)
def test_a_canary_that_answers_otherwise_or_slowly_is_ended(desk: Desk, rule: Rule, fields: dict[str, Any]) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.3)
    apply_batch(answers(desk.first, 300) + answers(desk.second, 60) + answers(desk.second, 60, **fields))
    firing = fired()
    assert firing is not None
    assert (firing.rule, firing.watched_yes, firing.watched_n) == (rule, 60, 120)


def test_below_its_least_count_a_guardrail_decides_nothing(desk: Desk) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.1)
    apply_batch(answers(desk.first, 270) + failures(desk.second, 49))
    assert fired() is None
    apply_batch(failures(desk.second, 1))
    assert fired() is not None


@pytest.mark.parametrize("definition", guardrails.DEFINITIONS, ids=lambda each: f"{each.mode}-{each.rule}")
def test_a_rule_fires_from_its_least_count_and_its_evidence_on(definition: guardrails.Definition) -> None:
    def fires(n: int, log_evidence: float, *, is_off: bool = False) -> bool:
        watched = Count(n, n)
        return guardrails.Reading(definition, watched, None, log_evidence, is_off).fires

    enough, n = math.log(100), definition.count_min  # of the rollouts of a version that is no worse, one in 100
    assert fires(n, enough)
    assert not fires(n - 1, enough)
    assert not fires(n, math.nextafter(enough, 0))
    assert not fires(n, enough, is_off=True)


def test_the_limits_are_those_that_were_agreed() -> None:
    agreed = {(each.mode, each.rule): (each.limit, each.count_min, each.compares) for each in guardrails.DEFINITIONS}
    assert agreed == {
        (Mode.CANARY, Rule.ERRORS): (0.01, 50, True),
        (Mode.CANARY, Rule.LATENCY): (0.05, 100, True),
        (Mode.CANARY, Rule.VERDICTS): (0.05, 100, True),
        (Mode.CANARY, Rule.OVERRIDES): (0.10, 20, True),
        (Mode.SHADOW, Rule.LATENCY): (0.05, 100, True),
        (Mode.SHADOW, Rule.VERDICTS): (0.05, 100, True),
        (Mode.SHADOW, Rule.AGREEMENT): (0.15, 100, False),
        (Mode.PRODUCTION, Rule.ERRORS): (0.05, 50, False),
    }


def test_production_is_new_for_a_day_and_watched_where_it_can_be_left(desk: Desk) -> None:
    begun = Route.objects.get(mode=Mode.PRODUCTION)
    first = begun.started_at
    assert not guardrails.is_watched(begun, first)  # nothing to return to
    desk.roll_out(desk.second)
    route = Route.objects.get(mode=Mode.PRODUCTION, ended_at=None)
    day = timedelta(hours=24)
    assert guardrails.is_watched(route, route.started_at + day - timedelta(microseconds=1))
    assert not guardrails.is_watched(route, route.started_at + day)
    desk.roll_out(desk.third)
    route.refresh_from_db()
    assert not guardrails.is_watched(route, route.started_at)  # it has ended


def test_a_guardrail_that_was_switched_off_watches_and_does_not_act(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.CANARY, 0.1, unguarded=[Rule.ERRORS])
    apply_batch(answers(desk.first, 270) + failures(desk.second, 60))
    assert fired() is None
    (reading,) = [each for each in guardrails.read(route) if each.definition.rule is Rule.ERRORS]
    assert reading.is_off
    assert reading.progress == 1.0


@pytest.mark.usefixtures("static_files")
@pytest.mark.parametrize("language", ["en", "th"])
def test_how_much_of_its_evidence_a_guardrail_has_is_a_figure_that_everybody_reads(desk: Desk, language: str) -> None:
    route = desk.roll_out(desk.second, Mode.CANARY, 0.1, unguarded=[Rule.ERRORS])
    apply_batch(answers(desk.first, 270) + failures(desk.second, 60))
    seen = browser(desk.somchai).get(f"/admin/rollout/route/{route.pk}/change/", headers={"Accept-Language": language})
    rules = [re.sub(r"<[^>]+>", " ", row) for row in seen.content.decode().split("<tr") if "is-value" in row]
    assert len(rules) == len(guardrails.read(route))
    assert [rule for rule in rules if not re.search(r" \d+\.\d% ", rule)] == []
    assert any(" 100.0% " in rule for rule in rules)


def test_answers_of_a_version_that_the_caller_named_count_for_nothing(desk: Desk) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.1)
    apply_batch(answers(desk.second, 40, version_named=True) + answers(desk.second, 2))
    route = Route.objects.get(mode=Mode.CANARY)
    assert totals(route).n(Arm.WATCHED, What.VERDICT) == 2


def test_an_answer_belongs_to_the_routes_of_its_own_moment_and_counts_once(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.CANARY, 0.1)
    before = answers(desk.first, 5, happened_at=now() - timedelta(minutes=5))
    batch = answers(desk.first, 3)
    apply_batch(before + batch)
    apply_batch(before + batch)
    services.end_route(actor=desk.somchai, route_id=route.pk, reason="enough")
    apply_batch(answers(desk.first, 7))
    assert totals(route).n(Arm.PRODUCTION, What.VERDICT) == 3


def overrides_all_but_of_the_first(desk: Desk, n: int) -> None:
    """n answers of the first version and of the second, and what an expert says of them."""
    apply_batch(answers(desk.first, n, **UNSURE) + answers(desk.second, n, **UNSURE))
    prasert = User.objects.filter(groups__name=Role.REVIEWER).first() or member(Role.REVIEWER)
    for item in ReviewItem.objects.filter(state=State.OPEN).select_related("prediction"):
        take(actor=prasert, item_id=item.pk)
        good = item.prediction.version == desk.first.version
        # The expert names no class of the card's: these versions share the tiny card.
        decision = Decision(Decided.CLASS, CLASSES[0]) if good else Decision(Decided.NOT_OUR_KIND)
        decide(actor=prasert, item_id=item.pk, decision=decision)


@pytest.mark.parametrize("set_back", [timedelta(0), timedelta(days=1)])
def test_experts_overrides_end_a_canary(desk: Desk, set_back: timedelta) -> None:
    """Also one that began before the clock was set back."""
    desk.roll_out(desk.second, Mode.CANARY, 0.5)
    Route.objects.filter(mode=Mode.CANARY).update(started_at=F("started_at") + set_back)
    overrides_all_but_of_the_first(desk, 30)
    firing = fired()
    assert firing is not None
    assert (firing.rule, firing.watched_yes, firing.watched_n) == (Rule.OVERRIDES, 30, 30)
    assert (firing.standard_yes, firing.standard_n) == (0, 30)


def test_overrides_of_an_earlier_try_are_not_held_against_a_canary(desk: Desk) -> None:
    earlier = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    overrides_all_but_of_the_first(desk, 3)
    services.end_route(actor=desk.somchai, route_id=earlier.pk, reason="mended")
    again = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    (reading,) = [each for each in guardrails.read(again) if each.definition.rule is Rule.OVERRIDES]
    assert (reading.watched, reading.standard) == (Count(0, 0), Count(0, 0))


def test_overrides_of_what_was_not_in_production_are_no_standard(desk: Desk) -> None:
    """Callers may name a shadow, whose answers say nothing of production's; of old ones nobody knows that they did."""
    desk.roll_out(desk.third, Mode.SHADOW)
    canary = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    apply_batch(answers(desk.third, 40, **UNSURE, version_named=True))
    Prediction.objects.update(version_named=None)
    overrides_all_but_of_the_first(desk, 30)
    (reading,) = [each for each in guardrails.read(canary) if each.definition.rule is Rule.OVERRIDES]
    assert (reading.watched, reading.standard) == (Count(30, 30), Count(0, 30))
    firing = fired()
    assert firing is not None
    assert firing.rule == Rule.OVERRIDES


def test_overrides_of_a_version_that_the_caller_named_count_for_neither_side(desk: Desk) -> None:
    canary = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    apply_batch(
        [event for each in (desk.first, desk.second) for event in answers(each, 4, **UNSURE, version_named=True)]
    )
    apply_batch(answers(desk.second, 1, **UNSURE))
    Prediction.objects.filter(version_named=False).update(version_named=None)  # taken in by the version before
    overrides_all_but_of_the_first(desk, 2)
    (reading,) = [each for each in guardrails.read(canary) if each.definition.rule is Rule.OVERRIDES]
    assert (reading.watched, reading.standard) == (Count(3, 3), Count(0, 2))


def test_what_was_in_production_while_a_canary_ran_stays_its_standard(desk: Desk) -> None:
    canary = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    overrides_all_but_of_the_first(desk, 3)
    desk.roll_out(desk.third)
    (reading,) = [each for each in guardrails.read(canary) if each.definition.rule is Rule.OVERRIDES]
    assert reading.standard == Count(0, 3)


def test_a_shadow_is_ended_for_its_own_disagreement_and_harms_nobody(desk: Desk) -> None:
    desk.roll_out(desk.second, Mode.SHADOW)
    same, other = shadow(desk.second, CLASSES[0]), shadow(desk.second, CLASSES[1])
    apply_batch(answers(desk.first, 70, shadows=[same]) + answers(desk.first, 50, shadows=[other]))
    firing = fired()
    assert firing is not None
    assert (firing.rule, firing.watched_yes, firing.watched_n) == (Rule.AGREEMENT, 50, 120)
    assert (firing.standard_yes, firing.standard_n) == (None, None)  # it is compared with its limit alone
    assert in_force(desk) == {desk.first.version: "production"}


def test_new_production_that_fails_is_rolled_back_in_its_first_day_alone(desk: Desk) -> None:
    route = desk.roll_out(desk.second)
    apply_batch(answers(desk.second, 100) + failures(desk.second, 60))
    Route.objects.filter(pk=route.pk).update(started_at=now() - timedelta(hours=25))
    assert fired() is None
    Route.objects.filter(pk=route.pk).update(started_at=now() - timedelta(hours=1))
    firing = fired()
    assert firing is not None
    assert firing.returned_to == desk.first
    assert in_force(desk) == {desk.first.version: "production"}
    assert Route.objects.get(ended_at=None).started_by is None


def test_the_first_production_version_is_left_alone(desk: Desk) -> None:
    Route.objects.update(started_at=now() - timedelta(minutes=1))
    apply_batch(failures(desk.first, 500))
    assert fired() is None
    assert in_force(desk) == {desk.first.version: "production"}


def test_who_takes_note_is_kept_and_home_is_quiet_again(desk: Desk) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.1)
    apply_batch(answers(desk.first, 270) + failures(desk.second, 60))
    firing = fired()
    assert firing is not None
    assert queries.unseen().count() == 1
    with pytest.raises(NotAllowed):
        services.see_firing(actor=member(Role.VIEWER), firing_id=firing.pk)
    listed = caller(Role.VIEWER).get("/api/v1/guardrails/").json()["results"]
    assert [(row["rule"], row["version"], row["seen_by"]) for row in listed] == [("errors", desk.second.version, None)]
    assert "100.0% (60 of 60" in listed[0]["sentence"]
    seen = caller(Role.MODEL_ENGINEER).post(f"/api/v1/guardrails/{firing.pk}/seen/").json()
    assert seen["seen_by"] == "malee-script"
    entry = entries_about("model", "tiny").last()
    assert entry is not None
    assert (entry.type, entry.actor) == (
        "rollout.guardrail_seen",
        str(User.objects.get(username="malee-script").pseudonym),
    )
    assert json.loads(entry.payload.text) == {"about": ["model", "tiny"], "firing": firing.pk, "rule": "errors"}
    with pytest.raises(Conflict):
        services.see_firing(actor=desk.somchai, firing_id=firing.pk)
    assert queries.unseen().count() == 0


@pytest.mark.parametrize(
    ("mode", "ratio", "unguarded", "field"),
    [
        (Mode.SHADOW, 0.5, [], "weight_ratio"),
        (Mode.PRODUCTION, 0.5, [], "weight_ratio"),
        (Mode.CANARY, None, [], "weight_ratio"),
        (Mode.CANARY, 0.5, [Rule.AGREEMENT], "unguarded"),
        (Mode.SHADOW, None, [Rule.OVERRIDES], "unguarded"),
        (Mode.PRODUCTION, None, [Rule.LATENCY], "unguarded"),
    ],
)
def test_a_setting_that_could_not_take_effect_is_refused(
    desk: Desk, mode: Mode, ratio: float | None, unguarded: list[Rule], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        desk.roll_out(desk.second, mode, ratio, unguarded=unguarded)
    assert refused.value.field == field
    assert in_force(desk) == {desk.first.version: "production"}


def test_what_is_slow_is_fixed_by_what_production_took_before(desk: Desk) -> None:
    apply_batch([event for ms in range(49) for event in answers(desk.first, 1, inference_ms=float(ms))])
    assert queries.slow_ms("tiny", desk.first.version) == queries.SLOW_MS_DEFAULT
    apply_batch([event for ms in range(49, 100) for event in answers(desk.first, 1, inference_ms=float(ms))])
    # Two models may have a version of the same name.
    apply_batch([prediction_event(model="coins", version=desk.first.version, inference_ms=900.0) for _ in range(100)])
    assert desk.roll_out(desk.second, Mode.SHADOW).slow_ms == 1.5 * 94


def test_the_times_that_are_kept_are_near_those_that_were_measured() -> None:
    for milliseconds in (0.0, 0.4, 1.0, 7.3, 22.25, 400.0, 1e6):
        upper = latency_quantile({(str(latency_bin(milliseconds)), ""): 1}, 0.5)
        assert upper is not None
        if 1.0 <= milliseconds < 2**14:
            assert milliseconds < upper <= milliseconds * 1.19
    assert latency_quantile({}, 0.5) is None


def test_a_look_costs_the_same_however_many_calls_there_were(
    desk: Desk, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.5)
    apply_batch(answers(desk.first, 20) + answers(desk.second, 20))
    rows = Observed.objects.count()
    apply_batch(answers(desk.first, 400) + answers(desk.second, 400))
    assert Observed.objects.count() == rows
    with django_assert_max_num_queries(4):  # routes; of the canary its counts and its decisions
        watch()

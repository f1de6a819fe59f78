"""What the page of a route says first: who answers now, what happens by itself, and what others did meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now

from console.ingest.services import apply_batch
from console.rollout import experiments, queries
from console.rollout.experiments import Plan
from console.rollout.glance import parts_of, whats_next
from console.rollout.guardrails import read
from console.rollout.models import Measure, Mode, Route, Rule
from console.site.roles import Role
from tests.unit.console.people import browser, caller
from tests.unit.console.rollout.desk import Desk, answers, desk_in_production

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


@pytest.fixture
def desk() -> Desk:
    return desk_in_production()


def said_of(route: Route) -> list[str]:
    route.refresh_from_db()
    return [each.text for each in whats_next(route, queries.served_model("tiny"), read(route))]


def test_who_answers_is_said_with_the_share_of_the_calls(desk: Desk) -> None:
    desk.roll_out(desk.second, Mode.CANARY, 0.05)
    desk.roll_out(desk.third, Mode.SHADOW)
    assert [(part.version, part.mode, part.calls) for part in parts_of(queries.served_model("tiny"))] == [
        (desk.first.version, "production", "95%"),
        (desk.second.version, "canary", "5%"),
        (desk.third.version, "shadow", "copies only"),
    ]


def test_a_canary_says_what_its_guardrails_still_wait_for(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.CANARY, 0.05, unguarded=[Rule.OVERRIDES])
    apply_batch(answers(desk.second, 60))
    guarded, rest = said_of(route)
    assert "slow answers 60 of 100" in guarded
    assert "failed calls" not in guarded  # has its fifty
    assert "overrides" not in guarded  # switched off
    assert rest.startswith("Nothing else ends it")


def test_a_guardrail_that_has_seen_enough_is_named(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    apply_batch(answers(desk.first, 400, inference_ms=20.0) + answers(desk.second, 400, inference_ms=5000.0))
    assert said_of(route)[0] == "The guardrail “slow answers” has seen enough: it acts within seconds."


def test_a_new_production_version_says_until_when_and_what_comes_back(desk: Desk) -> None:
    route = desk.roll_out(desk.second)
    (said,) = said_of(route)
    assert said.startswith("Until ")
    assert desk.first.version in said
    Route.objects.filter(pk=route.pk).update(started_at=now() - timedelta(hours=25))
    assert said_of(route)[0].startswith("No guardrail watches it")
    desk.roll_back()
    assert said_of(route) == ["This route is over: nothing more happens with it."]


def test_a_version_without_one_before_it_is_watched_by_nothing(desk: Desk) -> None:
    assert said_of(Route.objects.get())[0].startswith("No guardrail watches it")


def test_an_experiment_says_at_which_answer_it_looks_next(desk: Desk) -> None:
    plan = Plan("Experts agree more often.", Measure.IN_DOMAIN, 0.85, 0.05, 0.2)
    made = experiments.start(
        actor=desk.somchai, version_id=desk.second.pk, plan=plan, reason="why not", backend=lambda: desk.backend
    )
    apply_batch(answers(desk.second, 7))
    due = -(-made.size // 5)
    assert f"looks next at {due} answers of this version; 7 are there" in said_of(made.route)[1]


def at_the_desk(desk: Desk) -> Client:
    person = browser(desk.somchai)
    person.cookies["django_language"] = "en"
    return person


def sent(page: str, **more: str) -> dict[str, str]:
    """The form as a browser sends it, with what the page had hidden in it."""
    seen = page.split('name="seen" value="')[1].split('"')[0]
    return {"mode": "canary", "share_percent": "5", "reason": "try it", "seen": seen, **more}


def test_who_rolls_out_second_ends_nothing_that_the_page_did_not_show(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.torchserve.connections.management", lambda: desk.backend)
    address = f"/admin/registry/modelversion/{desk.third.pk}/roll-out/"
    two = at_the_desk(desk)
    form = sent(two.get(address).content.decode())
    colleagues = desk.roll_out(desk.second, Mode.CANARY, 0.2)  # in another tab, meanwhile
    refused = two.post(address, form).content.decode()
    assert "Somebody else changed the routes at the same moment; look again." in refused
    assert "try it" in refused  # what was typed
    assert f"Another canary would end the one of {desk.second.version}." in refused  # and what is so now
    colleagues.refresh_from_db()
    assert colleagues.ended_at is None
    # Who has seen it now may.
    assert two.post(address, sent(refused)).status_code == 302
    colleagues.refresh_from_db()
    assert colleagues.ended_at is not None
    assert desk.shares() == {desk.first.version: 0.95, desk.third.version: 0.05}


def test_a_script_that_says_what_it_saw_ends_nothing_else(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.torchserve.connections.management", lambda: desk.backend)
    script, address = caller(Role.APPROVER), f"/api/v1/versions/{desk.third.pk}/rollout/"
    wanted = {"mode": "canary", "weight_ratio": 0.05, "reason": "try it"}

    def in_force() -> list[int]:
        rows = script.get("/api/v1/routes/", {"ended": "false"}).json()["results"]
        return [row["id"] for row in rows if row["mode"] != "shadow"]

    seen = in_force()
    colleagues = desk.roll_out(desk.second, Mode.CANARY, 0.2)
    refused = script.post(address, wanted | {"seen": seen})
    assert (refused.status_code, refused.json()["reason"]) == (409, "changed_meanwhile")
    colleagues.refresh_from_db()
    assert colleagues.ended_at is None
    assert script.post(address, wanted | {"seen": in_force()}).status_code == 200
    colleagues.refresh_from_db()
    assert colleagues.ended_at is not None


def test_the_page_begins_with_who_answers_and_what_is_next(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.CANARY, 0.05)
    page = at_the_desk(desk).get(f"/admin/rollout/route/{route.pk}/change/").content.decode()
    assert page.index("Answers now") < page.index("Nothing else ends it") < page.index("This route")
    assert f"/admin/registry/modelversion/{desk.second.pk}/roll-out/" in page


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "Say how many per cent of the calls the canary answers."),
        ("th", "โปรดระบุว่าการทดลองบางส่วนตอบการเรียกร้อยละเท่าใด"),
    ],
)
def test_a_canary_without_a_share_is_asked_for_per_cent(desk: Desk, language: str, said: str) -> None:
    """The page said “between 0 and 1” beside a field in per cent: 0.5 would have been half a per cent."""
    address = f"/admin/registry/modelversion/{desk.third.pk}/roll-out/"
    person = browser(desk.somchai)
    form = sent(person.get(address).content.decode(), share_percent="")
    refused = person.post(address, form, headers={"Accept-Language": language})
    assert refused.context["form"].errors["share_percent"] == [said]
    assert refused.context["form"].non_field_errors() == []


@pytest.mark.parametrize(
    ("baseline", "effect", "field"),
    [("100", "2", "baseline_percent"), ("0", "2", "baseline_percent"), ("97", "3", "effect_points"),
     ("97", "0", "effect_points")],
)  # fmt: skip
def test_what_an_experiment_states_is_refused_in_per_cent(desk: Desk, baseline: str, effect: str, field: str) -> None:
    address = f"/admin/registry/modelversion/{desk.third.pk}/experiment/"
    form = {
        "hypothesis": "Better on worn pieces.", "measure": "in_domain", "baseline_percent": baseline,
        "effect_points": effect, "share_percent": "20", "answers_max": "10000", "reason": "try it",
    }  # fmt: skip
    for language, percent in (("en", "100 per cent"), ("th", "ร้อยละ 100")):
        refused = browser(desk.somchai).post(address, form, headers={"Accept-Language": language})
        assert list(refused.context["form"].errors) == [field]
        assert percent in refused.context["form"].errors[field][0]

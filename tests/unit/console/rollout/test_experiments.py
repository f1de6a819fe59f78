"""Experiments: the size that was computed beforehand, the errors that were promised, and the three outcomes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from console.audit.queries import entries_about
from console.audit.words import words_with
from console.errors import Conflict, Invalid, NotAllowed
from console.ingest.services import apply_batch
from console.registry.models import ModelVersion
from console.registry.services import REASON_CHARACTERS_MAX
from console.review.models import Decided, ReviewItem
from console.review.services import Decision, decide, take
from console.rollout import experiments, group_sequential, services
from console.rollout.experiments import Plan
from console.rollout.group_sequential import ALPHA, LOOKS, POWER, border, difference, look_due
from console.rollout.models import Experiment, Measure, Mode, Outcome, Route, Rule
from console.rollout.sequential import Count
from console.rollout.tasks import watch
from console.site.roles import Role
from console.staff.models import User
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.people import caller, member
from tests.unit.console.rollout.desk import Desk

RUNS = 4000
SEED = 20261126


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.roll_out(made.first)
    return made


def a_plan(**fields: Any) -> Plan:
    return Plan(
        **{
            "hypothesis": "Fewer unsure answers on worn pieces.",
            "measure": Measure.IN_DOMAIN,
            "baseline_ratio": 0.6,
            "effect_ratio": 0.2,
            "share_ratio": 0.5,
            **fields,
        }
    )


def started(desk: Desk, **fields: Any) -> Experiment:
    return experiments.start(
        actor=desk.somchai,
        version_id=desk.second.pk,
        plan=a_plan(**fields),
        reason="to know",
        backend=lambda: desk.backend,
    )


def answers(version: ModelVersion, good: int, n: int) -> list[Any]:
    verdicts = [words.VERDICT_IN_DOMAIN] * good + [words.VERDICT_UNSURE] * (n - good)
    return [prediction_event(model=version.model, version=version.version, verdict=verdict) for verdict in verdicts]


def outcome() -> tuple[str, int]:
    watch()
    found = Experiment.objects.get()
    return found.outcome, found.looks_done


def simulated(generator: np.random.Generator, watched: float, standard: float, plan: Plan) -> dict[str, float]:
    """How often each outcome comes out, with known shares: the rule of `experiments.stand` on drawn answers."""
    size = experiments.size_of(plan)
    step = math.ceil(size / LOOKS)
    ended: dict[str, int] = dict.fromkeys(("successful", "failed", "inconclusive"), 0)
    one = generator.binomial(step, watched, (RUNS, LOOKS)).cumsum(axis=1)
    other = generator.binomial(step, standard, (RUNS, LOOKS)).cumsum(axis=1)
    for run in range(RUNS):
        found = "inconclusive"
        for look in range(1, LOOKS + 1):
            a, b = Count(int(one[run, look - 1]), step * look), Count(int(other[run, look - 1]), step * look)
            if difference(a, b, 0.0) >= border(look):
                found = "successful"
            elif -difference(a, b, plan.effect_ratio) >= border(look):
                found = "failed"
            if found != "inconclusive":
                break
        ended[found] += 1
    return {name: count / RUNS for name, count in ended.items()}


@pytest.mark.parametrize(("baseline", "effect"), [(0.6, 0.1), (0.93, 0.04)])
def test_the_errors_are_those_that_were_promised(baseline: float, effect: float) -> None:
    generator = np.random.default_rng([SEED, int(100 * baseline)])
    plan = a_plan(baseline_ratio=baseline, effect_ratio=effect)
    error = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
    nothing = simulated(generator, baseline, baseline, plan)
    assert nothing["successful"] <= ALPHA + error, nothing
    better = simulated(generator, baseline + effect, baseline, plan)
    assert better["failed"] <= ALPHA + error, better
    assert better["successful"] >= POWER - 0.03, better
    worse = simulated(generator, baseline - effect, baseline, plan)
    assert worse["failed"] >= 0.97, worse


def test_the_size_by_hand() -> None:
    """One-sided 0.05 and 0.8: (1.645 + 0.842)² = 6.182; 0.8·0.2 + 0.6·0.4 = 0.4; over 0.2², with the looks' 4 %."""
    assert experiments.size_of(a_plan()) == math.ceil(1.04 * 6.1826 * 0.4 / 0.04)
    # As long, as sure and as much as a question may be.
    assert experiments.size_of(
        a_plan(hypothesis="h" * REASON_CHARACTERS_MAX, baseline_ratio=0.05, effect_ratio=0.94, share_ratio=0.95)
    )
    # Production gives nine answers for each: it is known better, and fewer are needed.
    assert experiments.size_of(a_plan(share_ratio=0.1)) < experiments.size_of(a_plan())
    assert [look_due(n, 100) for n in (0, 19, 20, 99, 100, 500)] == [0, 0, 1, 4, 5, 5]
    assert border(LOOKS) < border(1) == pytest.approx(1.7509 * math.sqrt(5))
    assert difference(Count(50, 100), Count(50, 100), 0.0) == 0.0
    assert group_sequential.size(baseline=0.5, effect=0.001, others=1.0) > 1_000_000


def test_the_standardised_difference_by_hand() -> None:
    """With one good and one bad answer more on each side: 61 of 102 and 41 of 202."""
    error = math.sqrt(61 * 41 / 102**3 + 41 * 161 / 202**3)
    found = difference(Count(60, 100), Count(40, 200), 0.05)
    assert found == pytest.approx((61 / 102 - 41 / 202 - 0.05) / error)
    assert difference(Count(0, 0), Count(0, 0), 0.0) == 0.0


@pytest.mark.django_db
def test_a_version_that_is_better_succeeds_at_a_look_and_not_between(desk: Desk) -> None:
    experiment = started(desk, answers_max=65)
    assert experiment.size == 65  # which may be spent, and not one more
    assert Route.objects.get(mode=Mode.CANARY).unguarded == [Rule.VERDICTS]  # it is the very thing that shall change
    apply_batch(answers(desk.first, 36, 60) + answers(desk.second, 12, 12))
    assert outcome() == ("running", 0)
    apply_batch(answers(desk.second, 48, 48))
    assert outcome() == ("successful", 4)
    said = [
        json.loads(entry.payload.text)
        for entry in entries_about("model", "tiny")
        if entry.type == "rollout.experiment_settled"
    ]
    assert [(each["outcome"], each["watched"], each["production"]) for each in said] == [
        ("successful", [60, 60], [36, 60])
    ]
    watch()
    assert outcome() == ("successful", 4)


@pytest.mark.django_db
def test_the_question_stands_in_the_audit_trail_before_the_first_answer(desk: Desk) -> None:
    experiment = started(desk, hypothesis=" Worn pieces. ", measure=Measure.IN_TIME, share_ratio=0.25)
    (entry,) = [each for each in entries_about("model", "tiny") if each.type == "rollout.experiment_started"]
    assert entry.actor == str(desk.somchai.pseudonym)
    assert json.loads(entry.payload.text) == {
        "about": ["model", "tiny"],
        "experiment": experiment.pk,
        "measure": "in_time",
        "baseline_ratio": 0.6,
        "effect_ratio": 0.2,
        "share_ratio": 0.25,
        "size": experiment.size,
        "alpha": 0.05,
        "power": 0.8,
    }
    typed = words_with(entry)
    assert typed is not None
    assert json.loads(typed.payload.text)["hypothesis"] == "Worn pieces."
    assert (experiment.hypothesis, experiment.alpha, experiment.power) == ("Worn pieces.", ALPHA, POWER)


@pytest.mark.django_db
def test_what_is_settled_stays_so_and_settles_nothing_else(desk: Desk) -> None:
    desk.roll_out(desk.approved(7, model="coins"))
    experiment = started(desk)
    beside = experiments.start(
        actor=desk.somchai,
        version_id=(coin := desk.approved(8, model="coins")).pk,
        plan=a_plan(),
        reason="to know",
        backend=lambda: desk.backend,
    )
    assert experiments.stand(beside).border == border(1)  # which is the next to come
    apply_batch(answers(desk.first, 36, 60) + answers(desk.second, 60, 60) + answers(coin, 9, 13))
    assert experiments.settle_due() == 1
    settled = Experiment.objects.get(pk=experiment.pk)
    told = [settled.watched_yes, settled.watched_n, settled.standard_yes, settled.standard_n]
    assert (settled.outcome, settled.looks_done, told) == ("successful", 4, [60, 60, 36, 60])
    beside.refresh_from_db()
    assert (beside.outcome, beside.looks_done) == ("running", 1)

    apply_batch(answers(desk.second, 0, 20))  # the canary goes on, and gets worse
    assert not experiments._settle(experiment)  # another worker, which read it while it was running
    assert experiments.settle_due() == 0
    for each in (settled, Experiment.objects.get(pk=experiment.pk)):
        standing = experiments.stand(each)
        assert (standing.watched, standing.standard) == (Count(60, 60), Count(36, 60))
        assert (standing.outcome, standing.look) == (Outcome.SUCCESSFUL, 4)
        assert (each.looks_done, each.settled_at) == (4, settled.settled_at)
    (entry,) = [each for each in entries_about("model", "tiny") if each.type == "rollout.experiment_settled"]
    said = json.loads(entry.payload.text)
    assert (entry.actor, said["experiment"], said["version"]) == ("system", experiment.pk, desk.second.version)


@pytest.mark.django_db
def test_a_version_that_is_no_better_fails(desk: Desk) -> None:
    started(desk)
    apply_batch(answers(desk.first, 48, 80) + answers(desk.second, 20, 60))
    assert outcome() == ("failed", 4)


@pytest.mark.django_db
def test_what_comes_between_two_looks_waits_for_the_second(desk: Desk) -> None:
    started(desk)
    apply_batch(answers(desk.first, 48, 80) + answers(desk.second, 9, 13))
    assert outcome() == ("running", 1)
    apply_batch(answers(desk.second, 0, 12))  # surely no better, were it looked at
    assert outcome() == ("running", 1)
    apply_batch(answers(desk.second, 0, 1))
    assert outcome() == ("failed", 2)


@pytest.mark.django_db
def test_a_worker_that_does_not_know_of_a_look_takes_no_other_for_it(desk: Desk) -> None:
    read_before = started(desk)
    apply_batch(answers(desk.first, 10, 80) + answers(desk.second, 2, 13))
    assert outcome() == ("running", 1)
    apply_batch(answers(desk.second, 12, 12))  # surely better, were it looked at
    assert not experiments._settle(read_before)
    assert outcome() == ("running", 1)


@pytest.mark.django_db
def test_nor_is_it_taken_for_better_between_two_looks(desk: Desk) -> None:
    started(desk)
    apply_batch(answers(desk.first, 10, 80) + answers(desk.second, 2, 13))
    assert outcome() == ("running", 1)
    apply_batch(answers(desk.second, 12, 12))  # surely better, were it looked at
    assert outcome() == ("running", 1)
    apply_batch(answers(desk.second, 1, 1))
    assert outcome() == ("successful", 2)


def in_time(version: ModelVersion, good: int, n: int) -> None:
    took_ms = [20.0] * good + [400.0] * (n - good)
    apply_batch([prediction_event(model="tiny", version=version.version, inference_ms=each) for each in took_ms])


def agreed(version: ModelVersion, good: int, n: int) -> None:
    apply_batch(
        [
            prediction_event(model="tiny", version=version.version, verdict=words.VERDICT_UNSURE, confidence=0.5)
            for _ in range(n)
        ]
    )
    expert = User.objects.filter(groups__name=Role.REVIEWER).first() or member(Role.REVIEWER)
    for number, item in enumerate(ReviewItem.objects.filter(prediction__version=version.version)):
        take(actor=expert, item_id=item.pk)
        said = Decision(Decided.CLASS, CLASSES[0]) if number < good else Decision(Decided.NOT_OUR_KIND)
        decide(actor=expert, item_id=item.pk, decision=said)


@pytest.mark.django_db
@pytest.mark.parametrize(("measure", "send"), [(Measure.IN_TIME, in_time), (Measure.AGREED, agreed)])
def test_a_measure_counts_what_it_hopes_for(
    desk: Desk, measure: Measure, send: Callable[[ModelVersion, int, int], None]
) -> None:
    experiment = started(desk, measure=measure)
    assert Route.objects.get(mode=Mode.CANARY).unguarded == []  # every guardrail goes on acting
    send(desk.first, 6, 10)
    send(desk.second, 9, 10)
    standing = experiments.stand(experiment)
    assert (standing.watched, standing.standard) == (Count(9, 10), Count(6, 10))


@pytest.mark.django_db
def test_too_few_answers_are_inconclusive_and_so_is_a_tie_between_the_questions(desk: Desk) -> None:
    started(desk)
    apply_batch(answers(desk.first, 6, 10) + answers(desk.second, 0, 10))
    services.end_route(actor=desk.somchai, route_id=Route.objects.get(mode=Mode.CANARY).pk, reason="no time")
    assert outcome()[0] == "inconclusive"
    Experiment.objects.all().delete()
    started(desk)
    apply_batch(answers(desk.first, 42, 70) + answers(desk.second, 49, 70))  # better, by half of what matters
    assert outcome() == ("inconclusive", LOOKS)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"hypothesis": " "}, "hypothesis"),
        ({"hypothesis": "h" * (REASON_CHARACTERS_MAX + 1)}, "hypothesis"),
        ({"baseline_ratio": 0.0}, "baseline_ratio"),
        ({"baseline_ratio": 1.0}, "baseline_ratio"),
        ({"baseline_ratio": math.nan}, "baseline_ratio"),
        ({"baseline_ratio": 0.5, "effect_ratio": 0.5}, "effect_ratio"),
        ({"share_ratio": 0.0}, "share_ratio"),
        ({"effect_ratio": 0.0}, "effect_ratio"),
        ({"effect_ratio": 0.5}, "effect_ratio"),
        ({"share_ratio": 1.0}, "share_ratio"),
        ({"answers_max": 64}, "answers_max"),
    ],
)
def test_a_question_that_cannot_be_answered_is_not_started(desk: Desk, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        started(desk, **fields)
    assert refused.value.field == field
    assert not Experiment.objects.exists()
    assert desk.shares() == {desk.first.version: 1.0}


@pytest.mark.django_db
def test_one_question_at_a_time_and_not_by_everybody(desk: Desk) -> None:
    with pytest.raises(NotAllowed):
        experiments.start(
            actor=member(Role.VIEWER),
            version_id=desk.second.pk,
            plan=a_plan(),
            reason="r",
            backend=lambda: desk.backend,
        )
    desk.roll_out(desk.third, Mode.CANARY, 0.1)
    with pytest.raises(Conflict) as refused:
        started(desk)
    assert refused.value.reason == "canary_in_force"


@pytest.mark.django_db
def test_a_canary_that_somebody_starts_meanwhile_stays(desk: Desk) -> None:
    def loading() -> Any:
        """TorchServe takes its time."""
        desk.roll_out(desk.third, Mode.CANARY, 0.1)
        return desk.backend

    with pytest.raises(Conflict) as refused:
        experiments.start(
            actor=desk.somchai, version_id=desk.second.pk, plan=a_plan(), reason="to know", backend=loading
        )
    assert refused.value.reason == "canary_in_force"
    assert Route.objects.get(mode=Mode.CANARY, ended_at=None).version == desk.third


@pytest.mark.django_db
def test_no_canary_without_its_question_where_the_process_dies_between(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(**_fields: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Experiment.objects, "create", dies)
    with pytest.raises(KeyboardInterrupt):
        started(desk)
    assert desk.shares() == {desk.first.version: 1.0}


@pytest.mark.django_db
def test_rest_shows_the_question_and_what_was_seen(desk: Desk) -> None:
    experiment = started(desk)
    apply_batch(answers(desk.first, 6, 10) + answers(desk.second, 9, 10))
    told = caller(Role.VIEWER).get(f"/api/v1/experiments/{experiment.pk}/").json()
    assert (told["outcome"], told["size"], told["alpha"]) == (Outcome.RUNNING, 65, 0.05)
    assert (told["watched"]["yes"], told["watched"]["n"], told["production"]["yes"]) == (9, 10, 6)
    assert caller(Role.APPROVER).get("/api/v1/experiments/?outcome=running").json()["results"][0]["id"] == experiment.pk

"""Experiments: is the canary better than production, by enough to matter? Asked, sized and given its errors beforehand.

    start ──▶ running ──▶ successful     surely better than production
                    ├───▶ failed         surely not better by the effect that was said to matter
                    └───▶ inconclusive   the planned answers are there, or the canary ended, and neither is sure

It is looked at LOOKS times, at a fifth, two fifths … of the planned answers, with borders that hold
the rate of false alarms over all looks together (`group_sequential`). Where nothing is better,
"successful" has a chance of at most ALPHA; where it is better by the effect, "failed" has.
Guardrails go on watching, but for verdicts where they are the very thing that shall change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.words import record_with_words
from console.errors import Invalid
from console.registry.services import REASON_CHARACTERS_MAX, find_version
from console.rollout import group_sequential, guardrails, services
from console.rollout.group_sequential import ALPHA, LOOKS, POWER
from console.rollout.models import Experiment, Measure, Mode, Outcome, Route, Rule
from console.rollout.queries import served_model
from console.rollout.sequential import Count
from console.staff.models import User
from console.staff.services import require
from console.torchserve.management import Backend

SIZE_MIN: Final = 50  # below, shares are no normal approximation of anything
# Which guardrail counts the opposite of what each measure hopes for.
_COUNTED: Final = {Measure.IN_DOMAIN: Rule.VERDICTS, Measure.AGREED: Rule.OVERRIDES, Measure.IN_TIME: Rule.LATENCY}
_JUDGED_HERE: Final = {Measure.IN_DOMAIN: (Rule.VERDICTS,)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is said before the first answer. Ratios are shares of answers, 0 to 1."""

    hypothesis: str
    measure: Measure
    baseline_ratio: float  # what production is expected to reach
    effect_ratio: float  # the smallest improvement that matters
    share_ratio: float  # of the calls, for the new version
    answers_max: int | None = None  # how many answers of the new version may be spent; None: as many as it takes


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands: good answers of both, and how far each question is from its border at the last look."""

    watched: Count
    standard: Count
    look: int  # 0 to LOOKS
    better: float  # standardised difference, and the border it would have to reach
    not_worth: float  # the same of "not better by the effect"
    border: float
    outcome: Outcome


def size_of(plan: Plan) -> int:
    """How many answers of the new version it takes at most. Raises Invalid for a plan that states no question."""
    _check(plan)
    found = group_sequential.size(
        baseline=plan.baseline_ratio,
        effect=plan.effect_ratio,
        others=(1 - plan.share_ratio) / plan.share_ratio,
    )
    return max(SIZE_MIN, found)


def start(*, actor: User, version_id: int, plan: Plan, reason: str, backend: Callable[[], Backend]) -> Experiment:
    """Roll an approved version out as a canary with a question. Raises what `services.roll_out` does, and Invalid."""
    require(actor, "rollout.change_route")
    size = size_of(plan)
    if plan.answers_max is not None and size > plan.answers_max:
        raise Invalid(
            _("This takes {size} answers of the new version, and {most} were allowed.").format(
                size=f"{size:,}", most=f"{plan.answers_max:,}"
            ),
            field="answers_max",
        )
    services.check_no_canary(served_model(find_version(version_id).model))
    kept: list[Experiment] = []
    services.roll_out(
        actor=actor,
        version_id=version_id,
        mode=Mode.CANARY,
        weight_ratio=plan.share_ratio,
        reason=reason,
        backend=backend,
        unguarded=_JUDGED_HERE.get(plan.measure, ()),
        asking=lambda route: kept.append(_keep(actor, route, plan, size)),
    )
    return kept[0]


def stand(experiment: Experiment, *, fresh: bool = False) -> Standing:
    """How a running experiment stands now; a settled one as it was settled. fresh: as `guardrails.read` has it."""
    if experiment.outcome != Outcome.RUNNING:
        assert experiment.watched_yes is not None
        assert experiment.watched_n is not None
        assert experiment.standard_yes is not None
        assert experiment.standard_n is not None
        watched = Count(experiment.watched_yes, experiment.watched_n)
        standard = Count(experiment.standard_yes, experiment.standard_n)
    else:
        rule = _COUNTED[Measure(experiment.measure)]
        reading = next(each for each in guardrails.read(experiment.route, fresh=fresh) if each.definition.rule is rule)
        assert reading.standard is not None
        watched, standard = _good(reading.watched), _good(reading.standard)
    look = group_sequential.look_due(watched.n, experiment.size)
    better = group_sequential.difference(watched, standard, 0.0)
    not_worth = -group_sequential.difference(watched, standard, experiment.effect_ratio)
    border = group_sequential.border(max(1, look))
    if experiment.outcome != Outcome.RUNNING:
        outcome = Outcome(experiment.outcome)
    elif look > experiment.looks_done and better >= border:
        outcome = Outcome.SUCCESSFUL
    elif look > experiment.looks_done and not_worth >= border:
        outcome = Outcome.FAILED
    elif look == LOOKS or experiment.route.ended_at is not None:
        outcome = Outcome.INCONCLUSIVE
    else:
        outcome = Outcome.RUNNING
    return Standing(watched, standard, look, better, not_worth, border, outcome)


def settle_due() -> int:
    """Settle every running experiment that has its outcome. Returns how many."""
    running = Experiment.objects.filter(outcome=Outcome.RUNNING).select_related("route__version")
    return sum(_settle(experiment) for experiment in running)


@transaction.atomic
def _settle(experiment: Experiment) -> bool:
    standing = stand(experiment, fresh=True)
    if standing.outcome is Outcome.RUNNING:
        Experiment.objects.filter(pk=experiment.pk, looks_done__lt=standing.look).update(looks_done=standing.look)
        return False
    # Another worker may have taken this look since: what has come in since then waits for the next one.
    unchanged = Experiment.objects.filter(pk=experiment.pk, outcome=Outcome.RUNNING, looks_done=experiment.looks_done)
    moved = unchanged.update(
        outcome=standing.outcome,
        settled_at=now(),
        looks_done=standing.look,
        watched_yes=standing.watched.yes,
        watched_n=standing.watched.n,
        standard_yes=standing.standard.yes,
        standard_n=standing.standard.n,
    )
    if moved:
        _record(
            None,
            "rollout.experiment_settled",
            experiment,
            outcome=standing.outcome.value,
            version=experiment.route.version.version,
            watched=[standing.watched.yes, standing.watched.n],
            production=[standing.standard.yes, standing.standard.n],
        )
    return bool(moved)


def _keep(actor: User, route: Route, plan: Plan, size: int) -> Experiment:
    experiment = Experiment.objects.create(
        route=route,
        hypothesis=plan.hypothesis.strip(),
        measure=plan.measure,
        baseline_ratio=plan.baseline_ratio,
        effect_ratio=plan.effect_ratio,
        alpha=ALPHA,
        power=POWER,
        size=size,
    )
    _record(
        actor,
        "rollout.experiment_started",
        experiment,
        words={"hypothesis": experiment.hypothesis},
        measure=plan.measure.value,
        baseline_ratio=plan.baseline_ratio,
        effect_ratio=plan.effect_ratio,
        share_ratio=plan.share_ratio,
        size=size,
        alpha=ALPHA,
        power=POWER,
    )
    return experiment


def _check(plan: Plan) -> None:
    if not plan.hypothesis.strip() or len(plan.hypothesis) > REASON_CHARACTERS_MAX:
        raise Invalid(_("Say what you expect, in a sentence or two."), field="hypothesis")
    if not 0.0 < plan.baseline_ratio < 1.0:
        raise Invalid(_("What production reaches lies between 0 and 1, both excluded."), field="baseline_ratio")
    if not plan.effect_ratio > 0.0 or plan.baseline_ratio + plan.effect_ratio >= 1.0:
        raise Invalid(_("The improvement is above 0, and with what production reaches below 1."), field="effect_ratio")
    if not 0.0 < plan.share_ratio < 1.0:
        raise Invalid(_("A canary's share lies between 0 and 1, both excluded."), field="share_ratio")


def _good(bad: Count) -> Count:
    return Count(bad.n - bad.yes, bad.n)


def _record(
    actor: User | None, action: str, experiment: Experiment, *, words: Mapping[str, str] | None = None, **details: Any
) -> None:
    record_with_words(
        actor=actor,
        action=action,
        subject_type="model",
        subject_id=experiment.route.model,
        details={"experiment": experiment.pk, **details},
        words=words or {},
    )

"""What a route means at a glance: who answers what now, and what will change by itself, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse
from django.utils.formats import date_format, number_format
from django.utils.timezone import localtime, now
from django.utils.translation import gettext as _

from console.rollout.experiments import stand
from console.rollout.group_sequential import LOOKS
from console.rollout.guardrails import Reading, is_watched
from console.rollout.models import Experiment, Mode, Outcome, Route, Rule
from console.rollout.observations import NEW
from console.rollout.queries import Served, rollback_target


@dataclass(frozen=True, slots=True)
class Part:
    """What one version does for a model now."""

    version: str
    url: str
    mode: str
    calls: str  # of all: "95%"; of a shadow, that it answers nobody


@dataclass(frozen=True, slots=True)
class Next:
    """Something that happens by itself, or that nothing does. url: where more of it stands; "": nowhere."""

    text: str
    url: str = ""


def parts_of(served: Served) -> Sequence[Part]:
    """Production first, then the canary, then shadows."""
    return [
        Part(
            version=route.version.version,
            url=reverse("admin:registry_modelversion_change", args=[route.version_id]),
            mode=str(Mode(route.mode).label),
            calls=_("copies only") if route.mode == Mode.SHADOW else f"{served.weight_ratio(route):.0%}",
        )
        for route in served.routes
    ]


def whats_next(route: Route, served: Served, readings: Sequence[Reading]) -> Sequence[Next]:
    """What will happen with a route that nobody touches. Two queries at most, for a canary with a question."""
    if route.ended_at is not None:
        return [Next(_("This route is over: nothing more happens with it."))]
    found = [_guarded(route, served, readings)]
    experiment = Experiment.objects.filter(route=route, outcome=Outcome.RUNNING).first() if _asks(route) else None
    if experiment is not None:
        experiment.route = route
        found.append(_asked(experiment))
    if route.mode != Mode.PRODUCTION:
        found.append(Next(_("Nothing else ends it: it stays as it is until somebody rolls it out further or ends it.")))
    return found


def _asks(route: Route) -> bool:
    return route.mode == Mode.CANARY


def _guarded(route: Route, served: Served, readings: Sequence[Reading]) -> Next:
    target = rollback_target(served) if route.mode == Mode.PRODUCTION else None
    if not is_watched(route, now()) or (route.mode == Mode.PRODUCTION and target is None):
        return Next(_("No guardrail watches it: it answers until another version takes over or somebody rolls back."))
    acting = next((reading for reading in readings if reading.fires), None)
    if acting is not None:
        rule = Rule(acting.definition.rule).label
        return Next(_("The guardrail “{rule}” has seen enough: it acts within seconds.").format(rule=rule))
    if all(reading.is_off for reading in readings):
        return Next(_("Every guardrail is switched off: none ends it."))
    if target is not None:
        until = date_format(localtime(route.started_at + NEW), "DATETIME_FORMAT")
        text = _("Until {until} guardrails watch it, and bring {version} back by themselves where it is surely worse.")
        return Next(text.format(until=until, version=target.version.version))
    waiting = [each for each in readings if not each.is_off and each.watched.n < each.definition.count_min]
    text = _("Guardrails look every few seconds, and end it by themselves where it is surely worse than accepted.")
    if waiting:
        so_far = ", ".join(
            _("{rule} {n} of {least}").format(
                rule=Rule(each.definition.rule).label,
                n=number_format(each.watched.n, force_grouping=True),
                least=number_format(each.definition.count_min, force_grouping=True),
            )
            for each in waiting
        )
        text = f"{text} {_('Some still wait for answers to judge by: {so_far}.').format(so_far=so_far)}"
    return Next(text)


def _asked(experiment: Experiment) -> Next:
    """At which answer the experiment looks next; it ends nothing by what it finds."""
    standing = stand(experiment)
    due = -(-experiment.size * min(LOOKS, standing.look + 1) // LOOKS)
    text = _("The experiment looks next at {due} answers of this version; {n} are there. It tells, and ends nothing.")
    return Next(
        text.format(
            due=number_format(due, force_grouping=True), n=number_format(standing.watched.n, force_grouping=True)
        ),
        reverse("admin:rollout_experiment_change", args=[experiment.pk]),
    )

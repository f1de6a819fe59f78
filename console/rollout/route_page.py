"""What the page of one route shows, as plain values for its template; and what guardrails say, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.plots import Numbers
from console.predictions.models import Verdict
from console.predictions.names import class_names
from console.predictions.page import DISCLAIMERS
from console.rollout import guardrails
from console.rollout.comparison import QUANTILES, Comparison, Flipped, Reviewed, compare, latencies
from console.rollout.flipped import seen_by
from console.rollout.glance import parts_of, whats_next
from console.rollout.guardrails import LEVEL, Definition, Reading
from console.rollout.models import Arm, Firing, Mode, Route, Rule
from console.rollout.observations import CONFIDENCE_BINS, totals
from console.rollout.queries import rollback_of, served_model
from console.rollout.sequential import Count, interval
from console.staff.models import User

_COLOURS: Final[Mapping[str, str]] = {
    "fired": "danger",
    "acts": "danger",
    "off": "warning",
    "few": "info",
    "well": "success",
}


@dataclass(frozen=True, slots=True)
class GuardrailRow:
    name: str
    accepts: str
    watched: str
    standard: str
    percent: float  # of the evidence that it takes
    state: str
    colour: str


@dataclass(frozen=True, slots=True)
class FlippedRow:
    """One photograph that both see otherwise. photograph: its address, "" where this person may not see one."""

    url: str
    photograph: str
    why_not: str
    happened_at: Any
    production: str
    shadow: str


def firing_sentence(firing: Firing) -> str:
    """What fired and what it saw, for people."""
    watched = Count(firing.watched_yes, firing.watched_n)
    standard = (
        None
        if firing.standard_yes is None or firing.standard_n is None
        else Count(firing.standard_yes, firing.standard_n)
    )
    return f"{_saw(Rule(firing.rule), watched, standard)} {_accepted(Rule(firing.rule), firing.limit, standard)}"


def firing_outcome(firing: Firing) -> str:
    """What it did."""
    route = firing.route
    if firing.returned_to is not None:
        return _("{ended} was rolled back; {version} is in production again.").format(
            ended=route.version.version, version=firing.returned_to.version
        )
    if route.mode == Mode.CANARY:
        return _("{ended} was a canary and answers nobody any more.").format(ended=route.version.version)
    return _("{ended} was a shadow and gets no more copies.").format(ended=route.version.version)


def route_context(route: Route, person: User) -> dict[str, Any]:
    """The context of `rollout/route.html`. At most fifteen queries, whatever the history."""
    seen = totals(route)
    readings = guardrails.read(route, seen, fresh=False)
    served = served_model(route.model)
    undone = rollback_of(served)
    firing = Firing.objects.select_related("seen_by", "returned_to").filter(route=route).first()
    if firing is not None:
        firing.route = route
    context: dict[str, Any] = {
        "route": route,
        "mode": Mode(route.mode).label,
        "is_shadow": route.mode == Mode.SHADOW,
        "firing": firing,
        "sentence": firing_sentence(firing) if firing else "",
        "outcome": firing_outcome(firing) if firing else "",
        "fired": str(Rule(firing.rule).label) if firing else "",
        "parts": parts_of(served),
        "nexts": whats_next(route, served, readings),
        "rollback": undone if undone is not None and route.ended_at is None and route.mode != Mode.SHADOW else None,
        "may_see": person.has_perm("rollout.change_route"),
        "rules": [_row(reading, firing) for reading in readings],
        "is_watched": route.mode != Mode.PRODUCTION or route.previous_id is not None,
        "level": f"{LEVEL:.0%}",
        "slow": f"{number_format(route.slow_ms, 0)} ms",
        "latencies": _latencies(latencies(seen, Arm.PRODUCTION), latencies(seen, Arm.WATCHED)),
        "disclaimers": DISCLAIMERS,
    }
    if route.mode == Mode.SHADOW:
        context |= _shadow_context(compare(route, seen), person)
    return context


def _shadow_context(found: Comparison, person: User) -> dict[str, Any]:
    names = class_names()
    verdicts = tuple(Verdict)
    return {
        "agreement": share_text(found.same_class),
        "agreement_n": found.same_class.n,
        "unanswered": found.unanswered,
        "flips": [
            (names.get(flip.production, flip.production), names.get(flip.shadow, flip.shadow), flip.count,
             f"{flip.ratio:.1%}")
            for flip in found.flips[:20]
        ],
        "verdicts": [str(verdict.label) for verdict in verdicts],
        "verdict_rows": [
            (str(one.label), [(found.verdicts.get((one, other), 0), one is other) for other in verdicts])
            for one in verdicts
        ],
        "out": [share_text(count) for count in found.out],
        "bars": _bars(found.confidence),
        "numbers": _numbers(found.confidence),
        "reviewed": [_reviewed(side) for side in found.reviewed] if found.reviewed else [],
        "reviewed_n": found.reviewed[0].right.n if found.reviewed else 0,
        "flipped": _flipped(found.flipped, names, person),
    }  # fmt: skip


def _saw(rule: Rule, watched: Count, standard: Count | None) -> str:
    text = {
        Rule.ERRORS: _("{watched} of its calls failed."),
        Rule.LATENCY: _("{watched} of its answers were slow."),
        Rule.VERDICTS: _("{watched} of its answers were not in domain."),
        Rule.AGREEMENT: _("{watched} of the photographs got another class from it than from production."),
        Rule.OVERRIDES: _("Experts overrode {watched} of its answers."),
    }[rule].format(watched=share_text(watched))
    if standard is None:
        return text
    return f"{text} {_('Of production’s: {standard}.').format(standard=share_text(standard))}"


def _accepted(rule: Rule, limit: float, standard: Count | None) -> str:
    percent = number_format(100 * limit, 0)
    points = round(100 * limit)
    if rule is Rule.VERDICTS:
        apart = ngettext("Accepted: {percent} point apart.", "Accepted: {percent} points apart.", points)
        return apart.format(percent=percent)
    if standard is None:
        return _("Accepted: {percent}%.").format(percent=percent)
    more = ngettext(
        "Accepted: {percent} point more than production.", "Accepted: {percent} points more than production.", points
    )
    return more.format(percent=percent)


def _row(reading: Reading, firing: Firing | None) -> GuardrailRow:
    definition = reading.definition
    state = _state(reading, firing)
    words = {
        "fired": _("fired"),
        "off": _("switched off"),
        "few": _("fewer than {least} so far").format(least=definition.count_min),
        "acts": _("acts with its next look"),
        "well": _("watches"),
    }
    return GuardrailRow(
        name=str(Rule(definition.rule).label),
        accepts=_accepted(Rule(definition.rule), definition.limit, reading.standard),
        watched=share_text(reading.watched),
        standard=share_text(reading.standard) if reading.standard else "–",
        percent=round(100 * reading.progress, 1),
        state=words[state],
        colour=_COLOURS[state],
    )


def _state(reading: Reading, firing: Firing | None) -> str:
    definition: Definition = reading.definition
    if firing is not None and firing.rule == definition.rule:
        return "fired"
    if reading.is_off:
        return "off"
    if reading.fires:
        return "acts"
    return "few" if reading.watched.n < definition.count_min else "well"


def share_text(count: Count) -> str:
    """A share with its interval and what it is of."""
    if count.share is None:
        return "–"
    low, high = interval(count)
    text = _("{share} ({yes} of {n}; {low} to {high})")
    return text.format(
        share=f"{count.share:.1%}",
        yes=number_format(count.yes, use_l10n=True, force_grouping=True),
        n=number_format(count.n, use_l10n=True, force_grouping=True),
        low=f"{low:.1%}",
        high=f"{high:.1%}",
    )


def _latencies(production: Sequence[float | None], watched: Sequence[float | None]) -> list[tuple[str, str, str]]:
    def text(value: float | None) -> str:
        return "–" if value is None else f"{number_format(value, 0)} ms"

    return [
        (f"{ratio:.0%}", text(one), text(other))
        for ratio, one, other in zip(QUANTILES, production, watched, strict=True)
    ]


def _reviewed(side: Reviewed) -> tuple[str, str, str, str]:
    """Right, mean confidence, how much surer than right, Brier score."""
    return (
        share_text(side.right),
        f"{side.confidence:.1%}",
        f"{100 * side.gap:+.1f}",
        number_format(side.brier, 3),
    )


def _shares(found: Sequence[Mapping[int, int]]) -> Sequence[tuple[float, float]]:
    """Of production and of the shadow the share of its answers, 0 to 1, in each twentieth of confidence."""
    wholes = [sum(counts.values()) or 1 for counts in found]
    one, other = (
        [counts.get(place, 0) / whole for place in range(CONFIDENCE_BINS)]
        for counts, whole in zip(found, wholes, strict=True)
    )
    return list(zip(one, other, strict=True))


def _bars(found: Sequence[Mapping[int, int]]) -> list[tuple[float, float, float, float, str]]:
    """x, width, the two heights in per cent of the highest, and words, for each twentieth of confidence."""
    shares = _shares(found)
    top = max(map(max, shares)) or 1.0
    width = 100 / CONFIDENCE_BINS
    return [
        (
            round(place * width, 2),
            round(width * 0.4, 2),
            round(100 * one / top, 2),
            round(100 * other / top, 2),
            _("confidence {low} to {high}: production {one}, shadow {other}").format(
                low=f"{place / CONFIDENCE_BINS:.0%}",
                high=f"{(place + 1) / CONFIDENCE_BINS:.0%}",
                one=f"{one:.1%}",
                other=f"{other:.1%}",
            ),
        )
        for place, (one, other) in enumerate(shares)
    ]


def _numbers(found: Sequence[Mapping[int, int]]) -> Numbers:
    """The same as a table, without twentieths in which neither has an answer."""
    return Numbers(
        heads=(_("Confidence"), _("Production"), _("Shadow")),
        rows=[
            (f"{place / CONFIDENCE_BINS:.0%} – {(place + 1) / CONFIDENCE_BINS:.0%}", (f"{one:.1%}", f"{other:.1%}"))
            for place, (one, other) in enumerate(_shares(found))
            if one or other
        ],
    )


def _flipped(found: Sequence[Flipped], names: Mapping[str, str], person: User) -> list[FlippedRow]:
    return [
        FlippedRow(
            url=reverse("admin:predictions_prediction_change", args=[item.prediction_id]),
            photograph=seen.photograph,
            why_not=seen.why_not,
            happened_at=item.happened_at,
            production=f"{names.get(item.production, item.production)}, {item.production_confidence:.0%}",
            shadow=f"{names.get(item.shadow, item.shadow)}, {item.shadow_confidence:.0%}",
        )
        for seen in seen_by(person, found)
        for item in (seen.answer,)
    ]

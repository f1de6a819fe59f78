"""What the page of one finding shows, as plain values for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from console.drift import figures, plots, queries
from console.drift.advice import cause_of, ways_on
from console.drift.course import DAYS, Course, course_of_choice, course_of_number
from console.drift.measures import VERDICT
from console.drift.models import Against, Finding, Outcome
from console.drift.moved import Grown, Tail, may_see, moved, what_grew
from console.drift.names import name_of
from console.drift.services import EFFECT_MIN, LEVEL, REFERENCE_MIN, SAMPLES_MIN, WINDOW
from console.plots import Numbers
from console.predictions.models import Verdict
from console.predictions.names import class_names, client_names
from console.predictions.page import DISCLAIMERS
from console.staff.models import User
from model_store.reference import Reference

_STEPS: Final = 4  # of the drawn line from one row of its table to the next: both ends are among them


@dataclass(frozen=True, slots=True)
class Photograph:
    """One that moved: its address, where its prediction is, and what the model said."""

    address: str
    url: str
    name: str
    value: str
    happened_at: datetime


@dataclass(frozen=True, slots=True)
class Compared:
    """Both sides of a finding, the days that they are made of, and what is seen between them."""

    days: Sequence[queries.Day]  # the last DAYS that there are, in order
    before: Reference | None  # None: it is not at hand
    now: Reference
    grown: Tail | Grown | None
    followed: str | None  # the choice whose days are drawn; None: the measure is a number


def finding_context(row: Finding, *, person: User, at: datetime) -> dict[str, Any]:
    """The context of `drift/finding.html`. At most eight queries, whatever the history."""
    seen = compared(row, at=at)
    before, now, grown = seen.before, seen.now, seen.grown
    names = class_names()
    plot, table = _plot(row, before, now, name_of(row.measure, names), _choices(row, names))
    return {
        "title": _("{measure}, {version}").format(measure=name_of(row.measure, names), version=" ".join(row.of))
        + (f", {client_names().get(row.client, row.client)}" if row.client else ""),
        "row": row,
        "outcome": Outcome(row.outcome).label,
        "sentence": _sentence(row),
        "cause": cause_of(row),
        "ways": ways_on(row, person),
        "against": Against(row.against).label,
        "plot": plot,
        "table": table,
        "course": _course(row, seen, at),
        "course_title": _course_title(seen.followed, _choices(row, names)),
        "grew": _grew(row, grown, _choices(row, names)),
        "sees_photographs": may_see(person),
        "photographs": _photographs(row, grown, names, person, at) if grown is not None else [],
        "disclaimers": DISCLAIMERS,
        "numbers": [
            (_("Test"), "Kolmogorov-Smirnov" if row.test == "ks" else "χ²"),
            (_("Statistic"), f"{row.statistic:.4g}"),
            (_("Effect"), f"{row.effect:.3f}"),
            (_("Error of the sketches"), f"{row.error:.4f}"),
            ("PSI", f"{row.psi:.3f}"),
            ("p", f"{row.p:.3g}"),
            (_("q, corrected for the number of measures"), f"{row.q:.3g}"),
            (_("Predictions before"), f"{row.n_reference:,}"),
            (_("Predictions now"), f"{row.n_window:,}"),
        ],
    }


def compared(row: Finding, *, at: datetime) -> Compared:
    """What a finding is about, as it is at an instant. Two queries."""
    days = queries.days(row.of, since=at - timedelta(days=DAYS), client=row.client)
    before, now = _sides(row, days, at)
    grown = what_grew(row.measure, before, now) if before is not None else None
    return Compared(days, before, now, grown, _followed(row, now, grown))


def _sides(row: Finding, days: Sequence[queries.Day], at: datetime) -> tuple[Reference | None, Reference]:
    now = queries.window_of(days, ends_at=at, length=WINDOW)
    if row.against == Against.REFERENCE:
        return queries.reference_of(row.of), now
    return queries.window_of(days, ends_at=at - WINDOW, length=WINDOW), now


def _sentence(row: Finding) -> str:
    """What the comparison says, in plain words."""
    if row.outcome == Outcome.TOO_FEW and row.n_window >= SAMPLES_MIN:
        return _("What it is compared with are fewer than {least} predictions: nothing can be said.").format(
            least=REFERENCE_MIN
        )
    if row.outcome == Outcome.TOO_FEW:
        return _("Fewer than {least} predictions in seven days: nothing can be said.").format(least=SAMPLES_MIN)
    if row.outcome == Outcome.DRIFT:
        return _(
            "It has changed by more than chance explains (q ≤ {level}) and by enough to matter (effect ≥ {least})."
        ).format(level=LEVEL, least=EFFECT_MIN)
    if row.q <= LEVEL:
        return _("It has changed, but by too little to matter (effect below {least}).").format(least=EFFECT_MIN)
    return _("What is seen is within what chance explains.")


def _choices(row: Finding, class_names: Mapping[str, str]) -> Mapping[str, str]:
    """What the choices of a measure are called."""
    return {each.name: str(each.label) for each in Verdict} if row.measure == VERDICT else class_names


def _plot(
    row: Finding, before: Reference | None, now: Reference, title: str, names: Mapping[str, str]
) -> tuple[SafeString | str, Numbers | None]:
    """Both distributions as they are now, drawn and as a table; "" and None when one is not at hand any more."""
    if before is None:
        return "", None
    sides = (_("the last seven days"), str(Against(row.against).label))
    if (curves := figures.curves_of(row.measure, before, now)) is not None:
        points = list(zip(curves.values, curves.now, curves.before, strict=True))[::_STEPS]
        rows = [(f"{value:.4g}", (f"{one:.1%}", f"{other:.1%}")) for value, one, other in points]
        return plots.lines(curves, title=title), Numbers((_("At or below"), *sides), rows)
    if chosen := figures.choices_of(row.measure, before, now):
        rows = [(names.get(each.choice, each.choice), (f"{each.now:.1%}", f"{each.before:.1%}")) for each in chosen]
        return plots.bars(chosen, title=title, names=names), Numbers((_("Choice"), *sides), rows)
    return "", None


def _course(row: Finding, seen: Compared, at: datetime) -> Course | None:
    if seen.followed is not None:
        return course_of_choice(row.measure, seen.followed, seen.days, before=seen.before, at=at)
    return course_of_number(row.measure, seen.days, before=seen.before, at=at)


def _followed(row: Finding, now: Reference, grown: Tail | Grown | None) -> str | None:
    """The choice whose days are drawn: the one that grew, else the most frequent; None for a number."""
    if isinstance(grown, Grown):
        return grown.choice
    counts = now.counts.get(row.measure, {})
    return max(sorted(counts), key=lambda key: counts[key]) if counts else None


def _course_title(choice: str | None, names: Mapping[str, str]) -> str:
    if choice is not None:
        return _("Share of {choice} a day, with its 95% interval").format(choice=names.get(choice, choice))
    return _("Median a day, and the middle 80%")


def _grew(row: Finding, grown: Tail | Grown | None, names: Mapping[str, str]) -> str:
    """What there is more of, in plain words; empty where nothing grew."""
    if grown is None:
        return ""
    shares = {"before": f"{grown.before:.1%}", "now": f"{grown.now:.1%}"}
    if isinstance(grown, Grown):
        return _("There is more of {choice}: {now} after {before}.").format(
            choice=names.get(grown.choice, grown.choice), **shares
        )
    bound = f"{grown.bound:.3g}"
    if grown.is_low:
        return _("There are more values up to {bound}: {now} after {before}.").format(bound=bound, **shares)
    return _("There are more values above {bound}: {now} after {before}.").format(bound=bound, **shares)


def _photographs(
    row: Finding, grown: Tail | Grown, names: Mapping[str, str], person: User, at: datetime
) -> list[Photograph]:
    return [
        Photograph(
            address=reverse("admin:predictions_prediction_photograph", args=[each.prediction_id, 0]),
            url=reverse("admin:predictions_prediction_change", args=[each.prediction_id]),
            name=names.get(each.top_class, each.top_class),
            value="" if each.value is None else f"{each.value:.3g}",
            happened_at=each.happened_at,
        )
        for each in moved(row, grown, person=person, since=at - WINDOW, at=at)
    ]

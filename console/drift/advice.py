"""What to do about a measure that drifts: what it may come from, and the pages that tell more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from console.drift.measures import CLASS, QUALITY, SIDE, VERDICT
from console.drift.models import EVERYBODY, Finding, Outcome
from console.staff.models import User


@dataclass(frozen=True, slots=True)
class Way:
    """A page that leads on from a finding."""

    text: str
    url: str


def cause_of(row: Finding) -> str:
    """What a drift of this measure mostly comes from, and whom to ask; "" where nothing drifts."""
    if row.outcome != Outcome.DRIFT:
        return ""
    if row.measure in (*QUALITY, SIDE):
        return _("The photographs themselves are otherwise: ask who sends them about cameras, light and new apps.")
    if row.measure in (VERDICT, CLASS):
        return _("Other things are asked about than before: see which, and whether experts confirm them.")
    return _("The version sees what it did not learn from: look at these photographs, and have new ones reviewed.")


def ways_on(row: Finding, person: User) -> Sequence[Way]:
    """Where this person goes on from here; nothing where nothing drifts."""
    if row.outcome != Outcome.DRIFT:
        return ()
    narrowed = {"version": row.version, **({"client": row.client} if row.client != EVERYBODY else {})}
    ways = [
        Way(_("Is it still as often right?"), reverse("admin:drift_finding_performance")),
        Way(_("Its predictions"), f"{reverse('admin:predictions_prediction_changelist')}?{urlencode(narrowed)}"),
    ]
    if person.has_perm("datasets.view_dataset"):
        ways.append(Way(_("Train anew"), reverse("admin:retraining_trainingjob_changelist")))
    return ways

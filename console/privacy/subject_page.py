"""What the page of one person shows: consents, requests, what is kept, predictions, and what learnt from them.

Fourteen queries at most, however much there is: of predictions a page at a time, of everything else the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, QuerySet
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.datasets.queries import learnt_of
from console.errors import Invalid
from console.instants import in_utc
from console.predictions.models import Prediction, Verdict
from console.predictions.names import class_names
from console.predictions.page import DISCLAIMERS
from console.predictions.queries import before, newest_first, shown_to
from console.privacy.models import Kind, PrivacyRequest, State
from console.staff.models import User
from console.vault.models import Consent, Purpose, StoredObject, Subject
from console.vault.models import Kind as ObjectKind

PREDICTIONS_SHOWN: Final = 20
SHOWN: Final = 50  # of consents and requests, the newest


@dataclass(frozen=True, slots=True)
class ConsentRow:
    reference: str
    purpose: str
    state: str  # "valid", "withdrawn" or "run out"
    state_text: str
    given_at: datetime
    ended_at: datetime | None
    url: str


@dataclass(frozen=True, slots=True)
class PredictionRow:
    happened_at: datetime
    class_name: str
    verdict: str
    version: str
    photographs: int  # kept of it
    url: str


def subject_context(subject: Subject, person: User, *, place: str) -> dict[str, Any]:
    """The context of `privacy/subject.html`.

    person: who looks.  place: where the list of predictions goes on, as `next` says it; "" at its beginning.
    Raises Invalid for a place that is none.
    """
    rows = list(_from(place, shown_to(person, newest_first().filter(subject=subject)))[: PREDICTIONS_SHOWN + 1])
    shown = rows[:PREDICTIONS_SHOWN]
    return {
        "subject": subject,
        "consents": [_consent(row) for row in Consent.objects.filter(subject=subject).order_by("-given_at")[:SHOWN]],
        "requests": [
            (row.pk, Kind(row.kind).label, State(row.state).label, row.received_at, row.closed_at)
            for row in PrivacyRequest.objects.filter(subject=subject).order_by("-pk")[:SHOWN]
        ]
        if person.has_perm("privacy.view_privacyrequest")
        else [],
        "kept": _kept(subject),
        "predictions": _predictions(shown),
        "disclaimers": DISCLAIMERS,
        "further": place != "",
        "next": _place(shown[-1]) if len(rows) > PREDICTIONS_SHOWN else "",
        "learnt": learnt_of(subject.pk),
        "may_see_data_sets": person.has_perm("datasets.view_dataset"),
    }


def _from(place: str, rows: QuerySet[Prediction]) -> QuerySet[Prediction]:
    if not place:
        return rows
    try:
        at, _sign, key = place.partition("_")
        return before(rows, in_utc(datetime.fromisoformat(at)), UUID(key))
    except ValueError:
        raise Invalid(_("This is no place in the list of predictions."), field="before") from None


def _place(row: Prediction) -> str:
    return f"{row.happened_at.isoformat()}_{row.pk}"


def _consent(row: Consent) -> ConsentRow:
    ended = row.withdrawn_at or (row.expires_at if row.expires_at and row.expires_at <= now() else None)
    state = "withdrawn" if row.withdrawn_at else "run out" if ended else "valid"
    words = {"withdrawn": _("withdrawn"), "run out": _("run out"), "valid": _("valid")}
    return ConsentRow(
        reference=row.reference,
        purpose=str(Purpose(row.purpose).label),
        state=state,
        state_text=words[state],
        given_at=row.given_at,
        ended_at=ended,
        url=reverse("admin:vault_consent_change", args=[row.pk]),
    )


def kept_of(subject: Subject) -> Mapping[str, int]:
    """Kind of object -> how many of it are kept; without those of which there are none. One query."""
    return dict(StoredObject.objects.filter(subject=subject).order_by().values_list("kind").annotate(Count("pk")))


def _kept(subject: Subject) -> list[tuple[str, int]]:
    """Kind of object, and how many of it are kept."""
    counted = kept_of(subject)
    return [(str(kind.label), counted.get(kind.value, 0)) for kind in ObjectKind]


def _predictions(rows: list[Prediction]) -> list[PredictionRow]:
    names = class_names()
    kept = _photographs_of(rows)
    return [
        PredictionRow(
            happened_at=row.happened_at,
            class_name=names.get(row.top_class, row.top_class),
            verdict=str(Verdict(row.verdict).label),
            version=row.version,
            photographs=kept.get(str(row.pk), 0),
            url=reverse("admin:predictions_prediction_change", args=[row.pk]),
        )
        for row in rows
    ]


def _photographs_of(rows: list[Prediction]) -> Mapping[str, int]:
    owners = [str(row.pk) for row in rows]
    kept = StoredObject.objects.filter(owner__in=owners, kind=ObjectKind.PHOTOGRAPH).order_by()
    return dict(kept.values_list("owner").annotate(Count("pk")))

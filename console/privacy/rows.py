"""Rows that whoever has the database changed or put back, told by what the log and the ledger say of them.

The log's hashes say nothing of the tables that the console works by. Here each consent is held against the entries that
tell of it, each person against the ledger of the erased, each prediction against the entry that it was made with: an
erasure takes what that says, so a prediction of which the log says nothing more came back from a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from django.conf import settings

from console.audit.models import Payload
from console.predictions.models import Prediction
from console.privacy import ledger
from console.privacy.queries import being_erased
from console.vault import evidence
from console.vault.models import Subject

_AT_ONCE: Final = 1000


def not_as_told() -> Iterator[str]:
    """A sentence for each row that is not as the log or the ledger has it. Reads three tables.

    A prediction that comes in while this reads is none: its row and its entry are of one transaction, and rows are read
    first. Raises OSError for a ledger that cannot be read, DatabaseError.
    """
    for consent, what in evidence.unlike_the_log():
        yield f"consent {consent.pk} of person {consent.subject_id}: {what}, by the audit log"
    for person in erased_and_here():
        yield f"person {person}: erased, by the ledger, and here again"
    for prediction in _untold():
        yield f"prediction {prediction}: the audit log says nothing of it, or not any more, as after an erasure"


def erased_and_here() -> Iterator[UUID]:
    """People in the ledger of erasures of whom a row is here, or whom the log tells of, and whom nobody is erasing."""
    wanted = sorted({line.subject_id for line in ledger.read(settings.AMULET.erasure_ledger)} - being_erased())
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        here = set(Subject.objects.filter(pk__in=some).values_list("pk", flat=True))
        told = Payload.objects.filter(subject_type="subject", subject_id__in=[str(person) for person in some])
        here |= {UUID(person) for person in told.values_list("subject_id", flat=True).distinct()}
        yield from sorted(here)


def _untold() -> Iterator[UUID]:
    after: UUID | None = None
    while True:
        rows = (
            Prediction.objects.order_by("pk")
            if after is None
            else Prediction.objects.filter(pk__gt=after).order_by("pk")
        )
        some = list(rows.values_list("pk", flat=True)[:_AT_ONCE])
        if not some:
            return
        after = some[-1]
        about = Payload.objects.filter(subject_type="prediction", subject_id__in=[str(key) for key in some])
        told = set(about.filter(entry__type="prediction.made").values_list("subject_id", flat=True))
        yield from _still_there([key for key in some if str(key) not in told])


def _still_there(keys: list[UUID]) -> list[UUID]:
    """Those that no erasure, nor the end of their time, took since they were read."""
    return sorted(Prediction.objects.filter(pk__in=keys).values_list("pk", flat=True)) if keys else []

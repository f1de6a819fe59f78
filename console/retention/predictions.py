"""Predictions whose time is over go with all that hangs on them: photographs, reviews, feedback, audit payloads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from console.audit.services import erase_payloads
from console.datasets.models import Label
from console.predictions.models import Prediction
from console.predictions.services import discard
from console.vault.restriction import hold
from console.vault.services import discard_of

AT_ONCE_MAX: Final = 10_000  # of one application: what is many years late goes in some hours, in short transactions
_BATCH: Final = 500


def older_than(before: datetime) -> QuerySet[Prediction]:
    return Prediction.objects.filter(happened_at__lt=before)


def held(rows: QuerySet[Prediction]) -> QuerySet[Prediction]:
    """Those that a data set names, whose lineage would break, and those of people who restricted what is done."""
    in_a_data_set = Exists(Label.objects.filter(prediction=OuterRef("pk")))
    return rows.filter(Q(in_a_data_set) | Q(subject__restricted_at__isnull=False))


def discard_older_than(before: datetime) -> int:
    """Delete at most AT_ONCE_MAX of them, the oldest first, inside the caller's transaction. Returns how many.

    What the audit entries say goes too, and the chain stays whole: an erasure finds a person's entries by the
    predictions, and would not find these any more.
    """
    going = older_than(before).exclude(pk__in=held(older_than(before)).values("pk")).order_by("happened_at")
    ids = list(going.values_list("pk", flat=True)[:AT_ONCE_MAX])
    gone = 0
    for start in range(0, len(ids), _BATCH):
        some = _held_by_nobody_yet(ids[start : start + _BATCH])
        discard_of(map(str, some))
        erase_payloads(subject_type="prediction", subject_ids=[str(key) for key in some])
        discard(some)
        gone += len(some)
    return gone


def _held_by_nobody_yet(ids: Sequence[UUID]) -> list[UUID]:
    """Of these those that are still free to go: thousands take their time, and people restrict what is done meanwhile.

    Whoever does it now waits until the caller's transaction has ended.
    """
    rows = Prediction.objects.filter(pk__in=ids)
    hold(rows)
    return list(rows.exclude(pk__in=held(rows).values("pk")).values_list("pk", flat=True))

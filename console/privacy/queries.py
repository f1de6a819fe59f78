"""What is asked of privacy requests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, F, Q, QuerySet

from console.privacy import clocks
from console.privacy.models import Erasure, Kind, PrivacyRequest, State, Step

# Open ones by what is left, then closed ones, the newest first.
URGENT_FIRST: Final = (F("closed_at").desc(nulls_first=True), "due_at", "pk")


def requests() -> QuerySet[PrivacyRequest]:
    """Requests, the most urgent first; joins whoever handles them and the erasure."""
    return PrivacyRequest.objects.select_related("handled_by", "erasure").order_by(*URGENT_FIRST)


def open_requests() -> QuerySet[PrivacyRequest]:
    """Those that wait for us, the most urgent first. Along the partial index of open ones."""
    return PrivacyRequest.objects.filter(closed_at=None).order_by("due_at", "pk")


def open_by_kind() -> Mapping[Kind, int]:
    rows = open_requests().order_by().values_list("kind").annotate(Count("pk"))
    return {Kind(kind): count for kind, count in rows}


def due_within(days: int, at: datetime) -> QuerySet[PrivacyRequest]:
    """Open ones that have at most so many days left, those that are too late among them."""
    return open_requests().filter(due_at__lt=at + timedelta(days=days + 1))


def days_left_min(at: datetime) -> int | None:
    """Days that the most urgent one has left; None when none is open."""
    first = open_requests().first()
    return None if first is None else first.days_left(clocks.day_of(at))


def unfinished_erasures() -> QuerySet[Erasure]:
    return Erasure.objects.filter(Q(request__state=State.IN_PROGRESS) & ~Q(step=Step.DONE)).order_by("pk")

"""What is asked of privacy requests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from console.privacy import clocks
from console.privacy.models import END, RESTRICTS, Erasure, Kind, PrivacyRequest, State, Step
from console.vault import queries as vault
from console.vault.cipher import find_by

# Open ones by what is left, then closed ones, the newest first.
URGENT_FIRST: Final = (END.desc(), "due_at", "pk")
PAGE_ORDER: Final = ("-end", "due_at", "pk")  # the same, for `with_end`


def requests() -> QuerySet[PrivacyRequest]:
    """Requests, the most urgent first; joins whoever handles them, the erasure and the person."""
    return PrivacyRequest.objects.select_related("handled_by", "erasure", "subject").order_by(*URGENT_FIRST)


def of_person(rows: QuerySet[PrivacyRequest], pseudonym: str) -> QuerySet[PrivacyRequest]:
    """Those that a person made, whether or not anything else is known of them."""
    return rows.filter(found_by=find_by(vault.keys(), pseudonym))


def with_end(rows: QuerySet[PrivacyRequest]) -> QuerySet[PrivacyRequest]:
    return rows.annotate(end=END)


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


def closed_before(before: datetime) -> QuerySet[PrivacyRequest]:
    return PrivacyRequest.objects.filter(closed_at__lt=before)


def keeping_restrictions() -> QuerySet[PrivacyRequest]:
    """Closed ones whose person is restricted now."""
    return PrivacyRequest.objects.filter(kind__in=RESTRICTS, state=State.DONE, subject__restricted_at__isnull=False)


def unfinished_erasures() -> QuerySet[Erasure]:
    return Erasure.objects.filter(Q(request__state=State.IN_PROGRESS) & ~Q(step=Step.DONE)).order_by("pk")


def being_erased() -> frozenset[UUID]:
    """People whose erasure is under way, by its own row: it goes on by itself, and proves itself."""
    traces = Erasure.objects.exclude(step=Step.DONE).exclude(traces={}).values_list("traces", flat=True)
    return frozenset(UUID(each["subject"]) for each in traces)

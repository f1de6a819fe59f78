"""When requests of ten years are due: what each says, and what is written down of those at the end of a month."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import pytest

from console.privacy import clocks, services
from console.privacy.clocks import BANGKOK
from console.privacy.models import Kind, Laws, PrivacyRequest
from console.site.roles import Role
from tests.unit.console.people import member

FIRST, PAST = date(2016, 1, 1), date(2026, 1, 1)  # nothing is received in times to come
MOMENTS = (time(), time(23, 59, 59))  # of a day in Bangkok: of the second, 7 hours are the day before in London


def days() -> Iterator[date]:
    return (FIRST + timedelta(days=count) for count in range((PAST - FIRST).days))


def due_after(day: date, kind: Kind, laws: Laws) -> datetime:
    """The first instant that is too late, counted in another way: the month from a table of its lengths."""
    following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    leap = following.year % 4 == 0 and (following.year % 100 != 0 or following.year % 400 == 0)
    length = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[following.month - 1]
    month = following + timedelta(days=min(day.day, length) - 1)
    by_days = day + timedelta(days=90 if kind == Kind.ERASURE else 30)
    binding = {Laws.GDPR: month, Laws.PDPA: by_days, Laws.BOTH: min(month, by_days)}[laws]
    return datetime.combine(binding, time(), UTC) + timedelta(hours=24 - 7)


def wrong(received: Iterator[date]) -> list[str]:
    """Requests of those days that are due at another instant than they should be."""
    found = []
    for day, moment in itertools.product(received, MOMENTS):
        request = PrivacyRequest(received_at=datetime.combine(day, moment, BANGKOK).astimezone(UTC))
        for request.kind, request.laws in itertools.product((Kind.ACCESS, Kind.ERASURE), Laws):
            due_at = due_after(day, Kind(request.kind), Laws(request.laws))
            if request.limits().ends_at != due_at:
                found.append(f"{request.received_at} {request.kind} {request.laws}: {request.limits().ends_at}")
    return found


def test_a_request_of_any_day_of_ten_years_is_due_when_another_count_says() -> None:
    assert wrong(days()) == []


def test_other_months_other_days_and_another_midnight_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of the test above."""
    ends = [date(2016, 1, 31), date(2016, 2, 29), date(2017, 1, 31)]
    for name, careless in {
        "months_after": lambda day, months: day + timedelta(days=30 * months),
        "day_of": lambda moment: moment.date(),  # in London
        "PDPA_ERASURE_DAYS": 91,
        "BANGKOK": UTC,
    }.items():
        with monkeypatch.context() as patched:
            patched.setattr(clocks, name, careless)
            assert wrong(iter(ends)), name
    assert not wrong(iter(ends))


@pytest.mark.django_db
def test_what_is_written_down_of_a_request_at_the_end_of_a_month_is_that() -> None:
    officer = member(Role.PRIVACY_OFFICER)
    ends = [day for day in days() if (day + timedelta(days=1)).day == 1]
    assert len(ends) == 120
    for number, day in enumerate(ends):
        kind = (Kind.ACCESS, Kind.ERASURE)[number % 2]
        received_at = datetime.combine(day, MOMENTS[1], BANGKOK)
        made = services.receive(
            actor=officer, pseudonym=f"p-{number}", kind=kind, laws=Laws.BOTH, channel="web", received_at=received_at
        )
        assert PrivacyRequest.objects.get(pk=made.pk).due_at == due_after(day, kind, Laws.BOTH), day

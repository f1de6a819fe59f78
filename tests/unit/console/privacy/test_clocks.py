"""Due dates against a table worked out by hand, and ten years of them against a second way of counting."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from console.privacy.clocks import (
    BANGKOK,
    Escalation,
    Law,
    date_text,
    day_of,
    days_until,
    escalation,
    limits,
    months_after,
)

ALL = frozenset(Law)
# Received, one month, three months, 30 days, 90 days.
TABLE = [
    ("2026-01-15", "2026-02-15", "2026-04-15", "2026-02-14", "2026-04-15"),
    ("2026-01-31", "2026-02-28", "2026-04-30", "2026-03-02", "2026-05-01"),
    ("2028-01-31", "2028-02-29", "2028-04-30", "2028-03-01", "2028-04-30"),  # leap year
    ("2028-02-29", "2028-03-29", "2028-05-29", "2028-03-30", "2028-05-29"),
    ("2027-02-28", "2027-03-28", "2027-05-28", "2027-03-30", "2027-05-29"),
    ("2026-08-31", "2026-09-30", "2026-11-30", "2026-09-30", "2026-11-29"),
    ("2026-11-30", "2026-12-30", "2027-02-28", "2026-12-30", "2027-02-28"),
    ("2027-11-30", "2027-12-30", "2028-02-29", "2027-12-30", "2028-02-28"),
    ("2026-12-01", "2027-01-01", "2027-03-01", "2026-12-31", "2027-03-01"),
    ("2026-12-31", "2027-01-31", "2027-03-31", "2027-01-30", "2027-03-31"),
    ("2026-03-31", "2026-04-30", "2026-06-30", "2026-04-30", "2026-06-29"),
    ("2100-01-31", "2100-02-28", "2100-04-30", "2100-03-02", "2100-05-01"),  # no leap year
]


@pytest.mark.parametrize(("received", "month", "extended", "days_30", "days_90"), TABLE)
def test_the_table_of_due_dates(received: str, month: str, extended: str, days_30: str, days_90: str) -> None:
    day = date.fromisoformat(received)
    access = limits(received_on=day, erasure=False, laws=ALL)
    assert {law.value: due.isoformat() for law, due in access.by_law.items()} == {"gdpr": month, "pdpa": days_30}
    assert access.binding.isoformat() == min(month, days_30)
    erasure = limits(received_on=day, erasure=True, laws=ALL)
    assert (erasure.by_law[Law.PDPA].isoformat(), erasure.binding.isoformat()) == (days_90, month)
    longer = limits(received_on=day, erasure=True, laws=ALL, extended=True)
    assert longer.by_law[Law.GDPR].isoformat() == extended
    assert longer.binding.isoformat() == min(extended, days_90)
    assert limits(received_on=day, erasure=True, laws=frozenset({Law.PDPA})).binding.isoformat() == days_90


def test_every_day_of_ten_years_has_the_limits_that_another_count_gives() -> None:
    day = date(2026, 1, 1)
    while day < date(2036, 1, 1):
        for erasure in (False, True):
            for extended in (False, True):
                found = limits(received_on=day, erasure=erasure, laws=ALL, extended=extended)
                assert found.by_law[Law.GDPR] == _by_walking(day, 3 if extended else 1)
                assert found.by_law[Law.PDPA].toordinal() - day.toordinal() == (90 if erasure else 30)
                assert found.binding == min(found.by_law.values())
        day += timedelta(days=1)


def _by_walking(day: date, months: int) -> date:
    """Day by day: the day of the same number in the wanted month, or its last one."""
    changes, walker = 0, day
    while True:
        following = walker + timedelta(days=1)
        if following.month != walker.month:
            if changes == months:
                return walker  # the month ends before the number comes
            changes += 1
        walker = following
        if changes == months and walker.day == day.day:
            return walker


def test_a_request_counts_from_its_day_in_bangkok_and_ends_with_the_last_minute_of_a_day_there() -> None:
    before, after = datetime(2026, 1, 31, 16, 59, tzinfo=UTC), datetime(2026, 1, 31, 17, 0, tzinfo=UTC)
    assert (day_of(before), day_of(after)) == (date(2026, 1, 31), date(2026, 2, 1))
    found = limits(received_on=day_of(after), erasure=True, laws=frozenset({Law.GDPR}))
    assert found.binding == date(2026, 3, 1)
    assert found.ends_at == datetime(2026, 3, 2, tzinfo=BANGKOK) == datetime(2026, 3, 1, 17, tzinfo=UTC)
    assert (found.days_left(date(2026, 3, 1)), found.days_left(date(2026, 3, 2))) == (0, -1)
    for moment, left in ((before, 29), (after, 28), (found.ends_at - timedelta(seconds=1), 0), (found.ends_at, -1)):
        assert days_until(found.ends_at, moment) == left


@pytest.mark.parametrize(
    ("left", "level"),
    [(30, "none"), (11, "none"), (10, "soon"), (4, "soon"), (3, "urgent"), (0, "urgent"), (-1, "overdue")],
)
def test_it_escalates_before_the_limit(left: int, level: str) -> None:
    assert escalation(left) == Escalation(level)


def test_dates_are_written_without_doubt_and_in_thai_with_the_buddhist_year() -> None:
    assert date_text(date(2028, 2, 29), "en") == "29 February 2028"
    assert date_text(date(2028, 2, 29), "th") == "29 กุมภาพันธ์ พ.ศ. 2571"
    assert date_text(date(2026, 12, 31), "th-th") == "31 ธันวาคม พ.ศ. 2569"


def test_months_cross_year_ends() -> None:
    assert months_after(date(2026, 12, 31), 2) == date(2027, 2, 28)
    assert months_after(date(2026, 10, 31), 1) == date(2026, 11, 30)

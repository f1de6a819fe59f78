"""Applying the rules, and saying in the audit trail what a day of it came to."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db import DatabaseError, transaction
from django.db.models import Q

from console.audit.services import record
from console.retention.models import Applied
from console.retention.rules import RULES, Rule

_log = logging.getLogger(__name__)


# How long another worker leaves a rule alone that one has begun with, and when one that failed is tried again.
_BEGUN_FOR: Final = timedelta(minutes=10)


def apply_due(*, at: datetime) -> int:
    """Apply every rule whose time has come. Returns how many things were deleted. May run twice.

    A rule that fails does not keep the others from their work: its row says so, and home in red.
    """
    return sum(_apply(rule, at) for rule in RULES if _begin(rule, at))


@transaction.atomic
def _begin(rule: Rule, at: datetime) -> bool:
    """Whether its time has come, and nobody else is applying it. Whoever dies over it is followed by the next."""
    until = at + min(rule.every, _BEGUN_FOR)
    row, is_new = Applied.objects.get_or_create(
        rule=rule.name, defaults={"day": _day(at), "last_at": at, "next_at": until}
    )
    # Last applied in the time to come: a clock was set back, and what it said before is no reason to wait.
    due = Applied.objects.filter(Q(next_at__lte=at) | Q(last_at__gt=at), pk=row.pk)
    return is_new or bool(due.update(last_at=at, next_at=until))


def _apply(rule: Rule, at: datetime) -> int:
    due = rule.due(at).count()
    try:
        # What goes and how much is said to have gone is one transaction: who is killed between them would leave a day
        # in the audit trail of which nobody can tell what went.
        with transaction.atomic():
            rule.delete(at)
            return _note(rule, at, due=due, problem="")
    except (OSError, DatabaseError) as error:
        problem = type(error).__name__
        _log.error("a rule of retention could not be applied", extra={"rule": rule.name, "error": problem})
    with transaction.atomic():
        return _note(rule, at, due=due, problem=problem)


def _note(rule: Rule, at: datetime, *, due: int, problem: str) -> int:
    """Write down what became of what was due, inside the caller's transaction. Returns how much of it went."""
    left = rule.due(at).count()
    held = rule.held(rule.due(at)).count() if rule.held else 0
    deleted = max(due - left, 0)
    counts: dict[str, Any] = {
        "held": held,
        "failed": max(left - held, 0),
        "problem": problem,
        "last_at": at,
        "next_at": at + (min(rule.every, _BEGUN_FOR) if problem else rule.every),
    }
    row = Applied.objects.select_for_update().get(pk=rule.name)
    if row.day < _day(at):
        _report(row)
        row.day, row.deleted = _day(at), 0
    row.deleted += deleted
    for name, value in counts.items():
        setattr(row, name, value)
    row.save()
    return deleted


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


def _report(row: Applied) -> None:
    """A day is over: what it came to is in the audit trail from now on."""
    record(
        actor=None,
        action="retention.reported",
        subject_type="retention",
        subject_id=row.rule,
        details={"day": row.day.isoformat(), "deleted": row.deleted, "held": row.held, "failed": row.failed},
    )

"""Applying the rules, and saying in the audit trail what a day of it came to."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, transaction

from console.audit.services import record
from console.retention.models import Applied
from console.retention.rules import RULES, Rule

_log = logging.getLogger(__name__)


def apply_due(*, at: datetime) -> int:
    """Apply every rule whose time has come. Returns how many things were deleted. May run twice.

    A rule that fails does not keep the others from their work: its row says so, and home in red.
    """
    waiting = dict(Applied.objects.values_list("rule", "next_at"))
    return sum(_apply(rule, at) for rule in RULES if waiting.get(rule.name, at) <= at)


def _apply(rule: Rule, at: datetime) -> int:
    problem, due = "", rule.due(at).count()
    try:
        with transaction.atomic():
            rule.delete(at)
    except (OSError, DatabaseError) as error:
        problem = type(error).__name__
        _log.error("a rule of retention could not be applied", extra={"rule": rule.name, "error": problem})
    left = rule.due(at).count()
    held = rule.held(rule.due(at)).count() if rule.held else 0
    deleted = max(due - left, 0)
    today = at.astimezone(UTC).date()
    counts: dict[str, Any] = {
        "held": held,
        "failed": max(left - held, 0),
        "problem": problem,
        "last_at": at,
        "next_at": at + rule.every,
    }
    with transaction.atomic():
        row, _made = Applied.objects.select_for_update().get_or_create(
            rule=rule.name, defaults={"day": today, **counts}
        )
        if row.day < today:
            _report(row)
            row.day, row.deleted = today, 0
        row.deleted += deleted
        for name, value in counts.items():
            setattr(row, name, value)
        row.save()
    return deleted


def _report(row: Applied) -> None:
    """A day is over: what it came to is in the audit trail from now on."""
    record(
        actor=None,
        action="retention.reported",
        subject_type="retention",
        subject_id=row.rule,
        details={"day": row.day.isoformat(), "deleted": row.deleted, "held": row.held, "failed": row.failed},
    )

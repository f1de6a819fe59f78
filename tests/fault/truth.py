"""What the console says afterwards, through its public export: the audit record of every prediction."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tests.fault.processes import metric
from tests.stack import Stack, until

DELIVERY_S_MAX = 60.0


def backlog(stack: Stack) -> int | None:
    """Durable events that the console has not confirmed; None while the gateway does not say."""
    value = metric(stack, "amulet_backlog_events")
    return None if value is None else int(value)


def audited(stack: Stack, folder: Path) -> Counter[str]:
    """How many audit records each prediction has, once everything is delivered.

    The export is verified with the public key alone; a break in the chain fails the test.
    """
    until(lambda: backlog(stack) == 0, within_s=DELIVERY_S_MAX)
    export = folder / "audit.jsonl"
    stack.amulet("audit", "export", str(export), role="auditor")
    stack.amulet("audit", "verify", str(export), "--key", str(stack.layout.checkpoints / "audit_public.pem"))
    count: Counter[str] = Counter()
    for line in export.read_text().splitlines():
        entry = json.loads(line)
        if entry.get("type") == "prediction.made" and entry["payload"] is not None:  # None: of somebody who was erased
            count[json.loads(entry["payload"])["about"][1]] += 1
    return count


def check_every_answer_is_audited_once(stack: Stack, ok_ids: list[str], folder: Path) -> None:
    """Rule 2 of the architecture: no acknowledged prediction without exactly one audit record."""
    count = audited(stack, folder)
    missing = [prediction_id for prediction_id in ok_ids if count[prediction_id] == 0]
    twice = [prediction_id for prediction_id, times in count.items() if times > 1]
    assert len(set(ok_ids)) == len(ok_ids), "two answers carried the same prediction id"
    assert not missing, f"{len(missing)} of {len(ok_ids)} acknowledged predictions have no audit record: {missing[:5]}"
    assert not twice, f"{len(twice)} predictions have more than one audit record: {twice[:5]}"

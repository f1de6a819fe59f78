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


def check_every_answer_is_audited_once(stack: Stack, ok_ids: list[str], folder: Path, *, finds: bool = False) -> None:
    """Rule 2 of the architecture: no acknowledged prediction without exactly one audit record.

    finds: look, too, whether one more answer or one more record would have been found.
    """
    count = audited(stack, folder)
    assert not complaints(ok_ids, count)
    if finds:
        assert complaints([*ok_ids, "an answer that nobody wrote down"], count)
        assert complaints(ok_ids, count + Counter(ok_ids[:1]))


def complaints(ok_ids: list[str], count: Counter[str]) -> list[str]:
    """What is wrong between answers and audit records, in sentences."""
    missing = [prediction_id for prediction_id in ok_ids if count[prediction_id] == 0]
    twice = [prediction_id for prediction_id, times in count.items() if times > 1]
    found = []
    if len(set(ok_ids)) != len(ok_ids):
        found.append("two answers carried the same prediction id")
    if missing:
        found.append(f"{len(missing)} of {len(ok_ids)} acknowledged predictions have no audit record: {missing[:5]}")
    if twice:
        found.append(f"{len(twice)} predictions have more than one audit record: {twice[:5]}")
    return found


def signed_entries(stack: Stack) -> int:
    """How many entries of the audit log stand under a signed checkpoint."""
    state = stack.layout.checkpoints / "signed.json"
    return int(json.loads(state.read_text())["size"]) if state.exists() else 0

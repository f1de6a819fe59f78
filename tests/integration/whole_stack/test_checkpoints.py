"""A checkpoint comes with an answer: whoever kept it needs nothing else of ours to see that a log was cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.audit.notes import load_public_key, read_checkpoint
from console.audit.verifier import verify
from tests import tiny_archive
from tests.integration.whole_stack.conftest import Traced
from tests.stack import until

pytestmark = pytest.mark.stack


def test_a_checkpoint_that_came_with_an_answer_proves_the_log_and_finds_a_cut(traced: Traced, tmp_path: Path) -> None:
    stack, file = traced.stack, tmp_path / "audit.jsonl"
    key = load_public_key(stack.layout.checkpoints / "audit_public.pem")

    note = until(lambda: stack.predict(tiny_archive.photo_of("red")).audit_checkpoint)

    size = read_checkpoint(key, note).size
    assert size > 0
    stack.amulet("audit", "export", str(file), role="auditor")
    lines = file.read_bytes().splitlines()
    report = verify(lines, key, [note])
    assert (report.problems, report.signed_through >= size) == ((), True)

    # The control: the tail is cut off, and every checkpoint that the console had goes with it.
    kept = [line for line in lines if "checkpoint" not in json.loads(line)]
    (place,) = [number for number, line in enumerate(kept) if json.loads(line).get("sequence") == size]
    assert verify(kept[: place + 1], key, [note]).whole
    cut = verify(kept[:place], key, [note])
    assert (cut.problems[0].first, cut.problems[0].last) == (size, size)

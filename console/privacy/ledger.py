"""Who was erased, as random ids, in a file outside the database: what a restore from a backup is told again.

One JSON object a line, `{"subject": "…", "erased_at": "…", "request": 12}`. A line is on disk
before the erasure that it tells of is committed, so a line too many is possible and harmless:
that erasure goes on by itself. A line that a crash cut short is no line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from protos.durable import sync_folder


@dataclass(frozen=True, slots=True)
class Line:
    subject_id: UUID
    erased_at: datetime
    request_id: int


def enter(path: Path, line: Line) -> None:
    """Add a line durably. Raises OSError."""
    new = not path.exists()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {"subject": str(line.subject_id), "erased_at": line.erased_at.isoformat(), "request": line.request_id}
    with open(path, "ab", opener=lambda name, flags: os.open(name, flags | os.O_APPEND, 0o600)) as file:
        # The newline in front ends a line that a crash cut short. At the beginning of a file, too: of two that find it
        # empty one is not the first.
        file.write(b"\n" + json.dumps(document).encode())
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def read(path: Path) -> Iterator[Line]:
    """The lines that are whole, in order. None where there is no ledger. Raises OSError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for text in content.splitlines():
        try:
            document = json.loads(text)
            yield Line(UUID(document["subject"]), datetime.fromisoformat(document["erased_at"]), document["request"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue

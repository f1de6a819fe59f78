"""Whether a folder of state is another than the one that was started last: copied, moved, or unpacked from a backup.

Two stacks of one folder have one identity (decision 0261). Both sign one audit log with one key, which is a fork to
whoever compares their checkpoints; and in a bucket, or a folder, that both are told of, each deletes what its own
database does not name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from cli import supervision
from cli.checks.finding import Finding, right, wrong
from cli.layout import Layout
from protos.environment import PREFIX

ORIGIN: Final = "origin"  # of the record that `amulet up` writes
MACHINE_ID: Final = Path("/etc/machine-id")
_STORAGE: Final = f"{PREFIX}STORAGE_URL"


def origin(layout: Layout) -> dict[str, str]:
    """What tells a folder from its copies, for the record. Raises OSError where there is no folder."""
    machine = ""
    with suppress(OSError):  # in a container there may be none
        machine = hashlib.sha256(b"amulet" + MACHINE_ID.read_bytes()).hexdigest()[:16]  # it is not for everybody
    return {"state": str(layout.state), "inode": str(layout.state.stat().st_ino), "machine": machine}


def started_before(layout: Layout) -> Path | None:
    """Where the folder was that was started last, if it was another one; None: it was this one, or nobody knows."""
    try:
        before = json.loads(layout.record.read_text())[ORIGIN]
        now = origin(layout)
        same = all(before[name] == now[name] for name in ("inode", "machine"))
        return None if same else Path(before["state"])
    except (OSError, ValueError, KeyError, TypeError):  # never started, or by an earlier version
        return None


def copies(layout: Layout, resolved: Mapping[str, str]) -> Finding:
    """Wrong where a start could delete what the other stack keeps."""
    before = started_before(layout)
    if before is None:
        return right("copies", "no other folder is known that this one was copied from")
    shared = resolved.get(_STORAGE, "")
    if shared and not _lies_in(layout.state, shared):
        return wrong(
            "copies",
            f"{_was_copied(before)}, and {_STORAGE} names what both keep: each deletes there what its own database "
            "does not name",
            f"to try a copy, name another place in {_STORAGE}; where no stack of {before} will run any more, "
            "`amulet up --moved`",
        )
    return right("copies", copied(layout) or "")


def copied(layout: Layout) -> str | None:
    """What follows of it, as a sentence without its full stop; None where nothing does."""
    before = started_before(layout)
    if before is None:
        return None
    runs = before != layout.state and supervision.pid(Layout.of(before)) is not None
    goes_on = "The stack there runs" if runs else "Should the stack there go on"
    return (
        f"{_was_copied(before)}. {goes_on}{': ' if runs else ', '}both sign one audit log with one key, and whoever "
        "compares their checkpoints finds a fork: let one of them serve, and the other only be looked at"
    )


def _was_copied(before: Path) -> str:
    return f"this folder was copied, moved or unpacked since its last start in {before}"


def _lies_in(state: Path, storage: str) -> bool:
    parts = urlsplit(storage)
    return parts.scheme == "file" and Path(unquote(parts.path)).is_relative_to(state)

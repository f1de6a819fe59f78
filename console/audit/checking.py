"""The log checked where it lives, for the page with the button.

It proves less than an export checked elsewhere: whoever owns this machine could show any
page. The page says so. A long log is checked from the checkpoint that leaves about
ENTRIES_MAX entries; `amulet audit verify` checks all of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from console.audit import queries
from console.audit.commands import notes_in
from console.audit.export import export
from console.audit.models import Checkpoint
from console.audit.verifier import NOTHING_SIGNED, Report, verify

ENTRIES_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class Checked:
    report: Report
    took_s: float
    begins: int  # the first entry that was looked at
    unsigned: bool = (
        False  # all that is wrong is that the signer has made no checkpoint yet, of this log or in its files
    )


def check_newest(*, entries_max: int = ENTRIES_MAX) -> Checked:
    """Check the newest entries against the published checkpoints. Raises NotAvailable while there is no key."""
    key = queries.public_key()
    # Before the log's end: what was signed by now is there to be read, so what is not there was cut off.
    published = list(_published())
    last = queries.last_sequence()
    start = Checkpoint.objects.filter(size__lte=last - entries_max).order_by("-size").first()
    begins = 1 if start is None else start.size + 1
    started_s = time.monotonic()
    lines = (line for chunk in export(key, after=start, last=last) for line in chunk.splitlines())
    report = verify(lines, key, [note for size, note in published if size >= begins])
    told = [problem.what for problem in report.problems]
    unsigned = told == [NOTHING_SIGNED] and not published and not Checkpoint.objects.exists()
    return Checked(report, time.monotonic() - started_s, begins, unsigned)


def _published() -> Iterator[tuple[int, str]]:
    """The newest published notes by size: from the files, which the database's owner cannot rewrite."""
    for path in sorted(settings.AMULET.checkpoint_dir.glob("*.txt"))[-2:]:
        notes = list(notes_in(path))
        for note in notes[-20:]:
            size = note.split("\n")[1]
            if size.isdecimal():
                yield int(size), note

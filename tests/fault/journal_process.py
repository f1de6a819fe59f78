"""Runs journal_writer.py, possibly under injected faults, and holds its folder against what it said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from gateway.journal.format import sequence_in_name
from gateway.journal.recovery import recover
from gateway.journal.segment import Frame, read_segment
from tests.fault.journal_writer import number_in

REPOSITORY = Path(__file__).parents[2]


class Claims:
    """What a writer process said over its lifetime, or several did one after the other."""

    def __init__(self) -> None:
        self.acked: dict[int, int] = {}  # sequence -> number
        self.refused = 0
        self.advanced_to = 1
        self.health = ""
        self.closed = ""

    def take(self, line: str) -> None:
        what, _, rest = line.strip().partition(" ")
        if what == "acked":
            sequence, number = map(int, rest.split())
            assert sequence not in self.acked, f"sequence {sequence} was acknowledged twice"
            self.acked[sequence] = number
        elif what == "refused":
            self.refused += 1
        elif what == "advancing":
            self.advanced_to = max(self.advanced_to, int(rest))
        elif what == "health":
            self.health = rest
        elif what == "closed":
            self.closed = rest


def start(folder: Path, *options: str, wrapper: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A writer in a process of its own; its lines come through its output."""
    return subprocess.Popen(
        [*wrapper, sys.executable, "-m", "tests.fault.journal_writer", str(folder), *options],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a signal reaches the writer also behind a wrapper
    )


def signal_all(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to the writer and to whatever it runs under, unless it has ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def suspend(process: subprocess.Popen[str]) -> None:
    """Stop the writer; return when none of its threads runs, or is in the disk, any more.

    A thread on another processor goes on for a moment after the signal, and one in a sync until that has ended. What it
    runs under is not stopped: strace has to pass the signal on.
    """
    leader = psutil.Process(process.pid)
    writer = next(iter(leader.children()), leader)
    writer.suspend()
    threads = Path(f"/proc/{writer.pid}/task")
    while any(path.read_text().rpartition(")")[2].split()[0] not in "Tt" for path in threads.glob("*/stat")):
        time.sleep(0.01)


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    """Whole lines until its end; the last one may have been cut by a kill."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith("\n"):
            yield line


def stored(folder: Path) -> dict[int, int]:
    """The number of every record in the journal by its sequence, read as a gateway would after a crash."""
    found: dict[int, int] = {}
    for segment in recover(folder).segments:
        assert sequence_in_name(segment.path) == segment.first_sequence
        for piece in read_segment(segment.path, expected=segment.first_sequence):
            if isinstance(piece, Frame) and not piece.is_seal and piece.sequence < segment.next_sequence:
                found[piece.sequence] = number_in(piece.record)
    return found


def lost(claims: Claims, folder: Path) -> dict[int, int]:
    """What was acknowledged, was not confirmed by the console, and is not in the folder as it was."""
    there = stored(folder)
    return {
        sequence: number
        for sequence, number in claims.acked.items()
        if there.get(sequence) != number and not (sequence not in there and sequence < claims.advanced_to)
    }

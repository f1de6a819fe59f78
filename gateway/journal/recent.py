"""The newest records of a journal, for who wants to know what was just done before a restart.

Bounded: newest segments first until so many bytes are read, so that a start takes as long after a
day's backlog as after a minute's. What cannot be read is passed over here and told of by the shipper.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from gateway.journal.recovery import Stored
from gateway.journal.refusals import everything
from gateway.journal.segment import Frame, read_segment


def recent_records(segments: Sequence[Stored], *, bytes_max: int) -> Iterator[bytes]:
    """Records oldest first, of the newest segments that have at most `bytes_max` together, or of the newest one.

    Blocks on the disk. What it refuses is passed over, too; raises OSError when a segment cannot be opened otherwise.
    """
    chosen: list[Stored] = []
    size_bytes = 0
    for stored in reversed(segments):
        size_bytes += stored.size_bytes
        if chosen and size_bytes > bytes_max:
            break
        chosen.append(stored)
    for stored in reversed(chosen):
        with closing(read_segment(stored.path, expected=stored.first_sequence, forgo=everything)) as pieces:
            for piece in pieces:
                if not isinstance(piece, Frame) or piece.is_seal:
                    continue
                if piece.sequence >= stored.next_sequence:
                    break  # never acknowledged: the next segment took its number
                yield piece.record

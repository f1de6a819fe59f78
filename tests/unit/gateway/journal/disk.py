"""Journals written by hand, byte by byte as format.py states, for tests that then harm them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.journal.format import HEADER_BYTES, file_name, frame, header, seal
from gateway.journal.segment import Frame, read_segment

Group = Sequence[bytes]


def segment_bytes(groups: Sequence[Group], *, first: int = 1, sealed: bool = False) -> bytes:
    """A segment that holds these groups."""
    content, sequence = header(first), first
    for group in groups:
        for place, record in enumerate(group):
            content += frame(record, sequence=sequence, place=place)
            sequence += 1
    return content + (seal(sequence) if sealed else b"")


def frame_starts(groups: Sequence[Group], *, first: int = 1) -> list[int]:
    """The offset of every frame in `segment_bytes(groups)`, and the offset of the end."""
    starts, offset, sequence = [HEADER_BYTES], HEADER_BYTES, first
    for group in groups:
        for place, record in enumerate(group):
            offset += len(frame(record, sequence=sequence, place=place))
            sequence += 1
            starts.append(offset)
    return starts


def write_segment(folder: Path, content: bytes, *, first: int = 1) -> Path:
    path = folder / file_name(first)
    path.write_bytes(content)
    return path


@contextmanager
def refusing(path: Path, *stretches: range) -> Iterator[None]:
    """The disk refuses these bytes of a file. As the kernel does: a read that reaches them ends before them."""
    file, give = path.stat(), os.pread

    def pread(descriptor: int, count: int, offset: int) -> bytes:
        if os.path.samestat(os.fstat(descriptor), file):
            for stretch in stretches:
                if stretch.start <= offset < stretch.stop:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                if offset < stretch.start:
                    count = min(count, stretch.start - offset)
        return give(descriptor, count, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pread", pread)
        yield


def records_in(path: Path, *, first: int = 1) -> list[bytes]:
    """The readable records of one segment."""
    return [
        piece.record for piece in read_segment(path, expected=first) if isinstance(piece, Frame) and not piece.is_seal
    ]

"""Journals written by hand, byte by byte as format.py states, for tests that then harm them."""

from __future__ import annotations

import errno
import os
import threading
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
def refusing(path: Path, *stretches: range, error: int = errno.EIO) -> Iterator[None]:
    """The disk refuses these bytes of a file. As the kernel does: a read that reaches them ends before them."""
    file, give = path.stat(), os.pread

    def pread(descriptor: int, count: int, offset: int) -> bytes:
        if os.path.samestat(os.fstat(descriptor), file):
            for stretch in stretches:
                if stretch.start <= offset < stretch.stop:
                    raise OSError(error, os.strerror(error))
                if offset < stretch.start:
                    count = min(count, stretch.start - offset)
        return give(descriptor, count, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pread", pread)
        yield


class HeldDisk:
    """A disk whose syncs do not end, well or badly, before they are told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()  # a sync waits
        self._told = threading.Event()
        self._failing = False

    def go_on(self, *, failing: bool = False) -> None:
        """failing: what waits ends with an error; what comes after it is well."""
        self._failing = failing
        self._told.set()

    def hold(self) -> None:
        self.asked.set()
        assert self._told.wait(60), "nobody told the disk to go on"
        if self._failing:
            self._failing = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@contextmanager
def held_disk() -> Iterator[HeldDisk]:
    """Syncs of data wait from here on. Leaving lets them all end well."""
    disk, sync = HeldDisk(), os.fdatasync

    def fdatasync(descriptor: int) -> None:
        disk.hold()
        sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdatasync", fdatasync)
        try:
            yield disk
        finally:
            disk.go_on()


def records_in(path: Path, *, first: int = 1) -> list[bytes]:
    """The readable records of one segment."""
    return [
        piece.record for piece in read_segment(path, expected=first) if isinstance(piece, Frame) and not piece.is_seal
    ]

"""Pixels for TorchServe through memory that both sides map, where they run on one machine.

A photograph at the model's size is 150 kB. Sent in a request it is copied ten times on its way through
protobuf, HTTP/2, Java and two sockets; on a board it is written once and read once, and the request says
where (decision 0134). A board is one file of places in a folder that the worker is told of at its start;
the folder has to be in memory (tmpfs), for pixels are a person's and belong on no disk.

A place is given to one image at a time and wiped when it is free again. Whoever is given it gets a turn,
a number that no place has had before: it stands before the pixels and in the request, so that a reader
who comes too late finds another one and takes nobody's photograph for somebody else's.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

PLACES: Final = 24  # three full requests; who finds none free sends its pixels
PLACE_BYTES: Final = 288 * 1024  # 300 x 300 pixels and the turn, in whole pages
TURN_BYTES: Final = 8
_NAME: Final = re.compile(r"[0-9a-f]{32}")


class BoardImpossible(Exception):
    """There can be no board in that folder; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an image lies until it is taken away."""

    offset: int
    turn: int
    size: int  # bytes of its pixels


class Board:
    """One gateway's board. Use as a context manager: its file goes with it, and when it was killed, with the next."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if need be, and the board in it. Raises BoardImpossible."""
        _check(folder)
        _remove_left_behind(folder)
        self.name: Final = token_hex(16)
        self._file = folder / f"new-{self.name}"
        try:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BoardImpossible(f"no file can be made in {folder}: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            # All of it now: memory that is missing later would end this process (SIGBUS).
            os.posix_fallocate(self._descriptor, 0, PLACES * PLACE_BYTES)
            self._memory = mmap.mmap(self._descriptor, PLACES * PLACE_BYTES)
            # Named once it is locked: a board that nobody has locked is taken for one that was left behind.
            self._file = self._file.rename(folder / self.name)
        except OSError as error:
            self._remove()
            raise BoardImpossible(f"{folder} has no room for {PLACES * PLACE_BYTES} bytes: {error.strerror}") from None
        self._free = [index * PLACE_BYTES for index in reversed(range(PLACES))]  # the warmest is taken first
        self._turn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.close()
        self._remove()

    def place(self, images: Iterable[NDArray[np.uint8]]) -> tuple[Placed, ...]:
        """Copy the images [height, width, 3] to a place each; none of them when there is not room for all."""
        placed: list[Placed] = []
        for image in images:
            if not self._free or TURN_BYTES + image.nbytes > PLACE_BYTES:
                self.take_away(placed)
                return ()
            offset = self._free.pop()
            self._turn += 1
            begin = offset + TURN_BYTES
            self._memory[begin : begin + image.nbytes] = np.ascontiguousarray(image).data.cast("B")
            self._memory[offset:begin] = self._turn.to_bytes(TURN_BYTES, "little")
            placed.append(Placed(offset, self._turn, image.nbytes))
        return tuple(placed)

    def take_away(self, placed: Iterable[Placed]) -> None:
        """Wipe these places; they are free again. Nobody's answer may depend on them any more."""
        for place in placed:
            begin = place.offset + TURN_BYTES
            self._memory[place.offset : begin] = _NOTHING[:TURN_BYTES]  # first: a reader looks at it last
            self._memory[begin : begin + place.size] = _NOTHING[: place.size]
            self._free.append(place.offset)

    def _remove(self) -> None:
        self._file.unlink(missing_ok=True)
        os.close(self._descriptor)
        with suppress(OSError):  # another gateway's is in it
            self._file.parent.rmdir()


_NOTHING: Final = memoryview(bytes(PLACE_BYTES))


def _check(folder: Path) -> None:
    """Others could put a file of theirs in the place of ours: the folder must be this user's alone."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise BoardImpossible(f"{folder} cannot be made: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise BoardImpossible(f"{folder} is not a folder of this user alone: chmod 700, or name another one")


def _remove_left_behind(folder: Path) -> None:
    """Boards of gateways that were killed: nobody holds their lock."""
    for file in folder.iterdir():
        if not _NAME.fullmatch(file.name):
            continue
        with suppress(OSError):  # another gateway's own, or gone meanwhile
            descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.unlink()
            finally:
                os.close(descriptor)

"""Does a member hold something that unpickles into a call?

Pickle's loader is an interpreter: a file that it accepts can import and call anything. An
archive needs none, so what reads as one is refused wherever in a member it stands: at
offset 0 whatever it does, further in when it imports something.

Weights are random bytes, and random bytes begin to look like pickle now and then. The
rules below refuse about one good 20 MB model in 100,000 by estimate, and none of 60 that
were measured (decision 0031). The work grows with the size of the member and no faster; a
file built to look like many pickles uses up its budget and is refused.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import warnings
from typing import Final, TypeAlias

Content: TypeAlias = bytes | mmap.mmap

_OPCODES_MAX: Final = 250_000  # a good model of 1 GiB takes some 150,000
_BYTES_MAX_BASE: Final = 1 << 24  # besides twice the content itself
_WINDOW: Final = 1 << 20  # how far a pickle is followed that does not start the member
_NAME_BYTES_MAX: Final = 200

# Protocols 2 to 5 announce themselves.
_ANNOUNCED: Final = re.compile(rb"\x80[\x00-\x05]")
# Protocols 0 and 1 do not: look for an import, which is `c` or `i`, a module and an attribute, each
# on its line. The attribute first: its start is a newline, so that no byte is looked at twice.
_ATTRIBUTE: Final = re.compile(rb"\n[A-Za-z_][\w.]+(?=\n)")
_MODULE_RUN: Final = re.compile(rb"[\w.]+\Z")
_IMPORT_START: Final = re.compile(rb"[ci](?=[A-Za-z_][\w.])")
_CALLS: Final = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_NAME: Final = re.compile(r"[A-Za-z_][\w.]+")


def find_pickle(content: Content) -> int | None:
    """The offset of the first thing that reads as a pickle; None when there is none."""
    budget = _Budget(_OPCODES_MAX, 2 * len(content) + _BYTES_MAX_BASE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pickletools' own, about escapes in what looks like a string
        return _find(content, budget)


def _find(content: Content, budget: _Budget) -> int | None:
    at = 0
    try:
        if _Reading(_Window(content, 0, len(content), budget)).whole:
            return 0
        for match in _ANNOUNCED.finditer(content):
            at = match.start()
            if _Reading(_Window(content, at, at + _WINDOW, budget)).imports:
                return at
        for match in _ATTRIBUTE.finditer(content):
            budget.spend(opcodes=1)
            for at in _import_starts(content, match.start()):
                reading = _Reading(_Window(content, at, at + _WINDOW, budget))
                if reading.whole and reading.imports and reading.calls:
                    return at
    except _BudgetSpent:
        return at
    return None


def _import_starts(content: Content, module_end: int) -> list[int]:
    """Where `c` or `i` may begin an import whose module's line ends here."""
    start = max(0, module_end - _NAME_BYTES_MAX)
    run = _MODULE_RUN.search(content[start:module_end])
    if run is None:
        return []
    return [start + run.start() + match.start() for match in _IMPORT_START.finditer(run[0])]


class _BudgetSpent(Exception):
    pass


class _Budget:
    """What all readings of one member may cost together."""

    def __init__(self, opcodes: int, read_bytes: int) -> None:
        self._opcodes = opcodes
        self._bytes = read_bytes

    def spend(self, *, opcodes: int = 0, read_bytes: int = 0) -> None:
        self._opcodes -= opcodes
        self._bytes -= read_bytes
        if self._opcodes < 0 or self._bytes < 0:
            raise _BudgetSpent


class _Window:
    """Part of the content as the file that pickletools reads, without a copy of the rest."""

    def __init__(self, content: Content, start: int, end: int, budget: _Budget) -> None:
        self._content = content
        self._at = start
        self._end = min(end, len(content))
        self.budget = budget

    def read(self, size: int) -> bytes:
        return self._take(min(self._at + size, self._end))

    def readline(self) -> bytes:
        newline = self._content.find(b"\n", self._at, self._end)
        return self._take(self._end if newline < 0 else newline + 1)

    def _take(self, end: int) -> bytes:
        self.budget.spend(read_bytes=end - self._at)
        piece = self._content[self._at : end]
        self._at = end
        return piece


class _Reading:
    """What the opcodes from one offset on amount to, up to STOP or the first that is none."""

    def __init__(self, window: _Window) -> None:
        self.whole = False  # reached STOP after at least one other opcode
        self.imports = False
        self.calls = False
        opcodes = names = 0
        try:
            for opcode, argument, _ in pickletools.genops(window):  # type: ignore[arg-type]  # reads no more than this
                window.budget.spend(opcodes=1)
                opcodes += 1
                names += isinstance(argument, str) and _NAME.fullmatch(argument) is not None
                if opcode.name in ("GLOBAL", "INST"):
                    self.imports |= all(map(_NAME.fullmatch, str(argument).split(" ")))
                elif opcode.name == "STACK_GLOBAL":
                    self.imports |= names >= 2  # module and attribute, wherever they were pushed
                self.calls |= opcode.name in _CALLS
            self.whole = opcodes > 1
        except (ValueError, EOFError, OverflowError, IndexError, MemoryError):
            return  # not, or no longer, a pickle

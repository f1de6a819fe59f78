"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and how to mend it where it is wrong."""

    check: str
    ok: bool
    found: str
    mend: str  # empty when nothing needs mending


class Misset(Finding):
    """A setting that no process takes, whatever the machine is like."""

    __slots__ = ()


def right(check: str, found: str) -> Finding:
    return Finding(check, True, found, "")


def wrong(check: str, found: str, mend: str) -> Finding:
    return Finding(check, False, found, mend)


def misset(check: str, found: str, mend: str) -> Finding:
    return Misset(check, False, found, mend)

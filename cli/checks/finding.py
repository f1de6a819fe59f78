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


def right(check: str, found: str) -> Finding:
    return Finding(check, True, found, "")


def wrong(check: str, found: str, mend: str) -> Finding:
    return Finding(check, False, found, mend)

"""Whose events may still come late, beside the ledger: what a restore takes from the database's memory of erasures.

A person who came after a backup was made and was erased since is nowhere in it, neither with an id, by which the ledger
erases again, nor as erased; what a gateway delivers late of them would bring them back. One file for each erasure,
`erasures.late-….json`, `{"erased_at": "…", "found_by": ["…", …]}`: keyed hashes of the person and of their predictions,
as `vault_erased` has them, and for as long. A file is on disk before the erasure that it tells of is committed, so one
too many is possible and harmless. No Django.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from console.privacy import beside
from console.privacy.beside import BEING_WRITTEN

_KIND: Final = "late"


@dataclass(frozen=True, slots=True)
class Late:
    """One erasure."""

    erased_at: datetime
    found_by: tuple[bytes, ...]  # 32 bytes each


def enter(ledger: Path, late: Late) -> None:
    """Write it durably, beside the ledger of this path. Raises OSError."""
    document = {"erased_at": late.erased_at.isoformat(), "found_by": [key.hex() for key in late.found_by]}
    beside.enter(ledger, _KIND, document)


def read(ledger: Path) -> Iterator[Late]:
    """All there are, in no order. Raises OSError; ValueError naming a file that is none."""
    for path in _files(ledger):
        yield _read(path)


def is_there(ledger: Path) -> bool:
    """Whether anything may come late. Raises OSError."""
    return bool(_files(ledger))


def forget(ledger: Path, *, before: datetime) -> int:
    """Remove those of erasures before a time, and no file that is none. Returns how many. Raises OSError."""
    gone = 0
    for path in _files(ledger):
        with suppress(ValueError):
            if _read(path).erased_at < before:
                path.unlink(missing_ok=True)
                gone += 1
    for path in ledger.parent.glob(f"{ledger.stem}.{_KIND}-*{BEING_WRITTEN}"):  # of a process that died over it
        if path.stat().st_mtime < before.timestamp():
            path.unlink(missing_ok=True)
    return gone


def _files(ledger: Path) -> list[Path]:
    return beside.files(ledger, _KIND)


def _read(path: Path) -> Late:
    try:
        document = json.loads(path.read_bytes())
        return Late(datetime.fromisoformat(document["erased_at"]), tuple(map(bytes.fromhex, document["found_by"])))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not say who was erased: put the file back as it was written") from error

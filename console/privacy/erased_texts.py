"""Which free text was erased by hand, beside the ledger: a restore from a backup brings it back, and takes the entries
that told of it.

One file for each, `erasures.typed-….json`: a keyed hash of the text, when and on what ground, and the first audit entry
that tells of it, by number and commitment. A log that has that entry has the erasure; one that lacks it is older. No
Django.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from console.privacy import beside

_KIND: Final = "typed"


@dataclass(frozen=True, slots=True)
class ErasedText:
    """One text that was erased, wherever exactly it stood."""

    erased_at: datetime
    digest: bytes  # keyed hash of the text, 32 bytes
    ground: str
    request_id: int | None
    entry: int
    commitment: bytes  # of that entry, 32 bytes


def enter(ledger: Path, erased: ErasedText) -> None:
    """Write it durably. Raises OSError."""
    document = {
        "erased_at": erased.erased_at.isoformat(),
        "text": erased.digest.hex(),
        "ground": erased.ground,
        "request": erased.request_id,
        "entry": erased.entry,
        "commitment": erased.commitment.hex(),
    }
    beside.enter(ledger, _KIND, document)


def read(ledger: Path) -> Iterator[tuple[Path, ErasedText]]:
    """All there are, each with its file. Raises OSError; ValueError naming a file that is none."""
    for path in beside.files(ledger, _KIND):
        try:
            said = json.loads(path.read_bytes())
            yield (
                path,
                ErasedText(
                    erased_at=datetime.fromisoformat(said["erased_at"]),
                    digest=bytes.fromhex(said["text"]),
                    ground=str(said["ground"]),
                    request_id=said["request"],
                    entry=int(said["entry"]),
                    commitment=bytes.fromhex(said["commitment"]),
                ),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} does not say what was erased: put the file back as it was written") from error


def is_there(ledger: Path) -> bool:
    """Whether a text was ever erased by hand. Raises OSError."""
    return bool(beside.files(ledger, _KIND))

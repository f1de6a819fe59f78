"""Files beside the ledger of erasures, `erasures.KIND-….json`: written once, durably, and never again. No Django."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from protos.durable import sync_folder

BEING_WRITTEN: Final = ".part"


def enter(ledger: Path, kind: str, document: Mapping[str, Any]) -> None:
    """Write one, whole and on disk before it has its name. Raises OSError."""
    ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = ledger.with_name(f"{ledger.stem}.{kind}-{uuid4()}.json")
    aside = path.with_suffix(BEING_WRITTEN)
    with open(aside, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(json.dumps(document).encode())
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    sync_folder(path.parent)


def files(ledger: Path, kind: str) -> list[Path]:
    """Those that are whole. Raises OSError."""
    return sorted(ledger.parent.glob(f"{ledger.stem}.{kind}-*.json"))

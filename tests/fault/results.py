"""What a run measured, printed always and kept as JSON where FAULT_RESULTS names a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def keep(name: str, measured: Mapping[str, Any]) -> None:
    """Write `measured` to NAME.json with the day and the machine, in place of an earlier run's."""
    print(f"{name}: {json.dumps(measured)}")
    folder = os.environ.get("FAULT_RESULTS")
    if not folder:
        return
    machine = {"cores": len(os.sched_getaffinity(0)), "memory_mib": _memory_mib(), "kernel": os.uname().release}
    document = {"measured_at": datetime.now(UTC).isoformat(timespec="minutes"), "machine": machine, **measured}
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20

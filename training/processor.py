"""The processor that something was measured on, by name and by what it can do for 8 bits."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

# What decides how fast 8-bit products are, the strongest first.
_INSTRUCTIONS: Final = ("amx_int8", "avx512_vnni", "avx_vnni", "asimddp", "avx2")


def processor() -> str:
    """Such as "AMD EPYC (avx512_vnni)"."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    known = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines if ":" in line}
    flags = known.get("flags", known.get("Features", "")).split()
    best = next((name for name in _INSTRUCTIONS if name in flags), "")
    name = known.get("model name", platform.machine())
    return f"{name} ({best})" if best else name

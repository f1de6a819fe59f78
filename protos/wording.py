"""Sentences that must read the same wherever a person meets a result."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DISCLAIMER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "en": "A preliminary assessment: have an expert confirm it.",
        "th": "ผลประเมินเป็นเบื้องต้น ควรให้ผู้เชี่ยวชาญยืนยัน",
    }
)

"""An answer as a person reads it, in Thai or English, always with the disclaimer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from amulet_client.answers import Prediction

_VERDICTS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "en": {
            "IN_DOMAIN": "Recognised",
            "UNSURE": "Not sure",
            "OUT_OF_DISTRIBUTION": "None of the known kinds",
        },
        "th": {
            "IN_DOMAIN": "ระบุได้",
            "UNSURE": "ไม่แน่ใจ",
            "OUT_OF_DISTRIBUTION": "ไม่ใช่ชนิดที่ระบบรู้จัก",
        },
    }
)
_REVIEWED: Final[Mapping[str, str]] = MappingProxyType(
    {"en": "A person will look at this one.", "th": "ผู้เชี่ยวชาญจะตรวจสอบรายการนี้"}
)


def describe(prediction: Prediction, language: str = "en") -> str:
    """Several lines: the verdict, the candidates, each reason with its advice, the disclaimer.

    An answer that is out of distribution shows no candidates: they would only mislead.
    Unknown languages read as English.
    """
    words = "th" if language.lower().startswith("th") else "en"
    lines = [_VERDICTS[words][prediction.verdict]]
    if prediction.verdict != "OUT_OF_DISTRIBUTION":
        lines += [f"  {each.probability:6.1%}  {each.display_name}" for each in prediction.candidates]
    lines += [f"  – {each.message} {each.advice}".rstrip() for each in prediction.reasons]
    if prediction.will_be_reviewed:
        lines.append(f"  {_REVIEWED[words]}")
    lines.append(f"  {prediction.disclaimer}")
    return "\n".join(lines)

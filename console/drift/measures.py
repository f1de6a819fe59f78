"""What drift is measured on: numbers and choices of one prediction, under the names of an archive's reference.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from console.predictions.services import NewPrediction

# Quality of the first photograph; the reference of an archive does not have them.
QUALITY: Final = ("sharpness_var", "brightness_ratio", "contrast_ratio")


@dataclass(frozen=True, slots=True)
class Measured:
    """One prediction without whose it is."""

    samples: Mapping[str, float]
    choices: Mapping[str, str]


def measure(row: NewPrediction) -> Measured:
    """The numbers and choices of one prediction."""
    detail = row.detail
    samples = {"confidence": row.confidence}
    if len(detail.candidates) > 1:
        samples["margin"] = detail.candidates[0].probability - detail.candidates[1].probability
    for score in detail.ood_scores:
        samples[f"score_{score.detector}"] = score.score
    choices = {"verdict": row.verdict.name}
    if row.top_class:
        choices["predicted_class"] = row.top_class
    if detail.views:
        quality = detail.views[0].quality
        samples |= {name: quality[name] for name in QUALITY if name in quality}
    return Measured(samples, choices)

"""What drift is measured on: numbers and choices of one prediction, under the names of an archive's reference.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from console.predictions.detail import Detail
from console.predictions.models import Verdict
from model_store.reference import EMBEDDING, confidence_in, is_name

# Of the first photograph, as it was sent; archives made before these were measured in training do not have them.
QUALITY: Final = ("sharpness_var", "brightness_ratio", "contrast_ratio")
SIDE: Final = "shorter_side_px"
VERDICT: Final = "verdict"
CLASS: Final = "predicted_class"


@dataclass(frozen=True, slots=True)
class Measured:
    """One prediction without whose it is."""

    samples: Mapping[str, float]
    choices: Mapping[str, str]


def measure(*, confidence: float, verdict: Verdict, top_class: str, detail: Detail) -> Measured:
    """The numbers and choices of one prediction."""
    samples = {"confidence": confidence}
    if len(detail.candidates) > 1:
        samples["margin"] = detail.candidates[0].probability - detail.candidates[1].probability
    for score in detail.ood_scores:
        if is_name(name := f"score_{score.detector}"):  # others have no place in a distribution, and would spoil it
            samples[name] = score.score
    choices = {VERDICT: verdict.name}
    if top_class:
        choices[CLASS] = top_class
        samples[confidence_in(top_class)] = confidence
    if detail.views:
        view = detail.views[0]
        samples |= {name: view.quality[name] for name in QUALITY if name in view.quality}
        if view.width_px > 0 and view.height_px > 0:
            samples[SIDE] = min(view.width_px, view.height_px)
        samples |= dict(zip(EMBEDDING, view.projection, strict=False))
    return Measured(samples, choices)

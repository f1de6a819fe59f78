"""A second frozen network, or the same one at another size, that looks at the photographs beside a recipe's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FEATURES: Final = "features"
ANSWERS: Final = "answers"
JOINED: Final = (FEATURES, ANSWERS)


@dataclass(frozen=True, slots=True)
class Companion:
    """What it is, and how the two are made one.

    features: one head on both networks' levels.  answers: a head for each network, their log-probabilities averaged.
    """

    backbone: str = "tf_efficientnet_lite0"
    input_px: int = 288
    levels: tuple[str, ...] = ("block4", "block5", "head")
    joined: str = FEATURES  # one of JOINED

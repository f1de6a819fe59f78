"""Which values a recipe's fields may have: a number's range and a text's choices, as checked and as said.

A field of a part is named with the part, as in `strength.turn_deg`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from training.augmentation.standard import Strength
from training.data.preprocessing import DENOISERS
from training.errors import SettingWrong
from training.fitting.companion import JOINED
from training.fitting.tuning import PRECISIONS, SAMPLERS

NEIGHBOURS: Final = "neighbours"
HEADS: Final = ("lda", "logistic", "centroid", NEIGHBOURS)

_FINITE_MAX: Final = sys.float_info.max  # a whole number of a recipe may be larger than any float


@dataclass(frozen=True, slots=True)
class Range:
    """From low to high, each end included or not."""

    low: float
    high: float
    ends: str = "[]"  # of an interval: a round bracket leaves the end out
    step: int = 1  # of whole numbers

    def holds(self, value: float) -> bool:
        """False of nan, too."""
        above = self.low <= value if self.ends[0] == "[" else self.low < value
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return above and below and (self.step == 1 or value % self.step == 0)

    @property
    def said(self) -> str:
        """After "a number"."""
        if self.step != 1:
            return f"that is a multiple of {self.step} from {self.low:g} to {self.high:g}"
        if self.high == _FINITE_MAX:
            return f"that is finite and above {self.low:g}"
        return {
            "[)": f"that is at least {self.low:g} and below {self.high:g}",
            "(]": f"that is above {self.low:g} and at most {self.high:g}",
        }.get(self.ends, f"between {self.low:g} and {self.high:g}")

    @property
    def must(self) -> str:
        """After "must"."""
        return self.said.replace("that is", "be", 1) if self.said.startswith("that is") else f"lie {self.said}"


_SHARE: Final = Range(0.0, 1.0, "()")
_SHARE_BELOW_1: Final = Range(0.0, 1.0, "[)")
_PART: Final = Range(0.0, 1.0)
_RATE: Final = Range(0.0, 1.0, "(]")
_SIDE: Final = Range(32, 1024, step=32)
# Beyond, a view shows nothing of its photograph any more. e^5 is a factor of 148.
_STRENGTH_MAX: Final[Mapping[str, float]] = MappingProxyType(
    {"_ratio": 1.0, "_log": 5.0, "turn_deg": 180.0, "tilt": 0.02}
)

RANGES: Final[Mapping[str, Range]] = MappingProxyType(
    {
        "head_shrinkage": _SHARE,
        "mahalanobis_shrinkage": _SHARE,
        "train_share": _SHARE,
        "calibration_share": _SHARE,
        "thresholds_share": _SHARE,
        "ood_threshold_share": _SHARE,
        "unsure_ratio": _SHARE,
        "out_ratio": _SHARE,
        "confidence_min": _SHARE_BELOW_1,
        "margin_min": _SHARE_BELOW_1,
        "set_coverage": _SHARE_BELOW_1,
        "head_neighbours": Range(1, 1000),
        "head_inverse_penalty": Range(0.0, _FINITE_MAX, "(]"),
        "input_px": _SIDE,
        "views": Range(0, 200),
        "forest_trees": Range(1, 1000),
        "forest_samples": Range(2, 4096),
        **{
            f"strength.{field.name}": Range(
                0.0, next(most for end, most in _STRENGTH_MAX.items() if field.name.endswith(end))
            )
            for field in dataclasses.fields(Strength)
        },
        "companion.input_px": _SIDE,
        "preprocessing.clahe_clip": Range(0.0, 256.0),
        "preprocessing.clahe_tiles": Range(1, 32),
        "tuning.warm_up": _PART,
        "tuning.average_decay": _PART,
        "tuning.smoothing": _PART,
        "tuning.mix_ratio": _PART,
        "tuning.cutmix_share": _PART,
        "tuning.erasing_ratio": _PART,
        "tuning.minority_robust_ratio": _PART,
        "tuning.weight_decay": _PART,
        "tuning.rate": _RATE,
        "tuning.head_rate": _RATE,
        "tuning.rate_decay": _RATE,
        "tuning.watch_share": Range(0.0, 0.5, "()"),
        "tuning.epochs": Range(1, 1000),
        "tuning.head_epochs": Range(0, 1000),
        "tuning.patience": Range(1, 1000),
        "tuning.batch": Range(1, 1024),
        "tuning.unfrozen": Range(1, 100),
        "tuning.mixup_alpha": Range(0.01, 100.0),
        "tuning.cutmix_alpha": Range(0.01, 100.0),
        "tuning.randaugment_ops": Range(0, 14),  # torchvision's RandAugment knows strengths from 0 to 30
        "tuning.randaugment_magnitude": Range(0, 30),
        "tuning.devices": Range(1, 64),
    }
)
CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "head": HEADS,
        "companion.joined": JOINED,
        "preprocessing.denoise": DENOISERS,
        "tuning.sampler": SAMPLERS,
        "tuning.precision": PRECISIONS,
    }
)
_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {"float": "a number", "int": "a whole number", "str": "a text", "bool": "true or false"}
)


def check_kind(name: str, value: object, kind: str) -> None:
    """kind: as annotations say it, as in `float | None`. Raises SettingWrong that says what would be right."""
    plain = kind.removesuffix(" | None")
    if plain not in _KINDS or (value is None and plain != kind):
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    right = {
        "float": number,
        "int": isinstance(value, int) and not isinstance(value, bool),
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
    }[plain]
    if not right:
        null = ", or null" if plain != kind else ""
        raise SettingWrong(f"the setting {name} must be {_wanted(name, plain)}{null}, not {value!r}")


def check_value(name: str, value: object) -> None:
    """Of a field whose kind is right; None is what a field may be that can be. Raises SettingWrong."""
    if isinstance(value, int | float) and name in RANGES and not RANGES[name].holds(value):
        raise SettingWrong(f"the setting {name} must {RANGES[name].must}, not {value}")
    if name in CHOICES and value not in CHOICES[name]:
        raise SettingWrong(f"the setting {name} must be {' or '.join(CHOICES[name])}, not {value}")


def _wanted(name: str, kind: str) -> str:
    if name in CHOICES:
        return " or ".join(CHOICES[name])
    return f"{_KINDS[kind]} {RANGES[name].said}" if name in RANGES else _KINDS[kind]

"""Stage A: is the photograph itself good enough to be judged?

Everything is measured on the luma of the largest centred square, scaled down to `CHECK_SIDE_PX`
where it is larger: one fixed resolution, because the variance of the Laplacian grows with the
resolution that it is measured at, and that of most models' input, because blur below that scale
cannot reach the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protos.amulet.v1 import vocabulary_pb2 as words

CHECK_SIDE_PX: Final = 224
_DARK: Final = 5  # of 255: crushed shadows, still zero after any tone curve
_BRIGHT: Final = 250


@dataclass(frozen=True, slots=True)
class Quality:
    sharpness_var: float  # variance of the Laplacian of luma in 0..255; higher is sharper
    brightness_ratio: float  # mean luma, 0 to 1
    contrast_ratio: float  # standard deviation of luma, 0 to 1
    clipped_dark_ratio: float  # share of pixels at or near black
    clipped_bright_ratio: float


def measure(luma: NDArray[np.uint8]) -> Quality:
    """luma: uint8 [height, width], at least 3 x 3.

    Sharpness: the 4-neighbour Laplacian without borders (Pech-Pacheco et al. 2000, eq. 4;
    the kernel and scale of OpenCV's `Laplacian`, so that figures compare).
    """
    # A third of what numpy's var and mean take on the same array, in every photograph's path: int16
    # holds the Laplacian of bytes, and all the rest is in the 256 counts.
    grey = luma.astype(np.int16)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1]
    laplacian += grey[1:-1, :-2]
    laplacian += grey[1:-1, 2:]
    laplacian -= 4 * grey[1:-1, 1:-1]
    counts = np.bincount(luma.ravel(), minlength=_LEVELS.size) / luma.size
    brightness = float(counts @ _LEVELS)
    return Quality(
        sharpness_var=_variance(laplacian.ravel().astype(np.float64)),
        brightness_ratio=brightness / 255,
        contrast_ratio=float(np.sqrt(counts @ (_LEVELS - brightness) ** 2)) / 255,
        clipped_dark_ratio=float(counts[: _DARK + 1].sum()),
        clipped_bright_ratio=float(counts[_BRIGHT:].sum()),
    )


_LEVELS: Final = np.arange(256, dtype=np.float64)


def _variance(whole: NDArray[np.float64]) -> float:
    """Of whole numbers, whose sums are exact, so that the two terms can be taken from each other."""
    mean = float(whole.sum()) / whole.size
    return float(whole @ whole) / whole.size - mean * mean


@dataclass(frozen=True, slots=True)
class Shortcoming:
    """Something that stands in the way of judging the photograph."""

    reason: words.Reason.ValueType
    grave: bool  # whatever the model says about such a photograph is not to be trusted


# A figure beyond the first number is worth a remark, beyond the second it is grave.
# Sharpness: of 131 amulets and 93 other things photographed sharply (224 px) the lowest
# figures are 909 and 31; blurred with a Gaussian of radius 2 px 95 % fall below 16.
_SHARPNESS: Final = (60.0, 15.0)
# Mean luma: the same photographs lie between 0.09 and 0.79; at a twentieth of their light
# they fall to 0.02 and their relief is gone (standard deviation 0.009).
_DARKNESS: Final = (0.08, 0.035)
# A white table is bright and harmless, so that only a picture that is nearly all white counts.
_BRIGHTNESS: Final = (0.90, 0.96)
_CONTRAST: Final = (0.03, 0.012)


def judge(quality: Quality, *, source_px: tuple[int, int], size_px: tuple[int, int]) -> tuple[Shortcoming, ...]:
    """What to tell about one photograph, gravest kinds first as a person would mend them.

    source_px, size_px: (width, height) of the photograph and of the model's input.
    """
    sharp, light, contrast = quality.sharpness_var, quality.brightness_ratio, quality.contrast_ratio
    found = (
        (words.REASON_TOO_DARK, light < _DARKNESS[0], light < _DARKNESS[1]),
        (words.REASON_TOO_BRIGHT, light > _BRIGHTNESS[0], light > _BRIGHTNESS[1]),
        (words.REASON_LOW_CONTRAST, contrast < _CONTRAST[0], contrast < _CONTRAST[1]),
        (words.REASON_BLURRED, sharp < _SHARPNESS[0], sharp < _SHARPNESS[1]),
        (words.REASON_SMALL_SOURCE, min(source_px) < max(size_px), False),
    )
    return tuple(Shortcoming(reason, grave) for reason, noticed, grave in found if noticed)


def share(shortcomings: tuple[Shortcoming, ...]) -> float:
    """How much this view weighs beside the others before the shares are made to sum to 1.

    1 for a faultless photograph, half for each remark; a grave one is all but silent, and
    heard only where no view is better.
    """
    if any(shortcoming.grave for shortcoming in shortcomings):
        return 1e-3
    return 0.5 ** len(shortcomings)

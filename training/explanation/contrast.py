"""What speaks for one class against another: the look-alike contrast of the two best candidates.

Before its relu, the Grad-CAM map of class c is linear in the head's row w_c (`training.explanation.gradcam`),
so the map of the difference of two scores is the difference of their maps: above zero where the photograph
speaks for the first against the second, below where it speaks the other way. What both share cancels out.

Whether that is where the decision comes from is checked by masking: with its strongest cells hidden, the order
of the two must turn round more often than with a region of the same size and shape hidden elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from training.explanation.overlay import blended
from training.served.answers import GraphModel

# Of the cells: a fifth is room for one feature of the object, and leaves the object recognisable.
HIDDEN_SHARE: Final = 0.2
_ELSEWHERE: Final = 8  # random places for each photograph
_PROBABILITY_MIN: Final = 1e-12
# Blurred until only broad colour is left: a grey patch would be an edge that no photograph has.
_BLUR_OF_SIDE: Final = 1 / 12
_FOR: Final = (252, 180, 60)
_AGAINST: Final = (60, 130, 250)


@dataclass(frozen=True, slots=True)
class Flips:
    """How often the order of the two best candidates turns round where something is hidden."""

    photos: int
    contrast: float  # share, with the strongest cells of the contrast hidden
    elsewhere: float  # mean share, with a region of their size and shape hidden at random places
    margin_contrast: float  # mean of log p_first - log p_second that is lost
    margin_elsewhere: float


def contrast(model: GraphModel, images: Sequence[NDArray[np.uint8]], first: int, second: int) -> NDArray[np.float64]:
    """[n, rows, columns]: above zero speaks for class `first`, below for `second`.

    images: uint8 [H, W, 3] of the model's size. Raises ModelUnreadable where the graph draws no heat maps.
    """
    return model.signed_maps(images, first) - model.signed_maps(images, second)


def flips(model: GraphModel, images: Sequence[NDArray[np.uint8]], *, rng: np.random.Generator) -> Flips:
    """Hide what speaks for the best candidate against the second, and as much elsewhere. Raises ValueError for none."""
    if not images:
        raise ValueError("there is no photograph to look at")
    turned, elsewhere, lost, lost_elsewhere = [], [], [], []
    best = np.argsort(-model.answer(images).probabilities, axis=1, kind="stable")[:, :2]
    for pixels, (first, second) in zip(images, best.tolist(), strict=True):
        region = strongest(contrast(model, [pixels], first, second)[0], HIDDEN_SHARE)
        places = [_moved(region, rng) for _ in range(_ELSEWHERE)]
        soft = blurred(pixels)
        shown = [pixels, *(hidden(pixels, place, soft) for place in (region, *places))]
        before, after, *others = _margins(model, shown, first, second)
        turned.append(after < 0.0)
        elsewhere.append(np.mean(np.array(others) < 0.0))
        lost.append(before - after)
        lost_elsewhere.append(before - np.mean(others))
    return Flips(
        photos=len(images),
        contrast=float(np.mean(turned)),
        elsewhere=float(np.mean(elsewhere)),
        margin_contrast=float(np.mean(lost)),
        margin_elsewhere=float(np.mean(lost_elsewhere)),
    )


def strongest(grid: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """The cells [rows, columns] with the highest values, `share` of all, at least one."""
    count = max(1, round(share * grid.size))
    chosen = np.zeros(grid.size, np.bool_)
    chosen[np.argsort(-grid, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(grid.shape)


def hidden(
    pixels: NDArray[np.uint8], cells: NDArray[np.bool_], soft: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The photograph with the cells [rows, columns] blurred away. pixels: uint8 [H, W, 3].

    soft: what `blurred` makes of it, for who hides many cells of one photograph: blurring costs more than the graph.
    """
    height, width, _ = pixels.shape
    rows = np.arange(height) * cells.shape[0] // height
    columns = np.arange(width) * cells.shape[1] // width
    return np.where(cells[rows[:, None], columns[None, :], None], blurred(pixels) if soft is None else soft, pixels)


def blurred(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photograph without anything that a class could be told by but its broad colour."""
    spread = max(pixels.shape) * _BLUR_OF_SIDE
    soft = ndimage.gaussian_filter(pixels.astype(np.float32), (spread, spread, 0.0))
    return np.asarray(np.rint(soft), np.uint8)


def contrasted(pixels: NDArray[np.uint8], grid: NDArray[np.floating], *, side_px: int) -> Image.Image:
    """The photograph with what speaks for the first class in amber and what speaks against it in blue."""
    return blended(pixels, [(np.maximum(grid, 0.0), _FOR), (np.maximum(-grid, 0.0), _AGAINST)], side_px=side_px)


def _moved(region: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """The same region at another place, round the edges; never where it was."""
    place = int(rng.integers(1, region.size))
    return np.roll(region, divmod(place, region.shape[1]), axis=(0, 1))


def _margins(model: GraphModel, images: Sequence[NDArray[np.uint8]], first: int, second: int) -> list[float]:
    logarithms = np.log(np.maximum(model.answer(images).probabilities, _PROBABILITY_MIN))
    return [float(row[first] - row[second]) for row in logarithms]

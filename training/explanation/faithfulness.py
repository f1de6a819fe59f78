"""Whether heat maps show what the model goes by: deletion, insertion, pointing, and the contrast's flips.

Each figure stands beside what a map without any sense would reach on the same photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.augmentation import backdrop
from training.evaluation.answers import GraphModel, Progress
from training.explanation.contrast import Flips, flips, hidden

_STEPS: Final = 10


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Means over photographs, of heat maps of their best class. An AUC is the mean probability of that class."""

    photos: int
    deletion: float  # as the cells are hidden, the strongest first: lower is better (Petsiuk et al. 2018)
    deletion_random: float  # in random order
    insertion: float  # as the cells appear, the strongest first: higher is better
    insertion_random: float
    pointed: int  # photographs whose object stands on a flat backdrop, so that its place is known
    pointing: float | None  # share of them whose strongest cell lies on the object (Zhang et al. 2018)
    pointing_random: float | None  # a random cell: the object's share of the photograph
    flips: Flips

    @property
    def said(self) -> str:
        """The figures for a person, each beside what chance reaches."""
        turned = self.flips
        lines = [
            f"Whether the maps show what the model goes by, on {self.photos} photographs (what chance reaches behind):",
            f"  hiding the strongest cells first leaves {self.deletion:.3f} of the answer ({self.deletion_random:.3f})",
            f"  showing them first gives {self.insertion:.3f} of it ({self.insertion_random:.3f})",
            f"  hiding what speaks against the second candidate turns the order in {turned.contrast:.0%} "
            f"({turned.elsewhere:.0%})",
        ]
        if self.pointing is not None:
            lines.append(
                f"  the strongest cell lies on the object in {self.pointing:.0%} of {self.pointed} "
                f"({self.pointing_random:.0%})"
            )
        return "\n".join(lines)


def faithfulness(
    model: GraphModel,
    images: Sequence[NDArray[np.uint8]],
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Faithfulness:
    """images: uint8 [H, W, 3] of the model's size, at least one; about 60 runs of the graph for each.

    Raises ModelUnreadable where the graph draws no heat maps, ValueError for no photograph.
    """
    if not images:
        raise ValueError("there is no photograph to measure on")
    areas, hits, chances = [], [], []
    for done, pixels in enumerate(images):
        if progress is not None:
            progress(done, len(images))
        answers, maps = model.explain([pixels], -1)
        best, grid = int(answers.probabilities[0].argmax()), maps[0]
        by_map = np.argsort(-grid, axis=None, kind="stable")
        orders = (by_map, rng.permutation(grid.size))
        areas.append([area for order in orders for area in _areas(model, pixels, order, grid.shape, best)])
        away = backdrop.mask(pixels)
        if away is not None:
            objects = _in_cells(~away, grid.shape)
            hits.append(objects.flat[by_map[0]])
            chances.append(objects.mean())
    deletion, insertion, deletion_random, insertion_random = np.mean(areas, axis=0)
    return Faithfulness(
        photos=len(images),
        deletion=float(deletion),
        deletion_random=float(deletion_random),
        insertion=float(insertion),
        insertion_random=float(insertion_random),
        pointed=len(hits),
        pointing=float(np.mean(hits)) if hits else None,
        pointing_random=float(np.mean(chances)) if hits else None,
        flips=flips(model, images, rng=rng),
    )


def _areas(
    model: GraphModel, pixels: NDArray[np.uint8], order: NDArray[np.intp], shape: tuple[int, ...], target: int
) -> tuple[float, float]:
    """Deletion and insertion AUC for one order of the cells, by the trapezoid rule over the share of cells."""
    counts = np.linspace(0, len(order), _STEPS + 1).round().astype(int)
    gone = []
    for count in counts:
        cells = np.zeros(len(order), np.bool_)
        cells[order[:count]] = True
        gone.append(cells.reshape(shape))
    shown = [hidden(pixels, cells) for cells in (*gone, *(~cells for cells in gone))]
    curve = model.answer(shown).probabilities[:, target].astype(np.float64)
    share = counts / len(order)
    return tuple(float(np.trapezoid(part, share)) for part in np.split(curve, 2))  # type: ignore[return-value]


def _in_cells(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether the middle of each cell lies inside the mask [H, W]."""
    rows, columns = ((np.arange(count) + 0.5) * size / count for count, size in zip(shape, mask.shape, strict=True))
    return np.asarray(mask[rows.astype(int)[:, None], columns.astype(int)[None, :]])

"""Whether heat maps show what the model goes by: deletion, insertion, pointing, and the contrast's flips.

Each figure stands beside what a map without any sense would reach on the same photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.augmentation import backdrop
from training.explanation.contrast import Flips, blurred, flips, hidden
from training.explanation.methods import GRAD_CAM
from training.served.answers import Explain, GraphModel, Progress

_STEPS: Final = 10
_CHANCE: Final = "chance"


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


def faithfulness(
    model: GraphModel,
    images: Sequence[NDArray[np.uint8]],
    *,
    rng: np.random.Generator,
    methods: Mapping[str, Explain] | None = None,
    progress: Progress | None = None,
) -> dict[str, Faithfulness]:
    """By method, on the same photographs and beside the same chance; by default of the graph's Grad-CAM alone.

    images: uint8 [H, W, 3] of the model's size, at least one; some 30 runs of the graph for each, and 20 for each
    method. Finer grids are measured in the cells of the graph's own. Raises ModelUnreadable where the graph draws no
    heat maps, ValueError for no photograph.
    """
    if not images:
        raise ValueError("there is no photograph to measure on")
    methods = {GRAD_CAM: model.explain} if methods is None else methods
    areas: dict[str, list[tuple[float, float]]] = {name: [] for name in (*methods, _CHANCE)}
    hits: dict[str, list[float]] = {name: [] for name in (*methods, _CHANCE)}
    for done, pixels in enumerate(images):
        if progress is not None:
            progress(done, len(images))
        answers, maps = model.explain([pixels], -1)
        best, shape = int(answers.probabilities[0].argmax()), maps[0].shape
        orders = {
            name: np.argsort(-_in_cells_of(explain([pixels], best)[1][0], shape), axis=None, kind="stable")
            for name, explain in methods.items()
        }
        soft = blurred(pixels)
        orders[_CHANCE] = rng.permutation(maps[0].size)
        for name, order in orders.items():
            areas[name].append(_areas(model, pixels, soft, order, shape, best))
        away = backdrop.mask(pixels)
        if away is not None:
            objects = _in_cells(~away, shape)
            for name in methods:
                hits[name].append(float(objects.flat[orders[name][0]]))
            hits[_CHANCE].append(float(objects.mean()))
    turned = flips(model, images, rng=rng)
    random_deletion, random_insertion = np.mean(areas[_CHANCE], axis=0)
    found = {}
    for name in methods:
        deletion, insertion = np.mean(areas[name], axis=0)
        found[name] = Faithfulness(
            photos=len(images),
            deletion=float(deletion),
            deletion_random=float(random_deletion),
            insertion=float(insertion),
            insertion_random=float(random_insertion),
            pointed=len(hits[name]),
            pointing=float(np.mean(hits[name])) if hits[name] else None,
            pointing_random=float(np.mean(hits[_CHANCE])) if hits[_CHANCE] else None,
            flips=turned,
        )
    return found


def said(found: Mapping[str, Faithfulness]) -> str:
    """The figures for a person, each beside what chance reaches."""
    one = next(iter(found.values()))
    lines = [
        f"Whether the maps show what the model goes by, on {one.photos} photographs (what chance reaches behind):",
        "  hiding the strongest cells first leaves of the answer  "
        f"{_told(found, lambda each: f'{each.deletion:.3f}')} ({one.deletion_random:.3f})",
        "  showing them first gives of it  "
        f"{_told(found, lambda each: f'{each.insertion:.3f}')} ({one.insertion_random:.3f})",
    ]
    if one.pointing_random is not None:
        lines.append(
            f"  the strongest cell lies on the object, of {one.pointed}  "
            f"{_told(found, lambda each: f'{each.pointing or 0.0:.0%}')} ({one.pointing_random:.0%})"
        )
    lines.append(
        f"  hiding what speaks against the second candidate turns the order in {one.flips.contrast:.0%} "
        f"({one.flips.elsewhere:.0%})"
    )
    return "\n".join(lines)


def _told(found: Mapping[str, Faithfulness], figure: Callable[[Faithfulness], str]) -> str:
    if len(found) == 1:
        return figure(next(iter(found.values())))
    return ", ".join(f"{name} {figure(each)}" for name, each in found.items())


def _in_cells_of(grid: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.floating]:
    """The grid, or the means of a finer one, in cells [rows, columns] of another."""
    rows, columns = shape
    finer = grid.reshape(rows, grid.shape[0] // rows, columns, grid.shape[1] // columns)
    return np.asarray(finer.mean(axis=(1, 3)))


def _areas(
    model: GraphModel,
    pixels: NDArray[np.uint8],
    soft: NDArray[np.uint8],
    order: NDArray[np.intp],
    shape: tuple[int, ...],
    target: int,
) -> tuple[float, float]:
    """Deletion and insertion AUC for one order of the cells, by the trapezoid rule over the share of cells."""
    counts = np.linspace(0, len(order), _STEPS + 1).round().astype(int)
    gone = []
    for count in counts:
        cells = np.zeros(len(order), np.bool_)
        cells[order[:count]] = True
        gone.append(cells.reshape(shape))
    shown = [hidden(pixels, cells, soft) for cells in (*gone, *(~cells for cells in gone))]
    curve = model.answer(shown).probabilities[:, target].astype(np.float64)
    share = counts / len(order)
    return tuple(float(np.trapezoid(part, share)) for part in np.split(curve, 2))  # type: ignore[return-value]


def _in_cells(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether the middle of each cell lies inside the mask [H, W]."""
    rows, columns = ((np.arange(count) + 0.5) * size / count for count, size in zip(shape, mask.shape, strict=True))
    return np.asarray(mask[rows.astype(int)[:, None], columns.astype(int)[None, :]])

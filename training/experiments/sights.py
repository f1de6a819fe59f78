"""What the networks of a search show of the photographs, so that a trial costs its heads alone."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.folder import Folder
from training.experiments.search_space import Space
from training.fitting.features import Eye, Features, Progress
from training.fitting.recipe import Recipe
from training.models.backbones import spec_of

EyeOf = Callable[[Recipe], Eye]


class Sights:
    """What each network shows of the folder and of its views: looked at once, kept on disk, for every recipe that asks.

    One look holds all levels and the most views that the space may take; a recipe takes its own of them.
    """

    def __init__(
        self, folder: Folder, space: Space, kept: Path, eye_of: EyeOf, *, seed: int, progress: Progress
    ) -> None:
        """kept: a folder for what was seen, of these photographs and this seed alone."""
        self._folder, self._space, self._seed = folder, space, seed
        self._kept, self._eye_of, self._progress = kept, eye_of, progress
        self._latest: tuple[Path, Features] | None = None

    def of(self, recipe: Recipe) -> Features:
        """Raises DataChanged, PhotoBroken."""
        levels = self._space.levels[recipe.backbone]
        whole = replace(recipe, levels=levels, views=self._space.views_max)
        key = (recipe.backbone, levels, recipe.input_px, whole.views, recipe.strength)
        path = self._kept / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.npz"
        if self._latest is None or self._latest[0] != path:
            # One at a time in memory: a hundred thousand photographs and their views are gigabytes.
            self._latest = (path, self._seen(path, whole))
        found = self._latest[1]
        views = found.views[:, : recipe.views]
        if recipe.levels == levels:
            return Features(found.plain, views)
        return Features(
            narrowed(found.plain, recipe.backbone, levels, recipe.levels),
            narrowed(views, recipe.backbone, levels, recipe.levels),
        )

    def _seen(self, path: Path, recipe: Recipe) -> Features:
        # What a lost disk left half of is looked at once more.
        damaged = (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
        with contextlib.suppress(*damaged), np.load(path, allow_pickle=False) as arrays:
            return Features(arrays["plain"], arrays["views"])
        found = self._eye_of(recipe).features(
            self._folder.photos,
            seed=self._seed,
            views=recipe.views,
            progress=self._progress,
        )
        self._kept.mkdir(exist_ok=True)
        scratch = path.with_name(f".new-{path.name}")
        try:
            np.savez(scratch, plain=found.plain, views=found.views)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)  # on a full disk half of it would keep the disk full
        return found


def narrowed(
    embedding: NDArray[np.float32], backbone: str, levels: Sequence[str], wanted: Sequence[str]
) -> NDArray[np.float32]:
    """Of embeddings [..., size] of a backbone's levels those of some of them, again of length 1 (`embedding_of`)."""
    channels = spec_of(backbone).levels
    ends = np.cumsum([channels[level] for level in levels])
    parts = dict(zip(levels, np.split(embedding, ends[:-1], axis=-1), strict=True))
    scale = np.float32(np.sqrt(len(levels) / len(wanted)))
    return np.concatenate([parts[level] for level in wanted], axis=-1) * scale

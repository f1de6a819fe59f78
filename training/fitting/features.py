"""What a frozen backbone sees of photographs, computed through the graph that will be served.

onnxruntime runs the exported backbone two to three times faster on a CPU than torch does,
and the features that the head is fitted on are then those that it meets in service. Each
photograph's views are drawn from a generator seeded with its content: the same photograph
has the same views in any data set and order, and copies are computed once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from handlers.amulet_handler import PhotoRefused, pixels_of
from training.augmentation import standard
from training.data.errors import DataChanged, PhotoBroken
from training.data.folder import Photo
from training.fitting.recipe import Recipe
from training.models.heads import embedding_of

_BATCH = 16  # larger ones no longer gain on a CPU, and 16 images of 224 px stay below 300 MB
Progress = Callable[[int, int], None]
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Features:
    """Embeddings of photographs and of their views, in the photographs' order."""

    plain: NDArray[np.float32]  # [photos, size]
    views: NDArray[np.float32]  # [photos, views, size]

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Features:
        index = np.asarray(rows, dtype=np.intp)
        return Features(self.plain[index], self.views[index])

    def flat(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Photographs and views as rows, [photos * (1 + views), size], and the photograph of each row."""
        photos, views, size = self.views.shape
        rows = np.concatenate([self.plain, self.views.reshape(photos * views, size)])
        index = np.arange(photos)
        return rows, np.concatenate([index, np.repeat(index, views)])


def pixels_seen(photo: Photo, side_px: int) -> NDArray[np.uint8]:
    """The photograph as a model of that size sees it, uint8 [H, W, 3]: the handler's own preprocessing.

    Raises DataChanged where the file is not the one that was read, PhotoBroken where a server would refuse it.
    """
    try:
        content = photo.path.read_bytes()
    except OSError as error:
        raise DataChanged(photo.path, f"can no longer be read ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != photo.sha256:
        raise DataChanged(photo.path, "changed")
    try:
        return pixels_of(content, side_px, side_px)
    except PhotoRefused as error:
        raise PhotoBroken(photo.path, f"is refused: {error}") from None


class Eye:
    """The exported backbone, ready to look. Not for several threads at once."""

    def __init__(self, graph: bytes, recipe: Recipe, *, threads: int) -> None:
        """graph: a model of `export.fused_graph.export_backbone`.  threads: CPU cores to use."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        levels = [output for output in self._session.get_outputs() if output.name.startswith("pooled_")]
        self._outputs = [level.name for level in levels]
        self.channels: tuple[int, ...] = tuple(level.shape[1] for level in levels)
        self._recipe = recipe
        self._threads = threads

    def pixels(self, photo: Photo) -> NDArray[np.uint8]:
        """`pixels_seen` at the recipe's size."""
        return pixels_seen(photo, self._recipe.input_px)

    def look(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embeddings [n, size] of images of the model's size."""
        return embedding_of(self.pooled(images))

    def pooled(self, images: Iterable[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """What the backbone says of images of the model's size: each level's averages over space, [n, channels]."""
        waiting = iter(images)
        found = []
        while batch := list(islice(waiting, _BATCH)):
            found.append(self._session.run(self._outputs, {"image": np.stack(batch)}))
        return [np.concatenate(level) for level in zip(*found, strict=True)]

    def features(self, photos: Sequence[Photo], *, seed: int, views: int, progress: Progress | None = None) -> Features:
        """Photographs and `views` views of each.

        Raises DataChanged, PhotoBroken.
        """
        first_of = {photo.sha256: photo for photo in reversed(photos)}
        distinct = list(first_of.values())
        # Drawing views takes as long as looking at them; Pillow and numpy do it outside the interpreter's lock.
        with ThreadPoolExecutor(max_workers=self._threads) as pool:
            drawn = _ahead(pool, lambda photo: self._drawn(photo, views, seed), distinct, depth=2 * self._threads)
            images = (image for group in drawn for image in group)
            rows = self.look(_counted(images, len(distinct) * (views + 1), progress))
        table = rows.reshape(len(distinct), views + 1, -1)
        place = {photo.sha256: index for index, photo in enumerate(distinct)}
        ordered = table[[place[photo.sha256] for photo in photos]]
        return Features(plain=ordered[:, 0], views=ordered[:, 1:])

    def _drawn(self, photo: Photo, views: int, seed: int) -> list[NDArray[np.uint8]]:
        """The photograph and its views; decoded once."""
        pixels = self.pixels(photo)
        generators = (np.random.default_rng([seed, number, int(photo.sha256[:16], 16)]) for number in range(views))
        return [pixels, *(standard.view(pixels, rng, self._recipe.strength) for rng in generators)]


def cores() -> int:
    """CPU cores to use: all that this process may, up to eight; beyond, small batches only wait for each other."""
    return min(len(os.sched_getaffinity(0)), 8)


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[_Job], _Result], jobs: Iterable[_Job], *, depth: int
) -> Iterator[_Result]:
    """Results in the order of the jobs, at most `depth` of them waiting: memory stays bounded."""
    source = iter(jobs)
    running = [pool.submit(work, job) for job in islice(source, depth)]
    while running:
        done = running.pop(0)
        running.extend(pool.submit(work, job) for job in islice(source, 1))
        yield done.result()


def _counted(items: Iterator[_Result], total: int, progress: Progress | None) -> Iterator[_Result]:
    for number, item in enumerate(items, start=1):
        if progress is not None:
            progress(number, total)
        yield item

"""What a frozen backbone sees of photographs, computed through the graph that will be served.

onnxruntime runs the exported backbone two to three times faster on a CPU than torch does,
and the features that the head is fitted on are then those that it meets in service. Each
photograph's views are drawn from a generator seeded with its content: the same photograph
has the same views in any data set and order, and copies are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from handlers.amulet_handler import PhotoRefused, pixels_of
from protos.cores import cores
from training.augmentation import standard
from training.data.errors import PhotoBroken
from training.data.folder import Photo
from training.data.preprocessing import prepared
from training.fitting.kept_features import Row, Shelf, key_of
from training.fitting.recipe import Recipe
from training.models.heads import embedding_of
from training.side_by_side import side_by_side

_BATCH = 8  # each core holds one; 16 took no less time and 0.2 GB more on two cores (decision 0125)
Progress = Callable[[int, int], None]


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
        return pixels_of(photo.content(), side_px, side_px)
    except PhotoRefused as error:
        raise PhotoBroken(photo.path, f"is refused: {error}") from None


class Eye:
    """The exported backbone, ready to look.

    Each core draws and looks at photographs of its own: cores that share one wait for each other, turning.
    Whatever the recipe's preprocessing is comes last, after a view was drawn, as it would for a caller's photograph.
    """

    def __init__(self, graph: bytes, recipe: Recipe, *, threads: int) -> None:
        """graph: a model of `models.backbone_graph.export_backbone`.  threads: CPU cores to use."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._graph = graph
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        levels = [output for output in self._session.get_outputs() if output.name.startswith("pooled_")]
        self._outputs = [level.name for level in levels]
        self.channels: tuple[int, ...] = tuple(level.shape[1] for level in levels)
        self._recipe = recipe
        self._threads = threads

    def pixels(self, photo: Photo) -> NDArray[np.uint8]:
        """`pixels_seen` at the size that the recipe's networks are given."""
        return pixels_seen(photo, self._recipe.seen_px)

    def look(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embeddings [n, size] of images of the model's size."""
        return embedding_of(self.pooled(images))

    def pooled(self, images: Iterable[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """What the backbone says of images of the model's size: each level's averages over space, [n, channels]."""
        found = list(side_by_side(self._seen, _batches(images), threads=self._threads))
        return [np.concatenate(level) for level in zip(*found, strict=True)]

    def features(
        self,
        photos: Sequence[Photo],
        *,
        seed: int,
        views: int,
        progress: Progress | None = None,
        shelf: Shelf | None = None,
    ) -> Features:
        """Photographs and `views` views of each.

        shelf: what was seen before, which is not looked at again and whose file may be gone. Raises DataChanged,
        PhotoBroken.
        """
        first_of = {photo.sha256: photo for photo in reversed(photos)}
        distinct = list(first_of.values())
        look = partial(self._embedded, views=views, seed=seed)
        if shelf is not None:
            row = shelf.row(key_of(self._graph, self._recipe, seed=seed, views=views))
            look = partial(self._found_or_embedded, row=row, views=views, seed=seed)
        found = []
        # Drawing views takes as long as looking at them; Pillow and numpy do it outside the interpreter's lock.
        for seen in side_by_side(look, distinct, threads=self._threads):
            found.append(seen)
            if progress is not None:
                progress(len(found) * (views + 1), len(distinct) * (views + 1))
        table = np.concatenate(found).reshape(len(distinct), views + 1, -1)
        place = {photo.sha256: index for index, photo in enumerate(distinct)}
        ordered = table[[place[photo.sha256] for photo in photos]]
        return Features(plain=ordered[:, 0], views=ordered[:, 1:])

    def _found_or_embedded(self, photo: Photo, row: Row, views: int, seed: int) -> NDArray[np.float32]:
        seen = row.find(photo, (1 + views, sum(self.channels)))
        if seen is None:
            seen = self._embedded(photo, views, seed)
            row.put(photo, seen)
        return seen

    def _embedded(self, photo: Photo, views: int, seed: int) -> NDArray[np.float32]:
        """Embeddings of the photograph and its views, [1 + views, size]; decoded once."""
        pixels = self.pixels(photo)
        generators = (np.random.default_rng([seed, number, int(photo.sha256[:16], 16)]) for number in range(views))
        images = [pixels, *standard.views(pixels, generators, self._recipe.strength)]
        found = [self._seen(batch) for batch in _batches(images)]
        return embedding_of([np.concatenate(level) for level in zip(*found, strict=True)])

    def _seen(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        seen = np.stack([prepared(image, self._recipe.preprocessing) for image in images])
        return list(self._session.run(self._outputs, {"image": seen}))


def network_cores() -> int:
    """CPU cores to use: all that this process may, up to eight; beyond, small batches only wait for each other."""
    return min(cores(), 8)


def _batches(images: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    waiting = iter(images)
    while batch := list(islice(waiting, _BATCH)):
        yield batch

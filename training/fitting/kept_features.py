"""What a network showed of each photograph, found again by the photograph's content.

Looking takes most of a training, and the same photographs are trained on again and again: with another head, with ten
more of a class, after a kill. One shelf belongs to one folder of photographs, in folders by everything else that
decides what is seen; a file is named by its photograph's SHA-256.

What a network sees of a photograph is as personal as the photograph. A shelf therefore never outlives it: `tidy` takes
away whatever shows a photograph that its folder no longer holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handlers import amulet_handler
from training import kept
from training.augmentation import backdrop, robust, standard
from training.data import preprocessing
from training.data.folder import Photo
from training.fitting.recipe import Recipe
from training.models import heads
from training.processor import processor

KEYS_MAX: Final = 6  # ways of looking of which a shelf keeps what was seen, the latest first
_PACKAGES: Final = ("numpy", "onnxruntime", "pillow", "scipy")
_SOURCES: Final = (amulet_handler, backdrop, robust, standard, preprocessing, heads)


class Shelf:
    """Of one folder of photographs. What cannot be read or written is looked at once more, and nobody is told."""

    def __init__(self, folder: Path, data: Path) -> None:
        """folder: where shelves are.  data: the photographs' folder, whose path names its shelf."""
        self._folder = folder / hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:32]

    def row(self, key: str) -> Row:
        """What was seen in one way of looking, which is now the latest.  key: of `key_of`."""
        folder = self._folder / key
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(folder)
        return Row(folder)

    def tidy(self, photos: Collection[str]) -> None:
        """Keep what was seen of these photographs alone (SHA-256), in the latest ways of looking."""
        with contextlib.suppress(OSError):
            folders = sorted(self._folder.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
            for folder in folders[KEYS_MAX:]:
                shutil.rmtree(folder)
            for folder in folders[:KEYS_MAX]:
                for file in folder.iterdir():
                    if file.name not in photos:
                        file.unlink()


@dataclass(frozen=True, slots=True)
class Row:
    """Of a shelf: what was seen in one way of looking."""

    folder: Path

    def find(self, photo: Photo, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """float32 of that shape, [1 + views, size], the photograph itself first; None where it is not there."""
        content = kept.read(self.folder / photo.sha256)
        if content is None or len(content) != 4 * shape[0] * shape[1]:
            return None
        return np.frombuffer(content, "<f4").reshape(shape)

    def put(self, photo: Photo, seen: NDArray[np.float32]) -> None:
        with contextlib.suppress(OSError):
            kept.write(self.folder / photo.sha256, seen.astype("<f4").tobytes())


def key_of(graph: bytes, recipe: Recipe, *, seed: int, views: int) -> str:
    """A name for everything that decides what is seen of a photograph, apart from the photograph."""
    decided = {
        "graph": hashlib.sha256(graph).hexdigest(),
        "seen_px": recipe.seen_px,
        "preprocessing": None if recipe.preprocessing is None else asdict(recipe.preprocessing),
        "views": [views, seed, asdict(recipe.strength)] if views else 0,
        "processor": processor(),
        "packages": {name: version(name) for name in _PACKAGES},
        "source": [hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest() for module in _SOURCES],
    }
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:32]

"""Trials that were made before: an experiment that was killed goes on where it stopped.

A file is named by the digest of everything that decides a trial, the photographs, the packages and the source of the
training code among it. One that was cut off or damaged is as good as none: its trial is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from model_store import leftovers
from training import provenance
from training.data.folder import set_fingerprint
from training.experiments.trials import Ground, Trial
from training.fitting.recipe import Recipe

_PACKAGES: Final = ("torch", "timm", "onnxruntime", "numpy", "scipy", "scikit-learn", "pillow")
_OUTSIDE: Final = "outside_scores"


class KeptTrials:
    """Of one ground, in a folder that may hold those of others."""

    def __init__(self, folder: Path, ground: Ground, *, warn: Callable[[str], None]) -> None:
        """warn: told once, where a trial cannot be kept."""
        self._folder, self._warn, self._warned = folder, warn, False
        leftovers.sweep(folder, leftovers.NEW)
        self._ground = {
            "photographs": ground.folder.fingerprint,
            "together": sorted(sorted(photo.relative for photo in group) for group in ground.together),
            "outside": {name: set_fingerprint(photos) for name, photos in ground.sets.items()},
            "folds": ground.folds,
            "packages": {name: version(name) for name in _PACKAGES},
            "source": provenance.source(),
        }

    def read(self, recipe: Recipe, seed: int) -> Trial | None:
        """None where it was not made yet, or is not whole."""
        try:
            with np.load(self._path(recipe, seed), allow_pickle=False) as found:
                outside = {
                    name.partition("/")[2]: found[name] for name in found.files if name.startswith(f"{_OUTSIDE}/")
                }
                plain = {item.name: found[item.name] for item in fields(Trial) if item.name != _OUTSIDE}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return Trial(**plain, outside_scores=outside)

    def write(self, recipe: Recipe, seed: int, trial: Trial) -> None:
        """A folder that cannot be written keeps nothing, and costs nothing but the time of whoever is killed."""
        arrays: dict[str, Any] = {item.name: getattr(trial, item.name) for item in fields(Trial)}
        arrays.update({f"{_OUTSIDE}/{name}": row for name, row in arrays.pop(_OUTSIDE).items()})
        content = io.BytesIO()
        np.savez(content, **arrays)
        try:
            self._put(content.getbuffer(), self._path(recipe, seed))
        except OSError as error:
            if not self._warned:
                self._warn(
                    f"finished trials are not kept, as {self._folder} takes no files ({error.strerror}): killed, this "
                    f"experiment would begin anew"
                )
            self._warned = True

    def _put(self, content: memoryview, path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=leftovers.NEW, dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(scratch).replace(path)
        except OSError:
            Path(scratch).unlink(missing_ok=True)
            raise

    def _path(self, recipe: Recipe, seed: int) -> Path:
        decided = {**self._ground, "recipe": recipe.document(), "seed": seed}
        name = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:32]
        return self._folder / f"{name}.npz"

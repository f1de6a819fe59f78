"""A fine-tuning small enough for a test; to be killed, a child runs it: `python -m … FOLDER KEEP SETTINGS`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.data.folder import Photo, load_folder
from training.fitting.finetune import Lesson, Tuned, finetune
from training.fitting.recipe import recipe_of, with_settings
from training.fitting.shown import Pixels
from training.fitting.tuning import Tuning
from training.models.backbones import Backbone, spec_of

SIDE_PX = 32
RECIPE = with_settings(recipe_of("standard"), {"backbone": "small_cnn", "input_px": SIDE_PX})
TUNING = Tuning(
    head_epochs=1, epochs=8, unfrozen=9, batch=8, rate=3e-4, rate_decay=1.0, patience=9, mix_ratio=0.2, smoothing=0.0
)


def write_stripes(root: Path, *, per_class: int = 16) -> Path:
    """Two classes that differ by the direction of stripes alone: means of pixels tell nothing."""
    for label, across in (("lying", True), ("standing", False)):
        (root / label).mkdir(parents=True)
        for number in range(per_class):
            rng = np.random.default_rng([number, across])
            wave = 128.0 + 50.0 * np.sin(np.arange(64) * rng.uniform(0.7, 0.9) + rng.uniform(0.0, 6.0))
            stripes = np.repeat(wave[:, None], 64, axis=1) if across else np.repeat(wave[None], 64, axis=0)
            noisy = stripes[..., None] + rng.normal(0.0, 60.0, (64, 64, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(root / label / f"{number:03}.png")
    return root


def lesson_of(folder: Path) -> Lesson:
    loaded = load_folder(folder)
    labels = np.array([loaded.index_of(photo) for photo in loaded.photos], np.intp)
    return Lesson(loaded.photos, labels, np.arange(len(labels)), len(loaded.classes))


def untrained() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return Backbone(spec_of("small_cnn"), ("head",)).eval()


def tune(
    folder: Path, keep: Path | None, *, progress: Callable[[int, int], None] | None = None, **changes: object
) -> Tuned:
    tuning = replace(TUNING, **changes)  # type: ignore[arg-type]
    return finetune(untrained(), lesson_of(folder), RECIPE, tuning, pixels, seed=4, keep=keep, progress=progress)


def pixels(photo: Photo) -> Pixels:
    return np.asarray(Image.open(photo.path).convert("RGB").resize((SIDE_PX, SIDE_PX)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    data, kept, differing = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    tune(data, kept, progress=lambda done, _total: print(done, flush=True), **differing)

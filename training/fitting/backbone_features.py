"""What the frozen backbone of the standard recipe sees of photographs, for judging their labels.

A check of a folder needs no torch: only a command imports this, and only when it is asked to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch

from handlers.amulet_handler import pixels_of
from protos.cores import cores
from training.data.folder import Photo, Progress
from training.data.labels import Array
from training.models.backbones import pretrained, spec_of
from training.models.heads import embedding_of

BACKBONE: Final = "tf_efficientnet_lite0"
DESCRIPTION: Final = f"features of a frozen {BACKBONE}"
_LEVELS: Final = ("block4", "block5", "head")
_BATCH: Final = 16


def backbone_features(photos: Sequence[Photo], *, progress: Progress | None = None) -> Mapping[str, Array]:
    """Relative path -> embedding of length 1. Raises WeightsMissing, DataChanged."""
    spec = spec_of(BACKBONE)
    backbone = pretrained(spec, _LEVELS)
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, cores()))
    found: dict[str, Array] = {}
    try:
        with torch.inference_mode():
            for start in range(0, len(photos), _BATCH):
                batch = photos[start : start + _BATCH]
                pixels = [pixels_of(photo.content(), spec.input_px, spec.input_px) for photo in batch]
                seen = backbone(backbone.normalised(torch.from_numpy(np.stack(pixels))))
                rows = embedding_of([level.numpy() for level in seen.pooled])
                found.update((photo.relative, row) for photo, row in zip(batch, rows, strict=True))
                if progress is not None:
                    progress(len(found), len(photos))
    finally:
        torch.set_num_threads(threads)
    return found

"""Input saliency (Simonyan et al. 2014): how much each pixel moves a class's score, by captum's backward pass.

The largest absolute gradient of the three channels, averaged over squares: single pixels are noise to the eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from captum.attr import Saliency
from numpy.typing import NDArray

from training.fitting.saved import read_network
from training.models.heads import Network
from training.served.answers import Answers, Explain, GraphModel

FINER: Final = 4  # squares a side for each cell of the graph's own maps, as far as pixels allow
_BATCH: Final = 4  # a backward pass keeps every map of every image


def saliency_of(model: GraphModel, run: Path) -> Explain:
    """run: the RUN folder that the model was opened from. Raises ModelUnreadable where its network is missing."""
    network = read_network(run)

    def explain(images: Sequence[NDArray[np.uint8]], target: int) -> tuple[Answers, NDArray[np.floating]]:
        answers, maps = model.explain(images, target)
        best = answers.probabilities.argmax(axis=1)
        targets = best if target < 0 else np.full(len(images), target)
        return answers, in_squares(gradients(network, images, targets), rows=maps.shape[1] * FINER)

    return explain


def gradients(
    network: Network, images: Sequence[NDArray[np.uint8]], targets: NDArray[np.integer]
) -> NDArray[np.float64]:
    """[n, H, W]: of the largest channel, of each target's logit by the normalised pixels."""
    found = []
    for start in range(0, len(images), _BATCH):
        pixels = network.backbone.normalised(torch.from_numpy(np.stack(images[start : start + _BATCH])))
        wanted = torch.from_numpy(np.asarray(targets[start : start + _BATCH], np.int64))
        moved = Saliency(network).attribute(pixels.clone().requires_grad_(True), target=wanted, abs=True)
        found.append(moved.detach().numpy().max(axis=1))
    return np.concatenate(found).astype(np.float64)


def in_squares(grids: NDArray[np.floating], *, rows: int) -> NDArray[np.float64]:
    """Means over squares: [n, H, W] -> [n, r, r * W / H], r at most `rows` and a divisor of H."""
    photos, height, width = grids.shape
    side = next(size for size in range(max(1, -(-height // rows)), height + 1) if not (height % size or width % size))
    squares = grids.reshape(photos, height // side, side, width // side, side)
    return np.asarray(squares.mean(axis=(2, 4)), np.float64)

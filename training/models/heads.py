"""From pooled features to class scores: a normalised embedding and a head, mostly one linear layer.

The embedding of a photograph is the concatenation of its levels, each divided by its own
length, and the whole by the square root of the number of levels: a unit vector. Light and
contrast scale all features of a level together, so dividing by the length removes much
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.blocks import in_blocks
from training.models.backbones import Backbone, Halfway, Seen

# Below any length seen (a level of photographs is around 1 to 30): only keeps 0 / 0 away.
LENGTH_MIN: Final = 1e-6
_VOTE_WIDTH: Final = 0.07
_VOTE_MIN: Final = 1e-3  # a class without a vote among the nearest is unlikely, not impossible


@dataclass(frozen=True, slots=True)
class LinearHead:
    """Class scores from an embedding: embedding @ weight.T + bias, uncalibrated."""

    weight: NDArray[np.float32]  # [classes, size]
    bias: NDArray[np.float32]  # [classes]

    def logits(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n, classes]."""
        weight, bias = self.weight.T.astype(np.float64), self.bias.astype(np.float64)
        return in_blocks(lambda rows: np.asarray(rows, np.float64) @ weight + bias, embedding)


@dataclass(frozen=True, slots=True)
class NeighbourHead:
    """Class scores from the nearest rows that it was fitted on: to compare with, not to serve.

    A vote weighs exp(cosine / 0.07), and the k nearest rows vote (Wu et al. 2018, section 3.4).
    """

    rows: NDArray[np.float32]  # [n, size], of length 1
    labels: NDArray[np.intp]  # [n]
    weights: NDArray[np.float64]  # [n]: each class weighs the same altogether
    classes: int
    k: int

    def logits(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size], of length 1 -> [n, classes]: logarithms of the votes."""
        cosine = np.asarray(embedding, np.float64) @ self.rows.T.astype(np.float64)
        k = min(self.k, len(self.rows))
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        close = np.take_along_axis(cosine, nearest, axis=1)
        votes = np.exp((close - close.max(axis=1, keepdims=True)) / _VOTE_WIDTH) * self.weights[nearest]
        chosen = self.labels[nearest][:, :, None] == np.arange(self.classes)
        shares = (votes[:, :, None] * chosen).sum(axis=1) / votes.sum(axis=1, keepdims=True)
        return np.asarray(np.log(shares + _VOTE_MIN))


Head = LinearHead | NeighbourHead


def embedding_of(pooled: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """pooled: one [n, channels] a level -> [n, sum of channels], rows of length 1."""
    parts = []
    for level in pooled:
        values = np.asarray(level, np.float32)
        lengths = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.float32(LENGTH_MIN))
        parts.append(values / lengths / np.float32(np.sqrt(len(pooled))))
    return np.concatenate(parts, axis=1)


class Network(nn.Module):
    """Backbone, embedding, linear head: the whole trained model in torch, as parity and captum see it."""

    def __init__(self, backbone: Backbone, head: LinearHead) -> None:
        super().__init__()
        self.backbone = backbone
        classes, size = head.weight.shape
        self.head = nn.Linear(size, classes)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.weight))
            self.head.bias.copy_(torch.from_numpy(head.bias))

    @property
    def gradcam_layer(self) -> nn.Module:
        """The last convolution's activated output, before the average over space."""
        return self.backbone.last

    def embedding(self, x: torch.Tensor) -> torch.Tensor:
        """x: float32 [N, 3, H, W], normalised."""
        return self._embedding(self.backbone(x))

    def beyond(self, half: Halfway) -> torch.Tensor:
        """Logits as of `forward`, from what the first blocks of the backbone made of a batch."""
        logits: torch.Tensor = self.head(self._embedding(self.backbone.beyond(half)))
        return logits

    def _embedding(self, seen: Seen) -> torch.Tensor:
        levels = seen.pooled
        units = [level / level.norm(dim=1, keepdim=True).clamp_min(LENGTH_MIN) for level in levels]
        joined: torch.Tensor = torch.cat(units, dim=1) / len(levels) ** 0.5
        return joined

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, before the temperature: float32 [N, classes]."""
        logits: torch.Tensor = self.head(self.embedding(x))
        return logits

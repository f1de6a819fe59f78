"""What a network says of images that stay the same while it learns: its blocks that do not learn see them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from training.models.backbones import Backbone, Halfway
from training.models.heads import Network

Pixels = NDArray[np.uint8]
_BATCH: Final = 32  # images
_KEPT_BYTES: Final = 2**29  # of one set; what is more is drawn and looked at anew each time


class Shown:
    """Sets of images, each under a name."""

    def __init__(self, backbone: Backbone, device: torch.device, *, unfrozen: int) -> None:
        """unfrozen: blocks from the end that learn; where the stem does too, everything is looked at anew."""
        self._backbone, self._device = backbone, device
        self._blocks = len(backbone.blocks) - unfrozen
        self._kept: dict[str, list[Halfway]] = {}

    def logits(self, name: str, images: Callable[[], Iterable[Pixels]], network: Network) -> NDArray[np.float32]:
        """Float32 [n, classes] of the network, whose frozen blocks are the backbone's.

        images: the same ones for one name, whenever they are asked for.
        """
        with torch.inference_mode():
            if self._blocks < 0:
                found = [network(x) for x in self.batches(images())]
            else:
                found = [network.beyond(half) for half in self._halfway(name, images)]
            return np.concatenate([each.cpu().numpy() for each in found])

    def batches(self, images: Iterable[Pixels]) -> Iterator[torch.Tensor]:
        """As a network takes them, on its device."""
        waiting: list[Pixels] = []
        for image in images:
            waiting.append(image)
            if len(waiting) == _BATCH:
                yield self._batch(waiting)
                waiting = []
        if waiting:
            yield self._batch(waiting)

    def _batch(self, images: Sequence[Pixels]) -> torch.Tensor:
        return self._backbone.normalised(torch.from_numpy(np.stack(images)).to(self._device))

    def _halfway(self, name: str, images: Callable[[], Iterable[Pixels]]) -> Iterator[Halfway]:
        if name in self._kept:
            yield from self._kept[name]
            return
        kept: list[Halfway] | None = []
        room = _KEPT_BYTES
        for x in self.batches(images()):
            half = self._backbone.halfway(x, blocks=self._blocks)
            yield half
            room -= sum(each.nbytes for each in (half.features, *half.pooled))
            if room < 0:
                kept = None
            if kept is not None:
                kept.append(half)
        if kept is not None:
            self._kept[name] = kept

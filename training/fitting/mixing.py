"""What is done to a view and to a batch while a network learns, beyond what cameras do: torchvision's own.

torchvision draws from torch's global generator: the caller seeds it and puts it back (`torch.random.fork_rng`).
"""

from __future__ import annotations

import torch
from torch.nn import functional
from torchvision.transforms import v2

from training.fitting.tuning import Tuning


class Mixing:
    """RandAugment and RandomErasing of each image, MixUp or CutMix of some batches."""

    def __init__(self, tuning: Tuning, *, classes: int) -> None:
        self._classes = classes
        self._mix_ratio = tuning.mix_ratio
        self._cutmix_share = tuning.cutmix_share
        self._augment = v2.RandAugment(tuning.randaugment_ops, tuning.randaugment_magnitude)
        self._erase = v2.RandomErasing(tuning.erasing_ratio)
        self._mixup = v2.MixUp(alpha=tuning.mixup_alpha, num_classes=classes)
        self._cutmix = v2.CutMix(alpha=tuning.cutmix_alpha, num_classes=classes)

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [H, W, 3] -> uint8 [H, W, 3]."""
        augmented: torch.Tensor = self._augment(pixels.permute(2, 0, 1))
        return augmented.permute(1, 2, 0)

    def batch(self, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x: float32 [N, 3, H, W], labels: int64 [N] -> x, and a share of each class, float32 [N, classes]."""
        x = torch.stack([self._erase(image) for image in x])
        if torch.rand(()).item() < self._mix_ratio:
            mixer = self._cutmix if torch.rand(()).item() < self._cutmix_share else self._mixup
            mixed, shares = mixer(x, labels)
            return mixed, shares.float()
        return x, functional.one_hot(labels, self._classes).float()

"""Two networks that look at the same photograph, in the shape of one."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from training.errors import SettingWrong
from training.models.backbones import Backbone, Seen


class Pair(nn.Module):
    """Levels of the second network, then those of the first, whose last map is that of both.

    The last level is then that of the last map, as it is of one network: what reads a `Backbone` reads this.
    """

    def __init__(self, first: Backbone, second: Backbone, *, sides_px: tuple[int, int]) -> None:
        """sides_px: of what the first and the second look at, each scaled down from what comes in.

        Raises SettingWrong where the two want pixels prepared differently.
        """
        super().__init__()
        if (first.spec.mean, first.spec.std) != (second.spec.mean, second.spec.std):
            raise SettingWrong(
                f"{first.spec.name} and {second.spec.name} want pixels prepared differently: take two networks of one "
                f"family"
            )
        self.first, self.second = first, second
        self.levels = (*(f"second_{level}" for level in second.levels), *first.levels)
        self._sides_px = sides_px

    @property
    def channels(self) -> tuple[int, ...]:
        return (*self.second.channels, *self.first.channels)

    def normalised(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] as the weights expect it."""
        return self.first.normalised(image)

    def forward(self, x: torch.Tensor) -> Seen:
        """x: float32 [N, 3, H, W], normalised, as large as the larger of both sides."""
        own, other = (_scaled(x, side_px) for side_px in self._sides_px)
        seen = self.first(own)
        return Seen((*self.second(other).pooled, *seen.pooled), seen.last_map)


def _scaled(x: torch.Tensor, side_px: int) -> torch.Tensor:
    if x.shape[-1] == side_px:
        return x
    return functional.interpolate(x, size=side_px, mode="bilinear", align_corners=False, antialias=True)

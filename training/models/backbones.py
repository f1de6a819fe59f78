"""Frozen networks that turn pixels into features at several depths.

A backbone is one row of `BACKBONES`: timm's name, where its levels leave the network, and
the arithmetic that its weights expect of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import timm
import torch
from torch import nn

from training.errors import SettingWrong, WeightsMissing
from training.models import weights


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What must be known of a network before it is built."""

    name: str  # timm's, and the one in version names
    input_px: int  # height and width that the weights were trained at
    mean: float  # of pixels scaled to 0..1, every channel
    std: float
    levels: Mapping[str, int]  # where features can leave: name -> channels; "head" is the last
    stride_px: int  # pixels of the input for one cell of the last feature map


BACKBONES: Final[Mapping[str, BackboneSpec]] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            BackboneSpec(
                name="tf_efficientnet_lite0",
                input_px=224,
                mean=0.5,
                std=0.5,
                levels=MappingProxyType({"block3": 80, "block4": 112, "block5": 192, "block6": 320, "head": 1280}),
                stride_px=32,
            ),
        )
    }
)


class Seen(NamedTuple):
    """What a backbone says of a batch."""

    pooled: tuple[torch.Tensor, ...]  # one per level, float32 [N, channels]: averages over space
    last_map: torch.Tensor  # float32 [N, channels, rows, columns] of the level "head", before its average


class Backbone(nn.Module):
    """An EfficientNet of timm whose features leave at the named levels, the last always "head"."""

    def __init__(self, spec: BackboneSpec, levels: tuple[str, ...]) -> None:
        super().__init__()
        if not levels or levels[-1] != "head" or any(level not in spec.levels for level in levels):
            raise SettingWrong(
                f"{spec.name} has the levels {', '.join(spec.levels)}, and the last one used must be head: "
                f"not {', '.join(levels) or 'none'}"
            )
        self.spec = spec
        self.levels = levels
        # exportable: padding as TensorFlow's, but with sizes that an export can fold into the convolutions.
        network: Any = timm.create_model(spec.name, exportable=True, num_classes=0)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks: nn.Sequential = network.blocks
        self.last = nn.Sequential(network.conv_head, network.bn2)  # ends in its activation: Grad-CAM looks here

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(self.spec.levels[level] for level in self.levels)

    def normalised(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] as the weights expect it."""
        scale = 255.0 * self.spec.std
        return image.permute(0, 3, 1, 2).to(torch.float32) / scale - self.spec.mean / self.spec.std

    def forward(self, x: torch.Tensor) -> Seen:
        """x: float32 [N, 3, H, W], normalised."""
        pooled = []
        x = self.stem(x)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if f"block{number}" in self.levels:
                pooled.append(x.mean((2, 3)))
        last_map = self.last(x)
        pooled.append(last_map.mean((2, 3)))
        return Seen(tuple(pooled), last_map)


def spec_of(name: str) -> BackboneSpec:
    """Raises SettingWrong for a name that is not in the table."""
    try:
        return BACKBONES[name]
    except KeyError:
        raise SettingWrong(f"there is no backbone {name}: choose {' or '.join(BACKBONES)}") from None


def pretrained(spec: BackboneSpec, levels: tuple[str, ...]) -> Backbone:
    """The network with its pretrained weights, in evaluation mode and without gradients.

    The weights' file names its tensors in its own way, but lists them in timm's order.
    Raises WeightsMissing.
    """
    source = weights.SOURCES[spec.name]
    tensors = weights.read(source)
    network = timm.create_model(spec.name, exportable=True)
    names = list(network.state_dict())
    shapes = [tensor.shape for tensor in network.state_dict().values()]
    if [tensor.shape for tensor in tensors] != shapes:
        raise WeightsMissing(
            f"the weights of {source.package} do not fit timm's {spec.name}: install the versions of requirements.lock"
        )
    state = dict(zip(names, tensors, strict=True))
    backbone = Backbone(spec, levels)
    renamed = {_inside(name): tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    backbone.load_state_dict(renamed)
    return backbone.eval().requires_grad_(False)


def _inside(name: str) -> str:
    """timm's name of a tensor -> ours."""
    part, _, rest = name.partition(".")
    place = {"conv_stem": "stem.0", "bn1": "stem.1", "conv_head": "last.0", "bn2": "last.1"}.get(part, part)
    return f"{place}.{rest}"

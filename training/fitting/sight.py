"""What a network shows of all photographs, once it has been fitted on some of them.

A frozen backbone shows the same whichever those are; a fine-tuned one is tuned anew for each division of
the photographs, so that whatever is measured on the others was never learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from training.data.folder import Photo
from training.fitting.features import Eye, Features
from training.models.backbones import Backbone


@dataclass(frozen=True, slots=True)
class Outside:
    """Embeddings of photographs of other things: some to place borders on, the others to report on."""

    thresholds: NDArray[np.float32]  # [m, size], of all sets together
    report: Mapping[str, NDArray[np.float32]] = field(default_factory=lambda: MappingProxyType({}))  # set -> [m, size]


@dataclass(frozen=True, slots=True)
class Lens:
    """A backbone in the three forms that a run needs."""

    backbone: Backbone
    graph: ModelProto  # of `models.backbone_graph.export_backbone`
    eye: Eye
    course: Mapping[str, Any] | None = None  # how it was tuned; None for one that was not


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen."""

    features: Features  # of the folder's photographs, in its order
    outside: Outside
    elsewhere: NDArray[np.float32] | None = None  # [photos, size]: the same photographs on another table each
    tuned: bool = False  # whether the network learnt from the photographs that it was fitted on
    lens: Lens | None = None  # None where nobody will export it


# Given the photographs that may be learnt from.
Eyes = Callable[[Sequence[Photo]], Sight]


def still(sight: Sight) -> Eyes:
    """The same whatever is learnt from."""
    return lambda _photos: sight

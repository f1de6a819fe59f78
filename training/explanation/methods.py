"""The ways to ask where a model looks, one function each: photographs and a class in, answers and grids out.

Grad-CAM and Grad-CAM++ are outputs of the graph. Saliency needs a backward pass to the pixels, which no graph has:
captum does it on the network of the run that the graph is from, so that there is none of an archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from training.errors import ModelUnreadable, SettingWrong
from training.served.answers import HEAT_MAP, HEAT_MAP_PLUS_PLUS, Explain, GraphModel

GRAD_CAM: Final = "grad_cam"
GRAD_CAM_PLUS_PLUS: Final = "grad_cam_plus_plus"
SALIENCY: Final = "saliency"
METHODS: Final = (GRAD_CAM, GRAD_CAM_PLUS_PLUS, SALIENCY)
# What a bright place means.
MEANS: Final[Mapping[str, str]] = MappingProxyType(
    {
        GRAD_CAM: "Bright where a photograph speaks for {what} more than elsewhere in it.",
        GRAD_CAM_PLUS_PLUS: "Bright where a photograph speaks for {what}; what speaks against it is not weighed up.",
        SALIENCY: "Bright where a small change of the pixels would move the score of {what} most, up or down.",
    }
)
_OUTPUTS: Final[Mapping[str, str]] = MappingProxyType({GRAD_CAM: HEAT_MAP, GRAD_CAM_PLUS_PLUS: HEAT_MAP_PLUS_PLUS})


def method_of(model: GraphModel, place: Path, name: str) -> Explain:
    """place: where the model was opened from. Raises ModelUnreadable where it cannot be asked so, SettingWrong."""
    if name not in METHODS:
        raise SettingWrong(f"there is no method {name}: choose {' or '.join(METHODS)}")
    if name != SALIENCY:
        model.check_draws(_OUTPUTS[name])
        return partial(model.explain, output=_OUTPUTS[name])
    if not place.is_dir():
        raise ModelUnreadable(f"{place} holds a graph alone: saliency needs the network of a RUN folder")
    # torch and captum take seconds to import, and the graph's own maps need neither.
    from training.explanation.saliency import saliency_of

    return saliency_of(model, place)


def methods_of(model: GraphModel, place: Path) -> dict[str, Explain]:
    """All that this model can be asked by."""
    found = {}
    for name in METHODS:
        try:
            found[name] = method_of(model, place, name)
        except ModelUnreadable:
            continue
    return found

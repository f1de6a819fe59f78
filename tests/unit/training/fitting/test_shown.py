"""What stays the same is looked at once, and the answers are those of the whole network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.fitting import shown
from training.fitting.shown import Shown
from training.models.backbones import Backbone, spec_of
from training.models.heads import LinearHead, Network

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(4).integers(0, 256, (35, 64, 64, 3), np.uint8)  # more than one batch


class Drawn:
    """The images, and how often they were asked for."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Iterator[NDArray[np.uint8]]:
        self.times += 1
        yield from IMAGES


def a_network() -> Network:
    torch.manual_seed(5)
    backbone = Backbone(spec_of("tf_efficientnet_lite0"), ("block4", "block5", "head")).eval().requires_grad_(False)
    size = sum(backbone.channels)
    rng = np.random.default_rng(6)
    return Network(backbone, LinearHead(rng.standard_normal((3, size), np.float32), np.zeros(3, np.float32))).eval()


def whole(network: Network) -> NDArray[np.float32]:
    with torch.inference_mode():
        halves = [network(network.backbone.normalised(torch.from_numpy(part))) for part in (IMAGES[:32], IMAGES[32:])]
        return np.concatenate([each.numpy() for each in halves])


def change(network: Network, part: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.mul_(1.25)


@pytest.mark.parametrize("unfrozen", [1, 2])  # the level block5 among those that learn, and both levels
def test_blocks_that_learn_are_asked_anew_and_the_others_once(unfrozen: int) -> None:
    network, drawn = a_network(), Drawn()
    told = Shown(network.backbone, CPU, unfrozen=unfrozen)
    before = told.logits("some", drawn, network)
    np.testing.assert_array_equal(before, whole(network))
    change(network, network.backbone.blocks[-1])
    after = told.logits("some", drawn, network)
    np.testing.assert_array_equal(after, whole(network))
    assert not np.allclose(before, after)
    assert drawn.times == 1
    told.logits("others", drawn, network)
    assert drawn.times == 2


def test_a_network_whose_stem_learns_is_asked_as_a_whole() -> None:
    network, drawn = a_network(), Drawn()
    told = Shown(network.backbone, CPU, unfrozen=8)
    told.logits("some", drawn, network)
    change(network, network.backbone.stem)
    np.testing.assert_array_equal(told.logits("some", drawn, network), whole(network))
    assert drawn.times == 2


def test_what_would_take_too_much_memory_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network, drawn = a_network(), Drawn()
    monkeypatch.setattr(shown, "_KEPT_BYTES", 1000)
    told = Shown(network.backbone, CPU, unfrozen=2)
    np.testing.assert_array_equal(told.logits("some", drawn, network), told.logits("some", drawn, network))
    assert drawn.times == 2

"""A pair of networks: each as it is alone at its own size, in the shape that the rest of a graph reads."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional

from training.errors import SettingWrong
from training.models import backbone_graph
from training.models.backbones import Backbone, spec_of
from training.models.pair import Pair

LARGE_PX, SMALL_PX = 64, 32


def pair() -> Pair:
    torch.manual_seed(5)
    first, second = (Backbone(spec_of("small_cnn"), levels).eval() for levels in (("head",), ("block1", "head")))
    return Pair(first, second, sides_px=(SMALL_PX, LARGE_PX)).eval().requires_grad_(False)


def photographs() -> torch.Tensor:
    """Smooth as photographs are: a few colours, enlarged."""
    rough = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(6))
    smooth = functional.interpolate(rough, size=(LARGE_PX, LARGE_PX), mode="bicubic").clamp(0.0, 1.0)
    return (smooth * 255.0).to(torch.uint8).permute(0, 2, 3, 1)


def test_each_network_says_what_it_says_alone_and_the_first_has_the_last_word() -> None:
    both = pair()
    x = both.normalised(photographs())
    seen = both(x)
    small = functional.interpolate(x, size=(SMALL_PX, SMALL_PX), mode="bilinear", antialias=True)
    own = both.first(small)
    for ours, theirs in zip(seen.pooled, (*both.second(x).pooled, *own.pooled), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(seen.last_map, own.last_map)
    assert both.levels == ("second_block1", "second_head", "head")
    assert both.channels == tuple(level.shape[1] for level in seen.pooled)


def test_the_graph_scales_and_sees_as_torch_does() -> None:
    both, images = pair(), photographs()
    graph = backbone_graph.export_backbone(both, input_px=LARGE_PX)
    session = onnxruntime.InferenceSession(backbone_graph.to_bytes(graph), providers=["CPUExecutionProvider"])
    *pooled, last_map = session.run(None, {"image": images.numpy()})
    assert [output.name for output in session.get_outputs()] == [f"pooled_{level}" for level in both.levels] + [
        "last_map"
    ]
    seen = both(both.normalised(images))
    for ours, theirs in zip((*pooled, last_map), (*seen.pooled, seen.last_map), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-4)


def test_networks_that_want_pixels_prepared_differently_are_no_pair() -> None:
    first, second = Backbone(spec_of("small_cnn"), ("head",)), Backbone(spec_of("mobilenetv2_100"), ("head",))
    with pytest.raises(SettingWrong, match="small_cnn and mobilenetv2_100 want pixels prepared differently"):
        Pair(first, second, sides_px=(SMALL_PX, LARGE_PX))

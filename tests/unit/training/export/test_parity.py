"""Parity: a graph that answers as its model passes, and one that does not is named for what differs.

On a small convolutional network in place of the real backbone: exporting it takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from protos.verdict import DecisionLimits
from tests.unit.training.data.cast import write_folder
from training.data.folder import load_folder
from training.errors import ParityBroken
from training.evaluation.crossvalidation import fit_on, labels_of
from training.export import fused_graph, parity
from training.fitting.features import Eye
from training.fitting.recipe import recipe_of
from training.fitting.sight import Outside, Sight, still
from training.fitting.version import Fitted
from training.models import backbone_graph
from training.models.backbones import Backbone, BackboneSpec
from training.models.heads import LinearHead, Network

SIDE_PX = 32
HALF = (0.5, 0.5, 0.5)


class SmallBackbone(Backbone):
    """Three convolutions with two levels, random and fixed."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        levels = MappingProxyType({"block0": 6, "head": 10})
        self.spec = BackboneSpec(name="small", input_px=SIDE_PX, mean=HALF, std=HALF, levels=levels, stride_px=4)
        self.levels = ("block0", "head")
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU())
        self.blocks = nn.Sequential(nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()))
        self.last = nn.Sequential(nn.Conv2d(6, 10, 1), nn.ReLU())


@dataclass(frozen=True)
class Made:
    """A fitted model, its graph and photographs at its size."""

    backbone: Backbone
    network: Network
    fitted: Fitted
    limits: DecisionLimits
    graph: bytes
    images: list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_with(tmp_path_factory.mktemp("parity") / "data", views=2)


def made_with(place: Path, *, views: int) -> Made:
    folder = load_folder(write_folder(place, {"apple": 8, "berry": 8, "cherry": 8}))
    torch.manual_seed(0)
    backbone = SmallBackbone().eval().requires_grad_(False)
    # Not by `with_settings`, which knows no network that is only here.
    recipe = replace(recipe_of("standard"), levels=backbone.levels, input_px=SIDE_PX, views=views, forest_trees=10)
    seen = backbone_graph.export_backbone(backbone, input_px=SIDE_PX)
    eye = Eye(backbone_graph.to_bytes(seen), recipe, threads=1)
    version = fit_on(
        [(photo,) for photo in folder.photos],
        {photo.relative: row for row, photo in enumerate(folder.photos)},
        still(Sight(eye.features(folder.photos, seed=0, views=views), Outside(np.zeros((0, 16), np.float32)))),
        labels_of(folder),
        classes=3,
        recipe=recipe,
        seed=0,
    ).version
    graph = backbone_graph.to_bytes(fused_graph.fuse(seen, version.fitted, pooled=backbone.channels))
    network = Network(backbone, version.fitted.head).eval()
    return Made(
        backbone, network, version.fitted, version.limits, graph, [eye.pixels(photo) for photo in folder.photos]
    )


def _seen(made: Made, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    """What the graph says of images, by output."""
    session = onnxruntime.InferenceSession(made.graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    asked = {"image": np.stack(images), "target": np.full(len(images), -1, np.int64)}
    return dict(zip(names, session.run(names, asked), strict=True))


def _with_means(made: Made, means: NDArray[np.float64]) -> Made:
    """The same model with classes elsewhere, and its graph."""
    both = made.fitted.combination
    moved = replace(both.relative.classes, means=means)
    near = replace(both.nearest, space=moved)
    fitted = replace(
        made.fitted, combination=replace(both, nearest=near, relative=replace(both.relative, classes=moved))
    )
    seen = backbone_graph.export_backbone(made.backbone, input_px=SIDE_PX)
    graph = backbone_graph.to_bytes(fused_graph.fuse(seen, fitted, pooled=made.backbone.channels))
    return replace(made, fitted=fitted, graph=graph)


def test_the_graph_answers_as_what_was_trained(made: Made) -> None:
    found = parity.check(made.network, made.fitted, made.limits, made.graph, made.images)
    assert found.photos == 24
    assert found.probabilities_abs_max < 1e-5
    assert found.heat_map_correlation_min > 0.9999
    assert found.combination_abs_max < 1e-3
    assert found.heat_map_plus_plus_rel_max < 1e-4
    assert found.nearest_cosine_abs_max < 1e-5


def test_a_photograph_that_is_its_own_reference_is_compared_too(tmp_path: Path) -> None:
    own = made_with(tmp_path / "data", views=0)
    assert parity.check(own.network, own.fitted, own.limits, own.graph, own.images).nearest_neighbour_abs_max < 1e-5


def test_the_same_fit_gives_the_same_bytes(made: Made) -> None:
    seen = backbone_graph.export_backbone(made.backbone, input_px=SIDE_PX)
    again = fused_graph.fuse(seen, made.fitted, pooled=made.backbone.channels)
    assert backbone_graph.to_bytes(again) == made.graph


def test_another_head_another_temperature_and_another_forest_are_noticed(made: Made) -> None:
    head = made.fitted.head
    turned = LinearHead(head.weight[::-1].copy(), head.bias[::-1].copy())
    other = Network(made.backbone, turned).eval()
    with pytest.raises(ParityBroken, match="does not answer as the trained model on 24 photographs"):
        parity.check(other, made.fitted, made.limits, made.graph, made.images)
    warmer = replace(made.fitted, temperature=made.fitted.temperature * 1.1)
    assert parity.measure(made.network, warmer, made.limits, made.graph, made.images).probabilities_abs_max > 1e-3
    moved = replace(made.fitted.mahalanobis, means=made.fitted.mahalanobis.means + 0.1)
    both = made.fitted.combination
    further = replace(made.fitted, combination=replace(both, relative=replace(both.relative, classes=moved)))
    assert not parity.measure(made.network, further, made.limits, made.graph, made.images).holds
    rolled = replace(both.nearest, references=np.roll(both.nearest.references, 1, axis=0))
    others = replace(made.fitted, combination=replace(both, nearest=rolled))
    assert parity.measure(made.network, others, made.limits, made.graph, made.images).nearest_cosine_abs_max > 1e-3


def test_a_photograph_on_the_mean_of_its_class_does_not_make_rounding_a_defect(made: Made) -> None:
    """Its distance is a small difference of large numbers, and far from every border."""
    mean = made.fitted.mahalanobis.means[0]
    [close] = _seen(made, made.images[:1])["embedding"]
    on_it = _with_means(made, np.vstack([close + 1e-4 * (mean - close), made.fitted.mahalanobis.means[1:]]))

    ours = _seen(on_it, made.images[:1])["score_mahalanobis"]
    theirs = on_it.fitted.mahalanobis.score(close[None])
    assert abs(ours - theirs) > parity.SCORE_MAX * theirs  # what was taken for a defect

    found = parity.check(on_it.network, on_it.fitted, on_it.limits, on_it.graph, on_it.images)
    assert found.mahalanobis_rel_max <= parity.SCORE_MAX


def test_a_distance_that_is_wrong_by_a_thousandth_of_the_way_to_the_border_is_noticed(made: Made) -> None:
    limits = next(each for each in made.limits.detectors if each.name == "mahalanobis")
    graph = onnx.load_from_string(made.graph)
    [last] = [node for node in graph.graph.node if node.output[0] == "score_mahalanobis"]
    last.output[0] = "distance_right"
    off = np.array((limits.out_at - limits.typical) / 1000, np.float32)
    graph.graph.initializer.append(numpy_helper.from_array(off, "off"))
    graph.graph.node.append(helper.make_node("Add", ["distance_right", "off"], ["score_mahalanobis"]))

    with pytest.raises(ParityBroken, match="Mahalanobis differs by"):
        parity.check(made.network, made.fitted, made.limits, backbone_graph.to_bytes(graph), made.images)


def test_a_grad_cam_plus_plus_of_another_order_is_noticed(made: Made) -> None:
    """Its 2 is what tells it from plain gradients that are cut at zero."""
    graph = onnx.load_from_string(made.graph)
    [two] = [weight for weight in graph.graph.initializer if weight.name == "two"]
    two.CopyFrom(numpy_helper.from_array(np.array(0.5, np.float32), "two"))

    assert (
        parity.measure(
            made.network, made.fitted, made.limits, backbone_graph.to_bytes(graph), made.images
        ).heat_map_plus_plus_rel_max
        > 1e-3
    )


def test_a_graph_with_one_weight_changed_is_noticed(made: Made) -> None:
    model = onnx.load_from_string(made.graph)
    for tensor in model.graph.initializer:
        if tensor.name == "temperature":
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.array(made.fitted.temperature * 2, np.float32), tensor.name)
            )
    with pytest.raises(ParityBroken, match="probabilities differ"):
        parity.check(made.network, made.fitted, made.limits, model.SerializeToString(), made.images)

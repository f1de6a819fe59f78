"""Backbones: one shape for every network, and weights that come from a package or a file, or are missed in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from training.errors import SettingWrong, WeightsMissing
from training.fitting.recipe import recipe_of, with_settings
from training.models import backbones
from training.models.backbones import BACKBONES, Backbone, pretrained, spec_of
from training.models.weights import SOURCES, read

SIDE_PX = 64
FROM_TIMM = [name for name, spec in BACKBONES.items() if spec.pretrainable]


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_gives_its_levels_and_a_map_to_look_at(name: str) -> None:
    spec = spec_of(name)
    network = Backbone(spec, tuple(spec.levels)).eval()
    with torch.inference_mode():
        seen = network(network.normalised(torch.zeros(2, SIDE_PX, SIDE_PX, 3, dtype=torch.uint8)))
    assert [tuple(level.shape) for level in seen.pooled] == [(2, channels) for channels in spec.levels.values()]
    assert seen.last_map.shape == (2, spec.levels["head"], *[SIDE_PX // spec.stride_px] * 2)
    assert set(spec.standard_levels) <= set(spec.levels)


@pytest.mark.parametrize("name", FROM_TIMM)
def test_pixels_are_prepared_as_the_weights_expect_them(name: str) -> None:
    spec, wanted = spec_of(name), timm.get_pretrained_cfg(name)
    assert (spec.mean, spec.std) == (wanted.mean, wanted.std)
    assert spec.input_px == wanted.input_size[-1]
    image = torch.randint(0, 256, (1, 4, 4, 3), dtype=torch.uint8)
    by_hand = (image[0].float() / 255.0 - torch.tensor(wanted.mean)) / torch.tensor(wanted.std)
    ours = Backbone.normalised(_spec_only(name), image)
    torch.testing.assert_close(ours[0].permute(1, 2, 0), by_hand)


@pytest.mark.parametrize("name", ["mobilenetv3_large_100", "resnet50"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_a_file_are_those_that_the_network_answers_with(name: str, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = timm.create_model(name, pretrained=False).eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(theirs.state_dict(), path)
    else:
        torch.save({"state_dict": theirs.state_dict()}, path)
    ours = pretrained(spec_of(name), ("head",), file=path)
    pixels = torch.rand(1, 3, SIDE_PX, SIDE_PX)
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixels).last_map, theirs.forward_features(pixels), rtol=1e-3, atol=1e-4)
    assert path.name in ours.origin.described
    assert str(tmp_path) not in ours.origin.described
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_weights_of_the_package_are_those_of_timms_network() -> None:
    source = SOURCES["tf_efficientnet_lite0"]
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), read(source).values(), strict=True)))
    ours = pretrained(spec_of("tf_efficientnet_lite0"), ("head",))
    pixels = torch.rand(1, 3, SIDE_PX, SIDE_PX)
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixels).last_map, theirs.forward_features(pixels), rtol=1e-3, atol=1e-4)
    assert source.package in ours.origin.described


def test_where_no_weights_can_be_had_a_sentence_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no package brings .* resnet50, and nothing is downloaded.* --weights"):
        pretrained(spec_of("resnet50"), ("head",))
    with pytest.raises(WeightsMissing, match="small_cnn has no pretrained weights and cannot stay frozen"):
        pretrained(spec_of("small_cnn"), ("head",))
    with pytest.raises(WeightsMissing, match="cannot be read"):
        pretrained(spec_of("resnet50"), ("head",), file=tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("no tensors")
    with pytest.raises(WeightsMissing, match="holds no weights that can be read safely"):
        pretrained(spec_of("resnet50"), ("head",), file=tmp_path / "text.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsMissing, match="not those of timm's resnet50"):
        pretrained(spec_of("resnet50"), ("head",), file=tmp_path / "other.pth")
    with pytest.raises(SettingWrong, match="there is no backbone resnet51"):
        spec_of("resnet51")


def test_a_file_that_runs_code_is_not_opened(tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.write_text, (tmp_path / "fired", "yes")

    torch.save({"conv1.weight": Canary()}, tmp_path / "hostile.pth")
    with pytest.raises(WeightsMissing, match="read safely"):
        pretrained(spec_of("resnet50"), ("head",), file=tmp_path / "hostile.pth")
    assert not (tmp_path / "fired").exists()


def test_another_backbone_brings_its_levels_along() -> None:
    standard = recipe_of("standard")
    assert with_settings(standard, {"backbone": "efficientnet_b0"}).levels == standard.levels
    assert with_settings(standard, {"backbone": "resnet50"}).levels == ("block2", "head")
    assert with_settings(standard, {"backbone": "resnet50", "levels": ["head"]}).levels == ("head",)


def _spec_only(name: str) -> Backbone:
    """A backbone of which only the arithmetic of pixels is asked: building every network takes seconds."""
    network = Backbone.__new__(Backbone)
    torch.nn.Module.__init__(network)
    network.spec = backbones.spec_of(name)
    return network

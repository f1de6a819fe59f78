"""The measures of photographs, and that training and gateway measure alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from gateway.intake import quality as stage_a
from tests.unit.training.data.cast import write_folder
from training.data import quality
from training.data.folder import load_folder
from training.data.quality import Flaw, Quality, flaws, measure, qualities
from training.demo.photographs import draw


def test_the_laplacian_s_variance_is_the_one_worked_out_by_hand() -> None:
    # The one inner pixel of each: 4 * 10 neighbours - 4 * 10, and 0 - 4 * 100.
    luma = np.full((3, 4), 10, dtype=np.uint8)
    luma[1, 2] = 100
    laplacian = np.array([100 + 3 * 10 - 4 * 10, 4 * 10 - 4 * 100], dtype=float)
    assert measure(luma).sharpness_var == pytest.approx(laplacian.var())


def test_shares_and_means_are_of_all_pixels() -> None:
    luma = np.array([[0, 0, 255, 255], [0, 128, 128, 255], [0, 0, 255, 255]], dtype=np.uint8)
    found = measure(luma)
    assert found.clipped_dark_ratio == pytest.approx(5 / 12)
    assert found.clipped_bright_ratio == pytest.approx(5 / 12)
    assert found.brightness_ratio == pytest.approx(luma.mean() / 255)


@pytest.mark.parametrize("seed", range(5))
def test_the_gateway_measures_the_same(seed: int) -> None:
    luma = np.random.default_rng(seed).integers(0, 256, (40, 40), dtype=np.uint8)
    ours, theirs = measure(luma), stage_a.measure(luma)
    assert ours.sharpness_var == pytest.approx(theirs.sharpness_var, rel=1e-9)
    assert ours.brightness_ratio == pytest.approx(theirs.brightness_ratio, rel=1e-9)
    assert ours.contrast_ratio == pytest.approx(theirs.contrast_ratio, rel=1e-9)
    assert ours.clipped_dark_ratio == pytest.approx(theirs.clipped_dark_ratio)
    assert ours.clipped_bright_ratio == pytest.approx(theirs.clipped_bright_ratio)
    assert quality.CHECK_PX == stage_a.CHECK_SIDE_PX


GOOD = Quality(500.0, 0.5, 0.2, 0.0, 0.0)


@pytest.mark.parametrize(
    ("found", "size", "expected"),
    [
        (GOOD, (480, 640), ()),
        (Quality(10.0, 0.5, 0.2, 0.0, 0.0), (480, 640), (Flaw.BLURRED,)),
        (Quality(500.0, 0.02, 0.2, 0.0, 0.0), (480, 640), (Flaw.TOO_DARK,)),
        (Quality(500.0, 0.3, 0.2, 0.7, 0.0), (480, 640), (Flaw.TOO_DARK,)),
        (Quality(500.0, 0.95, 0.2, 0.0, 0.0), (480, 640), (Flaw.TOO_BRIGHT,)),
        (Quality(500.0, 0.6, 0.2, 0.0, 0.6), (480, 640), (Flaw.TOO_BRIGHT,)),
        (Quality(500.0, 0.5, 0.01, 0.0, 0.0), (480, 640), (Flaw.LOW_CONTRAST,)),
        (GOOD, (100, 640), (Flaw.SMALL,)),
        (Quality(10.0, 0.02, 0.01, 0.0, 0.0), (99, 99), (Flaw.BLURRED, Flaw.TOO_DARK, Flaw.LOW_CONTRAST, Flaw.SMALL)),
    ],
)
def test_a_flaw_is_named(found: Quality, size: tuple[int, int], expected: tuple[Flaw, ...]) -> None:
    assert flaws(found, width_px=size[0], height_px=size[1]) == expected


def test_blurring_and_darkening_a_good_photograph_is_noticed(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a": 1, "b": 1})
    good = draw("wheel_of_law/front_001.jpg", 4)
    good.save(root / "a/1_good.jpg")
    good.filter(ImageFilter.GaussianBlur(8)).save(root / "a/2_blurred.jpg")
    good.point(lambda level: level // 16).save(root / "a/3_dark.png")
    Image.new("RGB", (300, 300), (255, 255, 255)).save(root / "a/4_white.png")
    photos = [photo for photo in load_folder(root).photos if photo.label == "a"][:4]
    assert [photo.path.stem for photo in photos] == ["1_good", "2_blurred", "3_dark", "4_white"]
    told: list[tuple[int, int]] = []
    found = [
        flaws(each, width_px=photo.width_px, height_px=photo.height_px)
        for photo, each in zip(photos, qualities(photos, progress=lambda *at: told.append(at)), strict=True)
    ]
    assert found[0] == ()
    assert found[1] == (Flaw.BLURRED,)
    assert Flaw.TOO_DARK in found[2]
    assert Flaw.TOO_BRIGHT in found[3]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]

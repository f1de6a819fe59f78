"""Degradations: each does what its name says, keeps size and type, and grows with its strength."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.data.cast import picture
from training.augmentation import robust


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.asarray(picture(4, width=112, height=112))


def away(found: np.ndarray, pixels: np.ndarray) -> float:
    return float(np.abs(found.astype(int) - pixels.astype(int)).mean())


def test_jpeg_is_what_pillow_reads_back_and_worse_at_lower_quality(pixels: np.ndarray) -> None:
    assert 0.0 < away(robust.jpeg(pixels, 90), pixels) < away(robust.jpeg(pixels, 10), pixels)


def test_a_blur_keeps_the_mean_and_takes_the_detail(pixels: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (112, 112, 3)).astype(np.uint8)
    for blurred in (robust.gaussian_blur(rough, 2.0), robust.motion_blur(rough, 8.0, 30.0)):
        assert blurred.mean() == pytest.approx(rough.mean(), abs=2.0)
        assert blurred.std() < 0.7 * rough.std()


def test_a_motion_blur_smears_along_its_line_only() -> None:
    stripe = np.zeros((112, 112, 3), np.uint8)
    stripe[:, 56] = 255
    across, along = robust.motion_blur(stripe, 10.0, 0.0), robust.motion_blur(stripe, 10.0, 90.0)
    bright = across[56, :, 0] > across.max() / 2
    assert 4 <= np.count_nonzero(bright) <= 6  # 10 px of 224 are 5 of 112
    assert away(along, stripe) < 0.5


def test_a_motion_blur_is_the_mean_along_its_line() -> None:
    rng = np.random.default_rng(1)
    smooth = robust.gaussian_blur(rng.integers(0, 256, (224, 224, 3)).astype(np.uint8), 3.0)
    expected = np.mean([np.roll(smooth.astype(float), shift, axis=1) for shift in range(-4, 5)], axis=0)
    found = robust.motion_blur(smooth, 9.0, 0.0).astype(float)
    assert np.abs(found - expected)[:, 10:-10].max() < 2.0
    assert away(robust.motion_blur(smooth, 3.0, 37.0), smooth) < away(robust.motion_blur(smooth, 6.0, 37.0), smooth)


def test_lengths_scale_with_the_picture() -> None:
    small, large = np.zeros((112, 112, 3), np.uint8), np.zeros((224, 224, 3), np.uint8)
    small[:, 56], large[:, 112:114] = 255, 255
    found = [robust.motion_blur(each, 12.0, 0.0) for each in (small, large)]
    widths = [np.count_nonzero(each[len(each) // 2, :, 0] > each.max() / 2) / len(each) for each in found]
    assert widths[0] == pytest.approx(widths[1], abs=0.02)


def test_light_and_colour(pixels: np.ndarray) -> None:
    assert robust.exposed(pixels, 0.5).mean() == pytest.approx(pixels.mean() / 2, abs=1.0)
    assert robust.exposed(pixels, 100.0).max() == 255
    grey = np.full((8, 8, 3), 100, np.uint8)
    warm = robust.colour_cast(grey, 0.4, 0.0)[0, 0].astype(float)
    assert warm[0] > 140
    assert warm[1] < 90
    assert np.prod(warm / 100.0) == pytest.approx(1.0, abs=0.05)  # the gains' product is 1: another colour, not more


def test_a_cover_has_its_share_and_one_colour() -> None:
    for share in (0.05, 0.2, 0.4):
        for seed in range(10):
            empty = np.full((112, 112, 3), 7, np.uint8)
            covered = robust.occluded(empty, share, np.random.default_rng(seed))
            changed = (covered != empty).any(axis=2)
            assert changed.mean() == pytest.approx(share, abs=0.02)
            assert len(np.unique(covered[changed], axis=0)) == 1


def test_turned_by_quarters_is_what_pillow_turns(pixels: np.ndarray) -> None:
    assert away(robust.turned(pixels, 90.0), np.asarray(Image.fromarray(pixels).rotate(90))) < 1.0


def test_from_afar_loses_detail_and_keeps_size(pixels: np.ndarray) -> None:
    far = robust.downscaled(pixels, 0.1)
    assert far.shape == pixels.shape
    assert away(far, pixels) > away(robust.downscaled(pixels, 0.7), pixels)


def test_a_degraded_view_is_decided_by_its_generator(pixels: np.ndarray) -> None:
    first, again = (robust.degraded(pixels, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again)
    drawn = {robust.degraded(pixels, np.random.default_rng(seed)).tobytes() for seed in range(12)}
    assert len(drawn) > 8  # two JPEG qualities may give a smooth picture back alike

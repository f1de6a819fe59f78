"""Views: decided by their generator, of the photograph's own size, never mirrored, and the light bounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.training.data.cast import picture
from training.augmentation import backdrop, standard
from training.augmentation.standard import Strength

STILL = Strength(
    backdrop_ratio=0.0,
    turn_deg=0.0,
    smaller_log=0.0,
    larger_log=0.0,
    shift_ratio=0.0,
    tilt=0.0,
    gamma_log=0.0,
    white_balance_log=0.0,
    exposure_log=0.0,
    contrast_log=0.0,
    paler_log=0.0,
    richer_log=0.0,
    blur_ratio=0.0,
    noise_ratio=0.0,
)


def pixels_of_a_photograph(seed: int = 1) -> np.ndarray:
    return np.asarray(picture(seed, width=96, height=96))


def on_plain_backdrop() -> np.ndarray:
    """A textured disc in the middle of a plain red table."""
    pixels = np.full((96, 96, 3), (180, 30, 40), np.uint8)
    y, x = np.mgrid[:96, :96]
    disc = (y - 48) ** 2 + (x - 48) ** 2 < 30**2
    pixels[disc] = np.asarray(picture(9, width=96, height=96))[disc] // 2 + 100
    return pixels


def test_the_same_generator_draws_the_same_view_and_another_another() -> None:
    pixels = pixels_of_a_photograph()
    first, again, other = (standard.view(pixels, np.random.default_rng(seed), Strength()) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_view_has_the_size_and_type_of_its_photograph_and_leaves_it_alone() -> None:
    pixels = pixels_of_a_photograph()
    before = pixels.copy()
    for seed in range(20):
        found = standard.view(pixels, np.random.default_rng(seed), Strength())
        assert found.shape == pixels.shape
        assert found.dtype == np.uint8
    assert np.array_equal(pixels, before)


def test_without_strength_nothing_changes() -> None:
    pixels = pixels_of_a_photograph()
    found = standard.view(pixels, np.random.default_rng(0), STILL)
    # The light curve is applied in floating point and cut back to whole numbers.
    assert np.abs(found.astype(int) - pixels.astype(int)).max() <= 1


def test_views_are_never_mirrored() -> None:
    pixels = pixels_of_a_photograph().astype(np.float64)
    mirrored = pixels[:, ::-1]
    for seed in range(10):
        found = standard.view(pixels.astype(np.uint8), np.random.default_rng(seed), Strength(backdrop_ratio=0.0))
        as_is = np.corrcoef(found.ravel(), pixels.ravel())[0, 1]
        assert as_is > np.corrcoef(found.ravel(), mirrored.ravel())[0, 1]


@pytest.mark.parametrize(
    "change",
    [{"exposure_log": 0.5}, {"gamma_log": 0.7}, {"contrast_log": 0.5}, {"turn_deg": 30.0}, {"noise_ratio": 1.0}],
)
def test_each_strength_does_something_on_its_own(change: dict[str, float]) -> None:
    pixels = pixels_of_a_photograph()
    moved = [standard.view(pixels, np.random.default_rng(seed), replace(STILL, **change)) for seed in range(8)]
    assert max(np.abs(each.astype(int) - pixels.astype(int)).mean() for each in moved) > 3.0


def test_degraded_views_are_drawn_only_where_they_are_asked_for() -> None:
    pixels = pixels_of_a_photograph()
    for seed in range(5):
        plain = standard.view(pixels, np.random.default_rng(seed), Strength())
        asked = standard.view(pixels, np.random.default_rng(seed), Strength(robust_ratio=1.0))
        assert np.array_equal(plain, standard.view(pixels, np.random.default_rng(seed), Strength(robust_ratio=0.0)))
        assert not np.array_equal(plain, asked)


def test_a_plain_backdrop_is_found_and_replaced_and_the_object_stays() -> None:
    pixels = on_plain_backdrop()
    mask = backdrop.mask(pixels)
    assert mask is not None
    assert mask[:5].all()
    assert not mask[44:52, 44:52].any()
    for seed in range(5):
        found = backdrop.replaced(pixels, np.random.default_rng(seed))
        assert np.abs(found[44:52, 44:52].astype(int) - pixels[44:52, 44:52]).max() <= 2
        assert np.abs(found[:5].astype(int) - pixels[:5]).mean() > 5.0


def test_a_photograph_without_a_plain_backdrop_keeps_it() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    assert backdrop.mask(noisy) is None
    assert np.array_equal(backdrop.replaced(noisy, np.random.default_rng(1)), noisy)

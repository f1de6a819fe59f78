"""Local contrast and less noise, each against a second computation pixel by pixel, and where they are applied."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.data.cast import picture
from tests.unit.training.fitting.cast import SIDE_PX, colour_graph
from training.data.preprocessing import BILATERAL, MEDIAN, Preprocessing, bilateral, clahe, prepared
from training.errors import SettingWrong
from training.fitting.features import Eye
from training.fitting.lenses import starting_backbone
from training.fitting.recipe import recipe_of, with_settings

RECIPE = with_settings(recipe_of("standard"), {"levels": ["head"], "input_px": SIDE_PX})


def grey(luma: np.ndarray) -> np.ndarray:
    return np.dstack([luma.astype(np.uint8)] * 3)


def small_picture() -> np.ndarray:
    return np.asarray(picture(3, width=24, height=24))


def test_one_tile_without_a_limit_is_plain_equalisation() -> None:
    """Four levels, a quarter of the picture each: every level becomes the share of pixels up to it."""
    luma = np.repeat(np.array([90, 91, 92, 93]), 4)[None, :].repeat(16, axis=0)
    found = clahe(grey(luma), clip=256.0, tiles=1)[0, ::4, 0]
    assert found == pytest.approx([255 / 4, 255 / 2, 255 * 3 / 4, 255], abs=1)


def by_pixel(luma: np.ndarray, clip: float, tiles: int) -> np.ndarray:
    """CLAHE of a square picture whose side the tiles divide, one pixel after the other."""
    size = len(luma) // tiles
    maps = {}
    for row in range(tiles):
        for column in range(tiles):
            tile = luma[row * size : (row + 1) * size, column * size : (column + 1) * size].ravel().tolist()
            counts = [float(tile.count(level)) for level in range(256)]
            limit = clip * len(tile) / 256
            excess = sum(max(count - limit, 0.0) for count in counts)
            counts = [min(count, limit) + excess / 256 for count in counts]
            maps[row, column] = [255 * sum(counts[: level + 1]) / len(tile) for level in range(256)]
    found = np.zeros(luma.shape)
    for y, x in np.ndindex(luma.shape):
        down, across = (y + 0.5) / size - 0.5, (x + 0.5) / size - 0.5
        for row, column in ((r, c) for r in (0, 1) for c in (0, 1)):
            at = math.floor(down) + row, math.floor(across) + column
            weight = (1 - abs(down - at[0])) * (1 - abs(across - at[1]))
            held = min(max(at[0], 0), tiles - 1), min(max(at[1], 0), tiles - 1)
            found[y, x] += weight * maps[held][luma[y, x]]
    return found


@pytest.mark.parametrize("clip", [1.5, 4.0, 60.0])
def test_local_contrast_is_what_a_walk_over_the_pixels_finds(clip: float) -> None:
    pixels = small_picture() // 2 + 60  # not so colourful that colours are cut off at 0 or 255
    found = clahe(pixels, clip=clip, tiles=4)
    before, after = (np.asarray(Image.fromarray(each).convert("YCbCr"))[..., 0] for each in (pixels, found))
    kept = ((found > 0) & (found < 255)).all(axis=2)
    assert kept.mean() > 0.5
    assert np.abs(after - by_pixel(before, clip, 4))[kept].max() <= 1.5  # there and back costs one of rounding


def test_colours_differ_as_before_and_a_clip_holds_contrast_back() -> None:
    pixels = (small_picture() // 8 + 100).astype(np.uint8)
    mild, strong = (clahe(pixels, clip=clip, tiles=4) for clip in (2.0, 8.0))
    spread = [each.std() for each in (pixels, mild, strong)]
    assert spread == sorted(spread)
    assert spread[1] > 1.5 * spread[0]
    before, after = (np.asarray(Image.fromarray(each).convert("YCbCr"), np.int16)[..., 1:] for each in (pixels, mild))
    assert np.abs(before - after).max() <= 2


def test_a_bilateral_mean_is_what_a_walk_over_the_pixels_finds() -> None:
    pixels = small_picture()[:9, :9]
    around = np.pad(pixels.astype(float), ((2, 2), (2, 2), (0, 0)), mode="edge")
    found = bilateral(pixels)
    for y, x in np.ndindex(9, 9):
        total, weights = np.zeros(3), 0.0
        for j, i in np.ndindex(5, 5):
            apart = float(((around[y + j, x + i] - around[y + 2, x + 2]) ** 2).sum())
            weight = math.exp(-apart / (2 * 25.0**2)) * math.exp(-((j - 2) ** 2 + (i - 2) ** 2) / (2 * 1.5**2))
            total, weights = total + weight * around[y + j, x + i], weights + weight
        assert found[y, x] == pytest.approx(total / weights, abs=0.51)


@pytest.mark.parametrize("denoise", [MEDIAN, BILATERAL])
def test_noise_goes_and_an_edge_stays(denoise: str) -> None:
    clean = np.full((32, 32, 3), 60.0)
    clean[:, 16:] = 190.0
    noisy = (clean + np.random.default_rng(0).normal(0.0, 8.0, clean.shape)).round().clip(0, 255).astype(np.uint8)
    found = prepared(noisy, Preprocessing(denoise)).astype(float)
    assert (found - clean)[:, 2:14].std() < 0.6 * (noisy - clean)[:, 2:14].std()
    assert found[:, 17].mean() - found[:, 14].mean() > 125.0


def test_a_network_behind_steps_sees_photographs_views_and_other_tables_through_them() -> None:
    how = Preprocessing(MEDIAN, clahe_clip=2.0, clahe_tiles=4)
    pictures = [np.asarray(picture(seed, width=SIDE_PX, height=SIDE_PX)) for seed in (1, 2)]
    plain, behind = (Eye(colour_graph(), recipe, threads=1) for recipe in (RECIPE, replace(RECIPE, preprocessing=how)))
    assert np.array_equal(behind.look(pictures), plain.look([prepared(each, how) for each in pictures]))
    assert not np.allclose(behind.look(pictures), plain.look(pictures), atol=1e-3)


def test_its_settings_are_checked_by_name_and_read_back_from_a_document() -> None:
    recipe = with_settings(RECIPE, {"preprocessing": {"denoise": "median", "clahe_clip": 3}})
    assert with_settings(RECIPE, recipe.document()) == recipe
    assert with_settings(recipe, {"preprocessing": None}) == RECIPE
    for wrong, sentence in (
        ({"preprocessing": {"clahe": 2.0}}, "did you mean clahe_clip|did you mean clahe_tiles"),
        ({"preprocessing": {"denoise": "wavelets"}}, "must be none or median or bilateral, not wavelets"),
        ({"preprocessing": {"clahe_clip": -1.0}}, "must lie between 0 and 256"),
        ({"preprocessing": {"clahe_tiles": 0}}, "must lie between 1 and 32"),
        ({"preprocessing": "median"}, "preprocessing must be a mapping"),
        ({"preprocessing": {}, "tuning": {}}, "a network that learns is shown photographs as they are"),
    ):
        with pytest.raises(SettingWrong, match=sentence):
            with_settings(RECIPE, wrong)


def test_a_version_behind_steps_is_refused_before_anything_is_fitted() -> None:
    with pytest.raises(SettingWrong, match="preprocessing is no part of what is served"):
        starting_backbone(with_settings(RECIPE, {"preprocessing": {}}), seed=0)

"""Photographs that look taken, follow from their seed, and give no class away by colour."""

from __future__ import annotations

import numpy as np
import pytest

from training.demo.moulds import DESIGNS, hand_cut, tablet
from training.demo.others import OBJECTS, coin, thing
from training.demo.relief import HEIGHT_PX, WIDTH_PX
from training.demo.renderer import PHOTO_HEIGHT_PX, PHOTO_WIDTH_PX, photograph


@pytest.mark.parametrize("side", ["front", "back"])
@pytest.mark.parametrize("label", DESIGNS)
def test_a_mould_fits_its_canvas_and_has_a_relief(label: str, side: str) -> None:
    mould = tablet(label, side)
    assert mould.outline.shape == mould.height.shape == (HEIGHT_PX, WIDTH_PX)
    inside = mould.outline < 0
    assert 0.2 < inside.mean() < 0.8
    assert not inside[0].any()
    assert not inside[:, 0].any()
    assert mould.height[inside].std() > 0.05


def test_no_two_designs_look_alike() -> None:
    reliefs = {
        (label, side): (tablet(label, side).height - tablet(label, side).height.mean()).ravel()
        for label in DESIGNS
        for side in ("front", "back")
    }
    keys = list(reliefs)
    for index, first in enumerate(keys):
        for second in keys[index + 1 :]:
            a, b = reliefs[first], reliefs[second]
            assert a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) < 0.7, (first, second)


def test_every_class_has_a_thai_and_an_english_name() -> None:
    for design in DESIGNS.values():
        assert set(design.names) == {"en", "th"}
        assert any("\u0e00" <= letter <= "\u0e7f" for letter in design.names["th"])


def test_a_photograph_follows_from_its_generator() -> None:
    mould = tablet("wheel_of_law", "front")
    one, again, other = (photograph(mould, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.size == (PHOTO_WIDTH_PX, PHOTO_HEIGHT_PX)
    assert one.mode == "RGB"
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()


def test_photographs_are_neither_black_nor_white_nor_flat() -> None:
    for seed, kind in enumerate(OBJECTS):
        rng = np.random.default_rng(seed)
        pixels = np.asarray(photograph(thing(kind, rng), rng), dtype=np.float64)
        assert 30 < pixels.mean() < 220, kind
        assert pixels.std() > 10, kind
    rng = np.random.default_rng(5)
    assert np.asarray(photograph(coin(rng), rng)).std() > 10


def test_a_hand_cut_slab_keeps_the_relief() -> None:
    mould = tablet("bodhi_leaf", "front")
    cut = hand_cut(mould, np.random.default_rng(0))
    inside = mould.outline < -0.02
    assert np.array_equal(cut.height[inside], mould.height[inside])
    assert (cut.outline < 0).mean() > (mould.outline < 0).mean()


def test_mean_colours_do_not_tell_classes_apart() -> None:
    """Nearest class mean on colour statistics, leave-one-out, stays near chance (1/4)."""
    labels = list(DESIGNS)[:4]
    colours, classes = [], []
    for index, label in enumerate(labels):
        for seed in range(10):
            pixels = np.asarray(
                photograph(tablet(label, "front"), np.random.default_rng([seed, index])).resize((24, 32))
            )
            colours.append(np.concatenate([pixels.mean((0, 1)), pixels[10:22, 8:16].mean((0, 1))]))
            classes.append(index)
    features, truth = np.array(colours), np.array(classes)
    right = 0
    for row in range(len(truth)):
        kept = np.arange(len(truth)) != row
        means = np.array([features[kept & (truth == index)].mean(0) for index in range(len(labels))])
        right += int(np.argmin(np.linalg.norm(means - features[row], axis=1)) == truth[row])
    assert right / len(truth) < 0.55

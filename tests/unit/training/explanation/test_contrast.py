"""What speaks for one class against another is found where it is, and hiding it turns the answer round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny_archive import CLASSES, SIDE_PX, photo_of, write_run
from training.explanation.contrast import contrast, contrasted, flips, hidden, strongest
from training.explanation.faithfulness import faithfulness, said
from training.served.answers import GraphModel


@pytest.fixture
def model(tmp_path: Path) -> GraphModel:
    write_run(tmp_path / "run")
    return GraphModel.open(tmp_path / "run", threads=1)


def two_coloured(seed: int) -> NDArray[np.uint8]:
    """A light square on grey ground, and on it a red spot and a slightly smaller green one at random places."""
    rng = np.random.default_rng(seed)
    pixels = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
    quarter = SIDE_PX // 4
    pixels[quarter:-quarter, quarter:-quarter] = 150
    red, green = rng.choice([5, 6, 9, 10], 2, replace=False)
    for place, channel, size in ((red, 0, quarter), (green, 1, quarter - 2)):
        top, left = (place // 4) * quarter, (place % 4) * quarter
        pixels[top : top + size, left : left + size] = 20
        pixels[top : top + size, left : left + size, channel] = 240
    return pixels


def test_the_map_before_its_relu_is_that_of_the_graph(model: GraphModel, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo_of("red", seed=1))
    pixels = model.pixels(tmp_path / "photo.png")
    for target in range(len(CLASSES)):
        _, maps = model.explain([pixels], target)
        np.testing.assert_allclose(np.maximum(model.signed_maps([pixels], target), 0.0), maps, rtol=1e-6)


def test_each_colour_speaks_for_its_own_class_against_the_other(model: GraphModel) -> None:
    red, green = CLASSES.index("red"), CLASSES.index("green")
    pixels = two_coloured(3)

    grid = contrast(model, [pixels], red, green)[0]

    rows, columns = grid.shape
    cells = pixels.reshape(rows, SIDE_PX // rows, columns, SIDE_PX // columns, 3).mean(axis=(1, 3))
    assert np.unravel_index(grid.argmax(), grid.shape) == np.unravel_index(cells[..., 0].argmax(), grid.shape)
    assert np.unravel_index(grid.argmin(), grid.shape) == np.unravel_index(cells[..., 1].argmax(), grid.shape)
    np.testing.assert_allclose(grid, -contrast(model, [pixels], green, red)[0])


def test_hiding_it_turns_the_order_round_more_often_than_hiding_as_much_elsewhere(model: GraphModel) -> None:
    found = flips(model, [two_coloured(seed) for seed in range(20)], rng=np.random.default_rng(0))

    assert found.photos == 20
    assert found.contrast > 0.8
    assert found.elsewhere < 0.4
    assert found.margin_contrast > found.margin_elsewhere


def test_what_is_hidden_is_blurred_and_the_rest_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    cells = strongest(np.array([[0.0, 3.0], [-5.0, 1.0]]), 0.25)

    seen = hidden(pixels, cells)

    assert cells.tolist() == [[False, True], [False, False]]
    assert (seen[16:] == pixels[16:]).all()
    assert (seen[:16, :16] == pixels[:16, :16]).all()
    assert seen[:16, 16:].std() < pixels[:16, 16:].std() / 3


def test_the_picture_shows_both_sides_in_their_own_colour() -> None:
    grid = np.array([[1.0, 0.0], [0.0, -1.0]])
    picture = np.asarray(contrasted(np.full((64, 64, 3), 128, np.uint8), grid, side_px=64)).astype(int)
    assert picture[8, 8, 0] > picture[8, 8, 2] + 50
    assert picture[56, 56, 2] > picture[56, 56, 0] + 50


def test_maps_that_mean_something_beat_random_ones_and_point_at_the_object(model: GraphModel) -> None:
    images = [two_coloured(seed) for seed in range(12)]

    found = faithfulness(model, images, rng=np.random.default_rng(0))["grad_cam"]

    assert found.photos == 12
    assert found.deletion < found.deletion_random
    assert found.insertion > found.insertion_random
    assert found.pointed == 12
    assert found.pointing is not None
    assert found.pointing_random is not None
    assert found.pointing > found.pointing_random + 0.3
    assert "12 photographs" in said({"grad_cam": found})


def test_without_photographs_there_is_nothing_to_measure(model: GraphModel) -> None:
    with pytest.raises(ValueError, match="no photograph"):
        faithfulness(model, [], rng=np.random.default_rng(0))

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from model_store.projection import DIRECTIONS, directions, projected


def test_a_sign_is_the_bit_that_the_text_says() -> None:
    for size, row, direction in ((1, 0, 0), (300, 9, 1), (300, 255, 2), (300, 299, 3)):
        digest = hashlib.sha256(f"amulet projection {direction} {row // 256}".encode()).digest()
        bit = digest[row % 256 // 8] >> row % 8 & 1
        assert directions(size)[row, direction] == (1 if bit else -1)


def test_a_projection_by_hand() -> None:
    signs = directions(3)
    assert projected(np.array([[0.5, 0.25, -2.0]])).tolist() == [
        [0.5 * column[0] + 0.25 * column[1] - 2 * column[2] for column in signs.T.tolist()]
    ]


def test_the_directions_differ_from_each_other_and_hold_as_many_of_either_sign() -> None:
    signs = directions(1584)
    assert signs.shape == (1584, DIRECTIONS)
    together = signs.T @ signs / 1584
    assert np.abs(together - np.eye(DIRECTIONS)).max() < 0.1
    assert np.abs(signs.mean(axis=0)).max() < 0.1


def test_what_is_another_kind_of_thing_lies_elsewhere_and_what_is_the_same_does_not() -> None:
    """Unit vectors about one point and about another, 0.4 apart: the projections tell them apart."""
    random = np.random.default_rng(20)
    here = np.abs(random.normal(size=1584))
    there = here + 0.4 * np.linalg.norm(here) * _unit(random.normal(size=1584))

    def seen(point: np.ndarray, count: int) -> np.ndarray:
        noise = random.normal(size=(count, 1584)) * 0.3 * np.linalg.norm(here) / np.sqrt(1584)
        return projected(np.array([_unit(row) for row in point + noise])).astype(float)

    first, same, other = seen(here, 300), seen(here, 300), seen(there, 300)
    assert _apart(first, same).max() < 0.2
    assert _apart(first, other).max() > 0.3


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The Kolmogorov-Smirnov distance along each direction."""
    from scipy.stats import ks_2samp

    return np.array([ks_2samp(*pair).statistic for pair in zip(one.T, other.T, strict=True)])


@pytest.mark.parametrize("size", [1, 6, 1584])
def test_it_fits_what_an_event_carries(size: int) -> None:
    numbers = projected(np.ones((2, size)) / np.sqrt(size))
    assert numbers.dtype == np.float16
    assert np.isfinite(numbers).all()

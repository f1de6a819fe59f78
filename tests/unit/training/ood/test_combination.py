"""Two scores on one scale, added."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.ood.cast import PHOTOS, SIZE, World, world
from training.ood import combination, nearest_neighbour, relative_mahalanobis
from training.statistics.metrics import auroc


def fitted(known: World, held_out: np.ndarray) -> combination.Combination:
    distance = known.detector()
    return combination.fit(
        nearest_neighbour.fit(distance, known.embedding, known.labels, known.photos),
        relative_mahalanobis.fit(distance, known.embedding, shrinkage=0.2),
        held_out,
    )


def test_it_is_the_sum_in_deviations_from_the_medians_of_held_out_photographs() -> None:
    known, held_out = world(), world(1).embedding
    found = fitted(known, held_out)
    rows = np.random.default_rng(2).normal(size=(6, SIZE))

    expected = np.zeros(6)
    for detector in (found.nearest, found.relative):
        seen = detector.score(held_out)
        expected += (detector.score(rows) - np.median(seen)) / seen.std()

    assert found.score(rows) == pytest.approx(expected)


def test_it_tells_what_is_strange_in_either_way() -> None:
    """Another direction at ordinary distance, and the same direction far away: each blinds one of the two."""
    rng = np.random.default_rng(5)
    known = world(5)
    split = known.photos % PHOTOS < 2  # two photographs of each class are held out
    train = World(known.embedding[~split], known.labels[~split], known.photos[~split], known.centres)
    found = fitted(train, known.embedding[split])
    inside, origin = known.embedding[split], found.nearest.space.origin
    far = origin + 4.0 * (inside - origin)
    elsewhere = origin + rng.permuted(inside - origin, axis=1)

    for strange in (far, elsewhere):
        assert auroc(found.score(inside), found.score(strange)) > 0.95
    assert auroc(found.nearest.score(inside), found.nearest.score(far)) < 0.6


def test_equal_scores_of_held_out_photographs_still_give_a_scale() -> None:
    known = world()
    same = np.repeat(known.embedding[:1], 4, axis=0)

    assert np.isfinite(fitted(known, same).score(known.embedding)).all()

"""Likeness to the nearest training photograph: against its definition, and what it sees that distance does not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.ood.cast import CLASSES, PHOTOS, SIZE, World, world
from training.ood import nearest_neighbour
from training.statistics.metrics import auroc


def fitted(known: World) -> nearest_neighbour.NearestNeighbour:
    return nearest_neighbour.fit(known.detector(), known.embedding, known.labels, known.photos)


def test_the_score_is_one_less_the_largest_cosine_to_a_mean_of_views() -> None:
    known = world()
    space = known.detector()
    rows = np.random.default_rng(1).normal(0.0, 1.0, (10, SIZE))

    scores = fitted(known).score(rows)

    means = [space.white(known.embedding[known.photos == photo]).mean(axis=0) for photo in range(CLASSES * PHOTOS)]
    for row, score in zip(space.white(rows), scores, strict=True):
        cosines = [row @ mean / np.linalg.norm(row) / np.linalg.norm(mean) for mean in means]
        assert score == pytest.approx(1.0 - max(cosines), abs=1e-12)


def test_how_far_a_photograph_lies_in_its_direction_does_not_matter() -> None:
    known = world()
    space = known.detector()
    rows = known.embedding[:5] + 0.1
    farther = space.origin + 3.0 * (rows - space.origin)

    assert fitted(known).score(farther) == pytest.approx(fitted(known).score(rows), abs=1e-9)
    assert (space.score(farther) > space.score(rows)).all()


def test_an_unknown_class_at_ordinary_distances_is_told_by_its_direction() -> None:
    """What the detector is for: a camera moves known photographs as far as another class lies from them."""
    rng = np.random.default_rng(3)
    known = world(3)
    space, detector = known.detector(), fitted(known)
    # The same photographs again, but the camera scales everything about the origin: farther, in the same directions.
    again = space.origin + (known.embedding - space.origin) * rng.uniform(1.0, 4.0, (len(known.labels), 1))
    direction = rng.normal(0.0, 1.0, SIZE)
    length = np.linalg.norm(space.white(known.embedding), axis=1).mean()
    strange_white = direction / np.linalg.norm(direction) * length + rng.normal(0.0, 0.5, (60, SIZE))
    strangers = space.origin + strange_white @ np.linalg.inv(space.spread.white(np.eye(SIZE)))

    by_direction = auroc(detector.score(again), detector.score(strangers))
    by_distance = auroc(space.score(again), space.score(strangers))

    assert by_direction > 0.95
    assert by_distance < by_direction - 0.05


def test_references_name_their_photographs_and_have_length_one() -> None:
    detector = fitted(world())

    assert detector.photos.tolist() == list(range(CLASSES * PHOTOS))
    assert np.linalg.norm(detector.references, axis=1) == pytest.approx(np.ones(CLASSES * PHOTOS))


def test_a_large_class_is_covered_by_few_references_and_none_is_far_from_all(monkeypatch: pytest.MonkeyPatch) -> None:
    known = world()
    every = fitted(known)
    monkeypatch.setattr(nearest_neighbour, "REFERENCES_MAX", 5)

    few = fitted(known)

    assert len(few.references) == 5 * CLASSES
    left_out = np.setdiff1d(every.photos, few.photos)
    # Gonzalez: what is left out is nearer to a reference than any two references of its class are to each other.
    for photo in left_out:
        own = few.references[few.photos // PHOTOS == photo // PHOTOS]
        closest_pair = max((own @ own.T - 2.0 * np.eye(len(own))).max(), -1.0)
        assert (own @ every.references[photo]).max() >= closest_pair - 1e-12

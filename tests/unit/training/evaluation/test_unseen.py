"""A class that a version never saw: told by that version, and measured as the one observation that a photograph is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.training.data.cast import photo
from tests.unit.training.evaluation.test_crossvalidation import RECIPE, SIZE, eyes_of, folder_of, pairs
from training.data.folder import Photo
from training.evaluation import unseen
from training.evaluation.crossvalidation import check_size, labels_of
from training.evaluation.unseen import (
    VERSIONS_MAX,
    Unseen,
    how_left_out,
    leave_class_out,
    left_out_together,
    mean_auroc,
)
from training.statistics import metrics
from training.statistics.intervals import share_of


def test_a_class_left_out_is_scored_by_versions_that_never_saw_it() -> None:
    together = pairs(30, classes=3)
    photos = sorted((each for pair in together for each in pair), key=lambda each: each.relative)
    folder = folder_of(photos)
    rng = np.random.default_rng(6)
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + rng.normal(0.0, 0.5, (len(photos), SIZE))
    found = leave_class_out(folder, eyes_of(rows), together, recipe=RECIPE, seed=0, folds=5)
    assert set(found) == {"c0", "c1", "c2"}
    for label, each in found.items():
        assert {folder.photos[row].label for row in each.unseen} == {label}
        assert label not in {folder.photos[row].label for row in each.known}
        assert len(each.unseen) == len(each.unseen_scores) == 20
        assert 0 < len(each.known) == len(each.known_scores) < 40
        # classes far apart: what was never seen lies further out
        assert np.median(each.unseen_scores) > np.median(each.known_scores)
        assert each.auroc > 0.9
    two = folder_of([each for each in photos if each.label != "c2"])
    assert leave_class_out(two, eyes_of(rows), together, recipe=RECIPE, seed=0, folds=5) == {}


def test_each_class_of_few_is_left_out_alone_and_of_many_each_once_apart_from_its_neighbours() -> None:
    for classes in (3, VERSIONS_MAX):
        assert [list(numbers) for numbers in left_out_together(classes)] == [[number] for number in range(classes)]
        assert how_left_out(classes) == ""
    for classes in (VERSIONS_MAX + 1, 300):
        versions = left_out_together(classes)
        assert len(versions) == VERSIONS_MAX
        assert sorted(number for numbers in versions for number in numbers) == list(range(classes))
        assert all(numbers.step == VERSIONS_MAX for numbers in versions)
    assert how_left_out(300) == f"each of {VERSIONS_MAX} versions was made without 12 or 13 of 300 classes"
    assert how_left_out(2 * VERSIONS_MAX).endswith(f"without 2 of {2 * VERSIONS_MAX} classes")


def test_of_several_classes_left_out_of_a_version_each_is_told_from_those_that_it_saw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = pairs(50, classes=5)
    photos = sorted((each for pair in together for each in pair), key=lambda each: each.relative)
    folder, rng = folder_of(photos), np.random.default_rng(6)
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + rng.normal(0.0, 0.5, (len(photos), SIZE))
    monkeypatch.setattr(unseen, "VERSIONS_MAX", 2)  # c0, c2 and c4 of one version, c1 and c3 of the other

    found = leave_class_out(folder, eyes_of(rows), together, recipe=RECIPE, seed=0, folds=5)

    assert list(found) == ["c0", "c1", "c2", "c3", "c4"]
    for number, (label, each) in enumerate(found.items()):
        assert {folder.photos[row].label for row in each.unseen} == {label}
        away = {f"c{other}" for other in range(number % 2, 5, 2)}
        assert {folder.photos[row].label for row in each.known} == set(folder.classes) - away
        assert each.auroc > 0.9


def test_what_a_version_knew_is_scored_once_however_many_classes_it_never_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen times over, it took most of the time that 300 classes take."""
    together = pairs(50, classes=5)
    photos = sorted((each for pair in together for each in pair), key=lambda each: each.relative)
    folder, rng = folder_of(photos), np.random.default_rng(6)
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + rng.normal(0.0, 0.5, (len(photos), SIZE))
    monkeypatch.setattr(unseen, "VERSIONS_MAX", 2)
    asked: list[int] = []
    ratios_of = unseen.ratios_of
    monkeypatch.setattr(unseen, "ratios_of", lambda version, seen: asked.append(len(seen)) or ratios_of(version, seen))

    found = leave_class_out(folder, eyes_of(rows), together, recipe=RECIPE, seed=0, folds=5)

    known = [len(found[label].known) for label in ("c0", "c1")]  # one of each version
    assert sum(asked) == sum(known) + sum(len(each.unseen) for each in found.values())


def test_a_class_without_which_no_version_can_be_fitted_keeps_no_other_from_being_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As below, c0 and rare need each other; c0 and c2 share a version, and c2 is left out of one of its own."""
    together: list[tuple[Photo, ...]] = [*pairs(30, classes=3), (photo("rare", 900, look_seed=900),)]
    for number in range(901, 905):
        copies = [photo(label, number, look_seed=number) for label in ("rare", "rare", "c0")]
        together.append((copies[0], replace(copies[1], relative=f"rare/{number}_again.jpg"), copies[2]))
    photos = sorted((each for members in together for each in members), key=lambda each: each.relative)
    folder, rng = folder_of(photos), np.random.default_rng(6)
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + rng.normal(0.0, 0.5, (len(photos), SIZE))
    monkeypatch.setattr(unseen, "VERSIONS_MAX", 2)

    found = leave_class_out(folder, eyes_of(rows), together, recipe=RECIPE, seed=0, folds=5)

    assert list(found) == ["c1", "c2", "rare"]
    # Its version knows c0, which was away in the one that could not be fitted.
    assert "c0" in {folder.photos[row].label for row in found["c2"].known}


def test_a_class_without_which_another_has_too_few_photographs_is_passed_over() -> None:
    """Of five photographs of rare, four lie under c0 as well: without c0 and its copies one is left."""
    together: list[tuple[Photo, ...]] = [*pairs(30, classes=3), (photo("rare", 900, look_seed=900),)]
    for number in range(901, 905):
        copies = [photo(label, number, look_seed=number) for label in ("rare", "rare", "c0")]
        together.append((copies[0], replace(copies[1], relative=f"rare/{number}_again.jpg"), copies[2]))
    photos = sorted((each for members in together for each in members), key=lambda each: each.relative)
    folder = folder_of(photos)
    check_size(together, folder, folds=5, seeds=(0,))  # every class has enough
    rng = np.random.default_rng(6)
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + rng.normal(0.0, 0.5, (len(photos), SIZE))

    found = leave_class_out(folder, eyes_of(rows), together, recipe=RECIPE, seed=0, folds=5)

    assert set(found) == {"c1", "c2", "rare"}


def test_the_interval_takes_a_photograph_for_one_observation_however_many_versions_scored_it() -> None:
    labels = np.repeat(np.arange(3), 10)
    rng = np.random.default_rng(4)
    scores = rng.normal(0.0, 1.0, 30)

    def without(number: int) -> Unseen:
        known, unseen = np.flatnonzero(labels != number), np.flatnonzero(labels == number)
        return Unseen(known, unseen, scores[known], scores[unseen] + 0.8)

    one = {"c0": without(0)}
    thrice = {name: without(0) for name in ("first", "second", "third")}
    alone, repeated = mean_auroc(one, labels, seed=0), mean_auroc(thrice, labels, seed=0)
    assert alone.value == pytest.approx(metrics.auroc(one["c0"].known_scores, one["c0"].unseen_scores))
    assert (repeated.low, repeated.value, repeated.high) == pytest.approx((alone.low, alone.value, alone.high))


def test_a_resample_without_known_photographs_tells_nothing() -> None:
    labels = np.repeat(np.arange(2), 6)
    few = Unseen(np.array([0]), np.arange(6, 12), np.array([0.1]), np.linspace(0.5, 1.0, 6))
    found = mean_auroc({"c1": few}, labels, seed=0)
    assert found == share_of(1, 1)  # the others are told without a mistake, and one known photograph leaves much room

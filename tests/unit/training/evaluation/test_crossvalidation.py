"""Cross-validation: every photograph answered by what never saw it, nor a copy of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.training.data.cast import photo
from training.data.errors import SplitImpossible
from training.data.folder import Folder, Photo
from training.data.names import NamedGroup, NamedLevel
from training.data.splits import divide
from training.errors import DataTooSmall
from training.evaluation.crossvalidation import check_size, head_on, labels_of, out_of_fold
from training.fitting.features import Features
from training.fitting.recipe import recipe_of, with_settings
from training.fitting.sight import Eyes, Outside, Sight, still

SIZE = 40
RECIPE = with_settings(recipe_of("standard"), {"views": 0, "forest_trees": 5, "levels": ["head"]})


def folder_of(photos: list[Photo], levels: tuple[NamedLevel, ...] = ()) -> Folder:
    classes = tuple(sorted({each.label for each in photos}))
    return Folder(Path("data"), classes, {}, tuple(photos), "f" * 64, levels)


def pairs(count: int, *, classes: int = 2) -> list[tuple[Photo, Photo]]:
    """Two photographs a pair, copies of each other."""
    return [
        (
            photo(f"c{number % classes}", 2 * number, look_seed=number),
            photo(f"c{number % classes}", 2 * number + 1, look_seed=number),
        )
        for number in range(count)
    ]


def features_of(rows: np.ndarray) -> Features:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return Features(unit.astype(np.float32), np.zeros((len(rows), 0, SIZE), np.float32))


def eyes_of(rows: np.ndarray, report: dict[str, np.ndarray] | None = None) -> Eyes:
    return still(Sight(features_of(rows), Outside(np.zeros((0, SIZE), np.float32), report or {})))


def told_by_copies(groups: list[tuple[Photo, ...]], photos: list[Photo]) -> float:
    """Accuracy where a photograph looks like its copy and like nothing else."""
    rng = np.random.default_rng(3)
    looks = {each.look: rng.normal(0.0, 1.0, SIZE) for each in photos}
    rows = np.stack([looks[each.look] + rng.normal(0.0, 0.01, SIZE) for each in photos])
    found = out_of_fold(folder_of(photos), eyes_of(rows), groups, folds=5, recipe=RECIPE, seed=1)
    return float((found.head_predicted == found.labels).mean())


def test_copies_never_stand_on_both_sides() -> None:
    together = pairs(16)
    photos = sorted((each for pair in together for each in pair), key=lambda each: each.relative)
    # Sixteen looks in forty dimensions, each with a label of its own: only who saw the copy knows better than chance.
    assert told_by_copies([(each,) for each in photos], photos) > 0.8
    assert told_by_copies([tuple(pair) for pair in together], photos) < 0.75


def test_a_single_photograph_is_called_one() -> None:
    photos = [photo("rare", 0, look_seed=90), *(photo("many", number, look_seed=number) for number in range(8))]
    alone = [(each,) for each in photos]

    with pytest.raises(DataTooSmall, match=r"class rare has 1 independent photograph \(near-duplicates count once\)"):
        check_size(alone, folder_of(photos), folds=5, seeds=(0,))
    with pytest.raises(SplitImpossible, match=r"class rare has 1 independent photograph \(copies"):
        divide(alone, {"one": 0.5, "other": 0.5}, seed=0)


def test_every_photograph_is_answered_once_and_groups_stay_in_one_fold() -> None:
    together = pairs(20)
    photos = sorted((each for pair in together for each in pair), key=lambda each: each.relative)
    rng = np.random.default_rng(0)
    centres = np.eye(SIZE)[:2] * 6.0
    folder = folder_of(photos)
    rows = centres[labels_of(folder)] + rng.normal(0.0, 1.0, (len(photos), SIZE))
    report = {"far": features_of(rng.normal(0.0, 1.0, (7, SIZE)) - 9.0 * np.eye(SIZE)[5]).plain}
    told: list[tuple[int, int]] = []
    found = out_of_fold(
        folder,
        eyes_of(rows, report),
        together,
        folds=5,
        recipe=RECIPE,
        seed=2,
        progress=lambda *at: told.append(at),
    )
    fold_of = {each.relative: int(fold) for each, fold in zip(photos, found.fold, strict=True)}
    assert all(fold_of[one.relative] == fold_of[other.relative] for one, other in together)
    assert sorted(set(fold_of.values())) == [0, 1, 2, 3, 4]
    assert len(found.decisions) == len(found.sets) == len(photos)
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(len(photos)))
    assert all(values.shape == (len(photos),) for values in found.scores.values())
    assert (found.head_predicted == found.labels).mean() > 0.9
    assert found.outside["far"].shape == (5, 7)
    assert found.outside["far"].min() > np.median(found.ratios)
    assert found.outside_rejected["far"].tolist() == (found.outside["far"] >= 1.0).mean(axis=0).tolist()
    assert ((found.outside_rejected["far"] >= 0.0) & (found.outside_rejected["far"] <= 1.0)).all()
    assert told == [(number, 5) for number in range(1, 6)]


def test_the_same_seed_finds_the_same() -> None:
    together = pairs(16)
    photos = sorted((each for pair in together for each in pair), key=lambda each: each.relative)
    rows = np.random.default_rng(5).normal(0.0, 1.0, (len(photos), SIZE))
    first, again = (
        out_of_fold(folder_of(photos), eyes_of(rows), together, folds=4, recipe=RECIPE, seed=8) for _ in range(2)
    )
    assert np.array_equal(first.fold, again.fold)
    assert np.array_equal(first.probabilities, again.probabilities)
    assert first.decisions == again.decisions


def test_a_class_too_small_for_the_folds_is_named_with_what_it_needs() -> None:
    together = pairs(16)
    few = [*together, (photo("rare", 900, look_seed=900),), (photo("rare", 901, look_seed=901),)]
    folder = folder_of([each for members in few for each in members])
    with pytest.raises(DataTooSmall, match=r"class rare has 2 independent photographs .* at least 5"):
        check_size(few, folder, folds=5, seeds=(0,))
    check_size(together, folder_of([each for pair in together for each in pair]), folds=5, seeds=(0,))


def test_all_classes_that_are_too_small_are_named_and_the_folds_that_would_do() -> None:
    """One after the other, three small classes were three trainings that refused."""
    sizes = {"a": 12, "b": 4, "c": 4, "d": 3}
    numbers = iter(range(100))

    def of(labels: str) -> list[tuple[Photo, ...]]:
        return [(photo(label, n := next(numbers), look_seed=n),) for label in labels for _ in range(sizes[label])]

    def refused(together: list[tuple[Photo, ...]], folds: int) -> str:
        with pytest.raises(DataTooSmall) as caught:
            check_size(together, folder_of([each for members in together for each in members]), folds=folds, seeds=(0,))
        return str(caught.value)

    assert refused(of("abcd"), 5) == (
        "class b has 4 independent photographs (near-duplicates count once), and too few have c (4), d (3); training "
        "with 5 folds needs at least 5 of each class: add photographs of them"
    )
    four = of("ab")
    assert refused(four, 5).endswith("add photographs of it, or use 4 folds")
    check_size(four, folder_of([each for members in four for each in members]), folds=4, seeds=(0,))


def test_what_a_fold_leaves_of_a_class_has_to_be_enough_for_every_part() -> None:
    """Of five photographs the larger of two folds leaves two: one of the three parts would have none."""
    five = [(photo(f"c{number % 2}", number, look_seed=number),) for number in range(10)]
    six = [*five, *((photo(f"c{number}", 90 + number, look_seed=90 + number),) for number in range(2))]

    with pytest.raises(DataTooSmall, match=r"class c0 has 5 independent photographs .* 2 folds needs at least 6"):
        check_size(five, folder_of([each for members in five for each in members]), folds=2, seeds=(0,))
    check_size(six, folder_of([each for members in six for each in members]), folds=2, seeds=(0,))


def group(labels: str, number: int) -> tuple[Photo, ...]:
    """Copies of one photograph, in classes of one letter."""
    return tuple(photo(label, 100 * number + place, look_seed=number) for place, label in enumerate(labels))


def test_copies_count_for_the_class_that_most_of_them_are_in() -> None:
    """`a` seems to have five, and the division of the folds counts every one of them for `b`."""
    together = [group("abb", number) for number in range(5)] + [group("b", number) for number in range(5, 10)]

    with pytest.raises(DataTooSmall) as refused:
        check_size(together, folder_of([each for members in together for each in members]), folds=5, seeds=(0,))

    assert str(refused.value) == (
        "class a has 0 independent photographs (near-duplicates count once); training with 5 folds needs at least 5 of "
        "each class: add photographs of it, or take its copies out of other classes, for which 5 more of its "
        "photographs count (`amulet data check` lists them)"
    )


@pytest.mark.parametrize("folds", [2, 3])
def test_folds_that_are_uneven_have_to_leave_enough_for_every_part(folds: int) -> None:
    """All folds but one have an object with most of the photographs and take no other: one takes all the rest."""
    together = [group("a" * 12, number) for number in range(folds - 1)]
    together += [group("a", number) for number in range(5, 10)] + [group("b", number) for number in range(10, 22)]
    folder = folder_of(sorted((each for members in together for each in members), key=lambda each: each.relative))
    rows = np.random.default_rng(5).normal(0.0, 1.0, (len(folder.photos), SIZE))

    with pytest.raises(DataTooSmall, match=rf"class a has \d .* one of {folds} folds takes 5 .* use 4 folds or more"):
        check_size(together, folder, folds=folds, seeds=(1,))
    with pytest.raises(SplitImpossible):
        out_of_fold(folder, eyes_of(rows), together, folds=folds, recipe=RECIPE, seed=1)
    check_size(together, folder, folds=4, seeds=(1,))
    out_of_fold(folder, eyes_of(rows), together, folds=4, recipe=RECIPE, seed=1)


def test_the_head_of_a_fold_learns_from_all_photographs_outside_it_of_a_network_that_stays_as_it_is() -> None:
    photos = sorted(
        (photo(f"c{number % 2}", number, look_seed=number) for number in range(40)), key=lambda p: p.relative
    )
    rows = np.random.default_rng(6).normal(0.0, 1.0, (40, SIZE))
    folder, sight = folder_of(photos), eyes_of(rows)(photos)
    groups = [(each,) for each in photos]

    still_one, tuned = (
        out_of_fold(folder, still(replace(sight, tuned=tuned)), groups, folds=4, recipe=RECIPE, seed=3)
        for tuned in (False, True)
    )

    for fold in range(4):
        outside, inside = np.flatnonzero(still_one.fold != fold), still_one.fold == fold
        head = head_on(sight.features, labels_of(folder), outside, classes=2, recipe=RECIPE)
        by_hand = head.logits(sight.features.plain[inside]).argmax(axis=1)
        assert still_one.head_predicted[inside].tolist() == by_hand.tolist()
    # Where it learnt, no head can be fitted on what the network knows already: the whole version answers.
    assert tuned.head_predicted.tolist() == tuned.probabilities.argmax(axis=1).tolist()
    assert tuned.head_predicted.tolist() != still_one.head_predicted.tolist()


def test_other_things_are_called_out_from_the_border_on_and_each_is_its_own_group_where_none_is_told() -> None:
    photos = sorted(
        (photo(f"c{number % 2}", number, look_seed=number) for number in range(40)), key=lambda p: p.relative
    )
    rng = np.random.default_rng(7)
    folder = folder_of(photos)
    rows = np.eye(SIZE)[:2][labels_of(folder)] * 6.0 + rng.normal(0.0, 1.0, (40, SIZE))
    away = np.linspace(0.0, 1.0, 60)[:, None] * np.eye(SIZE)[5] * 20.0 + np.eye(SIZE)[0] * 6.0

    found = out_of_fold(
        folder,
        eyes_of(rows, {"away": features_of(away).plain}),
        [(each,) for each in photos],
        folds=4,
        recipe=RECIPE,
        seed=3,
    )

    assert ((found.outside["away"] >= 1.0) & (found.outside["away"] < 1.5)).any()
    assert found.outside_rejected["away"].tolist() == (found.outside["away"] >= 1.0).mean(axis=0).tolist()
    assert found.outside_groups["away"].tolist() == list(range(60))


def test_twins_are_told_apart_at_the_level_above_and_its_sets_hold_the_truth_as_often_as_promised() -> None:
    """c0 and c1 look the same, c2 and c3 too: which twin is a guess, which pair is plain."""
    rng = np.random.default_rng(11)
    photos = [photo(f"c{number % 4}", number, look_seed=number) for number in range(160)]
    photos.sort(key=lambda each: each.relative)
    centres = rng.normal(0.0, 1.0, (2, SIZE))
    rows = np.stack([centres[int(each.label[1]) // 2] + rng.normal(0.0, 0.6, SIZE) for each in photos])
    pairs_of = NamedLevel(
        "pair", {"en": "Pair"}, (NamedGroup("low", {}, ("c0", "c1")), NamedGroup("high", {}, ("c2", "c3")))
    )

    found = out_of_fold(
        folder_of(photos, (pairs_of,)), eyes_of(rows), [(each,) for each in photos], folds=4, recipe=RECIPE, seed=2
    )

    group = found.labels // 2
    covered = np.mean([own in said.sets[0] for own, said in zip(group, found.above, strict=True)])
    assert covered >= RECIPE.set_coverage - 0.05
    backed = np.array([said.level == 0 for said in found.above])
    unsure = np.array([decision.verdict == words.VERDICT_UNSURE for decision in found.decisions])
    assert backed.sum() > len(photos) / 2
    assert not (backed & ~unsure).any()
    assert (found.probabilities[backed][:, :2].sum(axis=1) > 0.5).astype(int).tolist() == (1 - group[backed]).tolist()

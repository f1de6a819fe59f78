"""Doubtful labels: the rule on numbers, and planted mistakes found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tests.unit.training.data.cast import photo
from training.data.folder import Photo
from training.data.labels import doubtful, judged, out_of_fold, shape_features


def test_the_rule_on_a_case_worked_out_by_hand() -> None:
    # Bars: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.7 + 0.75) / 2 = 0.725.
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.25, 0.75]])
    labels = np.array([0, 0, 0, 1, 1])
    assert doubtful(probabilities, labels) == [(2, 1)]


def test_the_furthest_behind_comes_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.1, 0.9], [0.35, 0.65]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    planted = np.vstack([probabilities, [[0.02, 0.98]]])
    assert doubtful(planted, np.append(labels, 0))[0] == (6, 1)


@given(
    nps.arrays(np.float64, (12, 3), elements=st.floats(0.01, 1.0)),
    nps.arrays(np.int64, 12, elements=st.integers(0, 2)),
)
def test_a_suspect_always_has_a_likelier_class_than_its_own(raw: np.ndarray, labels: np.ndarray) -> None:
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    for row, better in doubtful(probabilities, labels):
        assert better != labels[row]
        assert probabilities[row, better] > probabilities[row, labels[row]]


def _clouds(count: int, *, classes: int = 3, size: int = 6) -> tuple[list[Photo], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    photos = [photo(f"class_{number % classes}", number, look_seed=0) for number in range(count)]
    features = {each.relative: np.eye(size)[int(each.label[-1])] * 4 + rng.normal(0, 0.3, size) for each in photos}
    return photos, features


def test_planted_mistakes_are_found_with_their_true_class() -> None:
    photos, features = _clouds(60)
    for index in (5, 21):
        wrong = dataclasses.replace(photos[index], label="class_1")
        assert photos[index].label != "class_1"
        photos[index] = wrong
        features[wrong.relative] *= 1.3  # typical of its true class, and more
    found = judged([(each,) for each in photos], features, seed=1).suspects
    assert found is not None
    assert {each.photo.relative for each in found} == {photos[5].relative, photos[21].relative}
    assert {each.suggested for each in found} == {"class_2", "class_0"}
    assert all(each.probability > each.given_probability for each in found)


def test_right_labels_are_not_suspected() -> None:
    photos, features = _clouds(60)
    assert judged([(each,) for each in photos], features, seed=1).suspects == ()


def test_with_one_photograph_of_a_class_nothing_can_be_said() -> None:
    photos, features = _clouds(7)
    assert judged([(each,) for each in photos[:4]], features, seed=0).suspects is None
    assert judged([], {}, seed=0).suspects is None


def test_a_copy_does_not_vouch_for_the_label_of_its_photograph() -> None:
    """Copies with one wrong label look like nothing but each other: whoever learnt from one believes the other."""
    photos, features = _clouds(60)
    groups = [(each,) for each in photos]
    for number in (60, 61):
        groups[0] = (*groups[0], copied := photo("class_1", number, look_seed=0))
        features[copied.relative] = features[photos[0].relative]
    groups[0] = tuple(dataclasses.replace(each, label="class_1") for each in groups[0])
    features |= {each.relative: np.append(features[photos[0].relative], 40.0) for each in groups[0]}
    features = {name: row if len(row) == 7 else np.append(row, 0.0) for name, row in features.items()}

    found = judged(groups, features, seed=1).suspects

    assert found is not None
    assert {each.photo.relative for each in found} == {each.relative for each in groups[0]}
    apart = judged([(each,) for members in groups for each in members], features, seed=1).suspects
    assert apart is not None
    assert not {each.photo.relative for each in apart} & {each.relative for each in groups[0]}


def test_copies_of_one_photograph_are_one_that_can_be_compared() -> None:
    photos, features = _clouds(12)
    copied = tuple(photo("rare", number, look_seed=0) for number in range(50, 54))
    features |= {each.relative: np.full(6, 9.0) for each in copied}

    assert judged([*((each,) for each in photos), copied], features, seed=0).suspects is None
    assert judged([*((each,) for each in photos), copied[:2], copied[2:]], features, seed=0).suspects is not None


def test_where_labels_are_dealt_at_random_none_is_doubted_and_the_figures_say_why() -> None:
    """Of 60 photographs 43 were named: whoever looks at them again finds nothing."""
    photos, features = _clouds(60)
    labels = [each.label for each in photos]
    for seed in range(5):
        np.random.default_rng(seed).shuffle(labels)
        dealt = [dataclasses.replace(each, label=label) for each, label in zip(photos, labels, strict=True)]
        found = judged([(each,) for each in dealt], features, seed=1)
        assert found.suspects is None
        assert found.blind
        assert "and chance alone 33%" in found.why


def test_a_tenth_of_wrong_labels_is_not_taken_for_chance() -> None:
    photos, features = _clouds(60)
    wrong = np.random.default_rng(3).permutation(60)[:6]
    for index in wrong:
        photos[index] = dataclasses.replace(photos[index], label=f"class_{(int(photos[index].label[-1]) + 1) % 3}")
    found = judged([(each,) for each in photos], features, seed=1)
    assert not found.blind
    assert found.untold == ()
    assert found.suspects is not None
    assert {each.photo.relative for each in found.suspects} == {photos[index].relative for index in wrong}


def test_between_a_class_and_its_copy_no_label_is_doubted_and_elsewhere_they_are() -> None:
    photos, features = _clouds(60)
    wrong = photos[2] = dataclasses.replace(photos[2], label="class_1")  # of class 2
    groups = []
    for each in photos:
        copied = dataclasses.replace(each, label="copy", relative=f"copy/{Path(each.relative).name}")
        features[copied.relative] = features[each.relative]
        groups.append((each, copied) if each.label == "class_0" else (each,))
    found = judged(groups, features, seed=1)
    assert found.untold == (("class_0", "copy"),)
    assert found.suspects is not None
    assert [each.photo for each in found.suspects] == [wrong]


def test_an_estimate_comes_from_the_other_folds_only() -> None:
    """A fold whose rows are all of one class cannot teach itself that class."""
    rows = np.vstack([np.zeros((4, 2)), np.ones((4, 2)), np.full((4, 2), 5.0)])
    labels = np.array([0] * 4 + [1] * 4 + [2] * 4)
    fold = np.array([0, 1] * 4 + [2] * 4)
    estimate = out_of_fold(rows, labels, fold, classes=3)
    assert np.allclose(estimate[8:, 2], 0.0)
    assert np.allclose(estimate.sum(axis=1), 1.0)


def test_shapes_tell_edges_apart_that_run_differently() -> None:
    across = np.tile((np.arange(64) // 8 % 2 * 200).astype(np.uint8), (64, 1))
    one, same, other = (
        dataclasses.replace(photo("a", number, look_seed=0), look=picture.tobytes())
        for number, picture in enumerate((across, across // 2, np.ascontiguousarray(across.T)))
    )
    features = shape_features([one, same, other])
    first, second, third = (features[each.relative] for each in (one, same, other))
    assert np.abs(first - second).max() < 0.02  # half the contrast, the same shape
    assert np.abs(first - third).mean() > 0.1

"""Heads: each name fits, all classes count the same, and only what is one linear layer reaches a graph."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier

from training.errors import SettingWrong
from training.export.fused_graph import linear
from training.fitting.head_only import LINEAR, fit_head
from training.fitting.ranges import HEADS, NEIGHBOURS
from training.fitting.recipe import recipe_of, with_settings
from training.models.heads import NeighbourHead

CLASSES = 3
COUNTS = (40, 12, 25)


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around three directions, in unequal numbers."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(CLASSES, 12))
    labels = np.repeat(np.arange(CLASSES), COUNTS)
    rows = centres[labels] + rng.normal(0.0, 0.7, (len(labels), 12))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("name", HEADS)
def test_every_head_that_a_recipe_may_name_tells_classes_apart(name: str) -> None:
    head = fit_head(*blobs(2), classes=CLASSES, recipe=with_settings(recipe_of("standard"), {"head": name}))
    rows, labels = blobs(3)
    assert (head.logits(rows).argmax(axis=1) == labels).mean() > 0.9
    assert head.logits(rows).shape == (len(rows), CLASSES)


def test_the_names_of_recipes_are_those_that_can_be_fitted() -> None:
    assert set(HEADS) == {*LINEAR, NEIGHBOURS}
    with pytest.raises(SettingWrong, match="must be lda or logistic or centroid or neighbours, not svm"):
        with_settings(recipe_of("standard"), {"head": "svm"})


def test_the_discriminant_agrees_with_scikit_learn() -> None:
    rows, labels = blobs(4)
    recipe = with_settings(recipe_of("standard"), {"head_shrinkage": 0.3})
    ours = fit_head(rows, labels, classes=CLASSES, recipe=recipe).logits(rows)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3, priors=[1 / 3] * 3)
    # scikit-learn averages the classes' covariances by their priors, and each class counts the same there.
    equal = np.concatenate([np.flatnonzero(labels == label)[:12] for label in range(CLASSES)])
    theirs.fit(rows[equal].astype(float), labels[equal])
    balanced = fit_head(rows[equal], labels[equal], classes=CLASSES, recipe=recipe).logits(rows)
    assert (balanced.argmax(axis=1) == theirs.predict(rows)).mean() > 0.97
    assert ours.std(axis=1).mean() == pytest.approx(1.0)


def test_the_centroid_is_the_class_whose_mean_points_most_the_same_way() -> None:
    rows, labels = blobs(5)
    head = fit_head(rows, labels, classes=CLASSES, recipe=with_settings(recipe_of("standard"), {"head": "centroid"}))
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(CLASSES)])
    cosine = rows @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    assert np.array_equal(head.logits(rows).argmax(axis=1), cosine.argmax(axis=1))


def test_neighbours_vote_as_scikit_learn_does_where_classes_are_of_one_size() -> None:
    rows, labels = blobs(6)
    equal = np.concatenate([np.flatnonzero(labels == label)[:12] for label in range(CLASSES)])
    recipe = with_settings(recipe_of("standard"), {"head": NEIGHBOURS, "head_neighbours": 5})
    head = fit_head(rows[equal], labels[equal], classes=CLASSES, recipe=recipe)
    theirs = KNeighborsClassifier(5, metric="cosine", weights=lambda distance: np.exp((1.0 - distance) / 0.07))
    theirs.fit(rows[equal], labels[equal])
    asked = blobs(7)[0]
    np.testing.assert_allclose(np.exp(head.logits(asked)) - 1e-3, theirs.predict_proba(asked), atol=1e-6)


def test_a_large_class_does_not_outvote_a_small_one() -> None:
    rows = np.tile(np.array([[1.0, 0.0]], np.float32), (12, 1))
    labels = np.array([0] * 10 + [1] * 2)
    head = fit_head(
        rows + np.linspace(0, 1e-3, 24).reshape(12, 2).astype(np.float32),
        labels,
        classes=2,
        recipe=with_settings(recipe_of("standard"), {"head": NEIGHBOURS, "head_neighbours": 12}),
    )
    first, second = np.exp(head.logits(np.array([[1.0, 0.0]])))[0]
    assert first == pytest.approx(second, rel=0.05)


@pytest.mark.parametrize("name", LINEAR)
def test_averaged_answers_are_the_mean_of_both_networks_log_probabilities(name: str) -> None:
    (first, labels), (second, _) = blobs(8), blobs(9)
    alone = with_settings(recipe_of("standard"), {"head": name, "backbone": "small_cnn"})
    # Levels of the second network come first, and each counts the same: one of 256 against two of 384.
    companion = {"backbone": "small_cnn", "levels": ["block1", "head"], "joined": "answers"}
    both = with_settings(alone, {"companion": companion})
    second, first = _wide(second, 384), _wide(first, 256)
    parts = (second * np.float32(np.sqrt(2 / 3)), first * np.float32(np.sqrt(1 / 3)))
    joined = fit_head(np.concatenate(parts, axis=1), labels, classes=CLASSES, recipe=both)
    logits = [fit_head(rows, labels, classes=CLASSES, recipe=alone).logits(rows) for rows in (second, first)]
    mean = np.mean([log_softmax(each, axis=1) for each in logits], axis=0)
    ours = log_softmax(joined.logits(np.concatenate(parts, axis=1)) * mean.std(axis=1).mean(), axis=1)
    np.testing.assert_allclose(ours, log_softmax(mean, axis=1), atol=1e-4)


def _wide(rows: np.ndarray, channels: int) -> np.ndarray:
    return np.pad(rows, ((0, 0), (0, channels - rows.shape[1])))


def test_what_is_no_linear_layer_is_refused_by_the_graph() -> None:
    rows, labels = blobs(2)
    head = fit_head(rows, labels, classes=CLASSES, recipe=recipe_of(NEIGHBOURS))
    assert isinstance(head, NeighbourHead)
    with pytest.raises(SettingWrong, match="is no part of a graph"):
        linear(head)

"""Scores that detectors are compared by: values by hand, second implementations, and the direction of each."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from tests.unit.training.ood.cast import CLASSES, SIZE, world
from training.models.heads import LinearHead
from training.ood import k_nearest, logits, relative_mahalanobis, vim


def test_scores_of_logits_by_hand() -> None:
    rows = np.array([[math.log(2.0), math.log(3.0)], [0.0, 0.0]])
    assert logits.energy(rows) == pytest.approx([-math.log(5.0), -math.log(2.0)])
    assert logits.max_logit(rows) == pytest.approx([-math.log(3.0), 0.0])
    assert logits.max_probability(rows) == pytest.approx([0.4, 0.5])


def test_the_kth_nearest_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    rows, asked = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in rng.normal(size=(2, 30, 6)))
    theirs = NearestNeighbors(n_neighbors=4).fit(rows).kneighbors(asked)[0][:, -1]
    np.testing.assert_allclose(k_nearest.KNearest(rows.astype(np.float32), 4).score(asked), theirs, atol=1e-5)
    assert k_nearest.KNearest(rows[:2].astype(np.float32), 5).score(asked).shape == (30,)


def test_the_relative_distance_is_that_to_a_class_less_that_to_everything() -> None:
    here = world()
    found = relative_mahalanobis.fit(here.detector(), here.embedding, shrinkage=1e-9)
    theirs = EmpiricalCovariance().fit(here.embedding).mahalanobis(here.embedding[:5])
    expected = here.detector().score(here.embedding[:5]) ** 2 - theirs
    np.testing.assert_allclose(found.score(here.embedding[:5]), expected, rtol=1e-4)
    between = (here.centres[0] + here.centres[1]) / 2.0
    assert found.score(between[None])[0] > found.score(here.centres[:2]).max()


def test_a_virtual_logit_sees_what_lies_outside_the_directions_of_the_others() -> None:
    rng = np.random.default_rng(1)
    flat = np.zeros((60, SIZE))
    flat[:, :3] = rng.normal(size=(60, 3))
    weight = np.zeros((CLASSES, SIZE), np.float32)
    weight[:, :3] = np.eye(3)
    head = LinearHead(weight, np.zeros(CLASSES, np.float32))
    rows = flat + rng.normal(0.0, 0.01, flat.shape)
    found = vim.fit(rows, head, temperature=1.0, share=0.99)
    assert found.principal.shape == (SIZE, 3)
    outside = flat[:5] + 0.5 * np.eye(SIZE)[10]
    assert found.residual(outside) == pytest.approx(np.full(5, 0.5), abs=0.02)
    # On average over the rows, the virtual logit is as large as the largest of the others.
    largest = head.logits(rows).max(axis=1).mean()
    assert found.scale * found.residual(rows).mean() == pytest.approx(largest)
    assert found.score(outside).min() > found.score(rows).max()

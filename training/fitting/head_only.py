"""The head on the backbone's features: one function for each name that a recipe may give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from training.blocks import in_blocks
from training.fitting.companion import ANSWERS, Companion
from training.fitting.ranges import NEIGHBOURS
from training.fitting.recipe import Recipe
from training.models.backbones import spec_of
from training.models.heads import Head, LinearHead, NeighbourHead
from training.statistics.covariance import WithinClass, within_class


@dataclass(frozen=True, slots=True)
class _Rows:
    """What a linear head is fitted on."""

    embedding: NDArray[np.floating]  # [n, size]
    labels: NDArray[np.integer]  # [n]
    classes: int
    statistics: WithinClass


_Plane = tuple[NDArray[np.float64], NDArray[np.float64]]  # [classes, size], [classes]


def fit_head(
    embedding: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    classes: int,
    recipe: Recipe,
    statistics: WithinClass | None = None,
) -> Head:
    """Fit on rows [n, size] with labels [n]; all classes count the same, whatever their number of rows.

    statistics: of these rows with the recipe's shrinkage, where they are known already.
    The scores of a linear head are scaled so that they spread by 1 over the classes, on average over
    the rows: a temperature near 1 then means ordinary confidence.
    """
    if recipe.head == NEIGHBOURS:
        return _neighbours(embedding, labels, classes, recipe.head_neighbours)
    if recipe.companion is not None and recipe.companion.joined == ANSWERS:
        return _spread_by_one(*_averaged(embedding, labels, classes, recipe, recipe.companion), embedding)
    if statistics is None:
        statistics = within_class(embedding, labels, classes=classes, shrinkage=recipe.head_shrinkage)
    weight, bias = LINEAR[recipe.head](_Rows(embedding, labels, classes, statistics), recipe)
    return _spread_by_one(weight, bias, embedding)


def _spread_by_one(
    weight: NDArray[np.floating], bias: NDArray[np.floating], embedding: NDArray[np.floating]
) -> LinearHead:
    # What is common to all classes changes no probability, but costs digits in float32.
    weight, bias = weight - weight.mean(axis=0), bias - bias.mean()
    spread = float(
        in_blocks(lambda rows: (np.asarray(rows, np.float64) @ weight.T + bias).std(axis=1), embedding).mean()
    )
    return LinearHead((weight / spread).astype(np.float32), (bias / spread).astype(np.float32))


def _averaged(
    embedding: NDArray[np.floating],
    labels: NDArray[np.integer],
    classes: int,
    recipe: Recipe,
    companion: Companion,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """A head for each network, as one plane over the levels of both, in the order of `Pair`.

    The mean of two logarithms of softmax is the mean of the scores less a number that is the same for all classes,
    so that it is again a linear layer.
    """
    channels = spec_of(companion.backbone).levels
    cut = sum(channels[level] for level in companion.levels)
    counts = (len(companion.levels), len(recipe.levels))
    alone = replace(recipe, companion=None)
    weights, biases = [], []
    for part, count in zip((embedding[:, :cut], embedding[:, cut:]), counts, strict=True):
        scale = np.float32(np.sqrt(sum(counts) / count))  # of length 1 again, as a network alone is seen
        head = fit_head(part * scale, labels, classes=classes, recipe=alone)
        assert isinstance(head, LinearHead)
        weights.append(head.weight * scale / 2.0)
        biases.append(head.bias / 2.0)
    return np.concatenate(weights, axis=1), biases[0] + biases[1]


def _discriminant(rows: _Rows, _recipe: Recipe) -> _Plane:
    """Linear discriminant functions with equal priors (Hastie, Tibshirani, Friedman 2009, eq. 4.10)."""
    statistics = rows.statistics
    weight = statistics.covariance.solved(statistics.means)
    return weight, -0.5 * np.einsum("cd,cd->c", weight, statistics.means)


def _logistic(rows: _Rows, recipe: Recipe) -> _Plane:
    model = LogisticRegression(C=recipe.head_inverse_penalty, class_weight="balanced", max_iter=2000)
    model.fit(np.asarray(rows.embedding, np.float64), rows.labels)
    weight, bias = model.coef_, model.intercept_
    if rows.classes == 2:  # scikit-learn keeps one row for two classes
        weight, bias = np.concatenate([-weight, weight]) / 2.0, np.concatenate([-bias, bias]) / 2.0
    return np.asarray(weight), np.asarray(bias)


def _centroid(rows: _Rows, _recipe: Recipe) -> _Plane:
    """The cosine to each class's mean (Snell, Swersky and Zemel 2017, with the cosine as similarity)."""
    means = rows.statistics.means
    return means / np.linalg.norm(means, axis=1, keepdims=True), np.zeros(len(means))


def _neighbours(embedding: NDArray[np.floating], labels: NDArray[np.integer], classes: int, k: int) -> NeighbourHead:
    counts = np.bincount(labels, minlength=classes)
    own = np.asarray(labels, np.intp)
    return NeighbourHead(np.asarray(embedding, np.float32), own, 1.0 / counts[own], classes, k)


# The names that a recipe may give, beside NEIGHBOURS: those that are one linear layer, and so a part of the graph.
LINEAR: Final[Mapping[str, Callable[[_Rows, Recipe], _Plane]]] = MappingProxyType(
    {"lda": _discriminant, "logistic": _logistic, "centroid": _centroid}
)

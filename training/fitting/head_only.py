"""The head on frozen features: shrinkage discriminant analysis, or logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from training.fitting.recipe import Recipe
from training.models.heads import LinearHead


@dataclass(frozen=True, slots=True)
class WithinClass:
    """Class means and the covariance around them, pulled towards a multiple of the identity.

    covariance = (1 - shrinkage) S + shrinkage * mean(diag S) * I (Ledoit and Wolf 2004, eq. 2,
    with a given share instead of the estimated one).
    """

    means: NDArray[np.float64]  # [classes, size]
    covariance: NDArray[np.float64]  # [size, size], positive definite


def within_class(
    embedding: NDArray[np.floating], labels: NDArray[np.integer], *, classes: int, shrinkage: float
) -> WithinClass:
    """embedding [n, size], labels [n] in 0..classes-1, each class at least once; 0 < shrinkage <= 1.

    Raises ValueError where a class has no row or nothing varies.
    """
    rows = np.asarray(embedding, np.float64)
    counts = np.bincount(labels, minlength=classes)
    if len(counts) != classes or not counts.all():
        raise ValueError("every class needs at least one photograph")
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(classes)])
    spread = rows - means[labels]
    scatter = spread.T @ spread / len(rows)
    isotropic = float(np.trace(scatter)) / len(scatter)
    if not isotropic > 0.0:
        raise ValueError("all photographs of each class look the same: nothing to learn a spread from")
    covariance = (1.0 - shrinkage) * scatter
    covariance[np.diag_indices_from(covariance)] += shrinkage * isotropic
    return WithinClass(means, covariance)


def fit_head(
    embedding: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    classes: int,
    recipe: Recipe,
    statistics: WithinClass | None = None,
) -> LinearHead:
    """Fit on rows [n, size] with labels [n]; all classes count the same, whatever their number of rows.

    statistics: of these rows with the recipe's shrinkage, where they are known already.
    The scores are scaled so that they spread by 1 over the classes, on average over the rows:
    a temperature near 1 then means ordinary confidence.
    """
    if recipe.head == "logistic":
        weight, bias = _logistic(embedding, labels, classes, recipe.head_inverse_penalty)
    else:
        if statistics is None:
            statistics = within_class(embedding, labels, classes=classes, shrinkage=recipe.head_shrinkage)
        weight, bias = _discriminant(statistics)
    # What is common to all classes changes no probability, but costs digits in float32.
    weight, bias = weight - weight.mean(axis=0), bias - bias.mean()
    scores = np.asarray(embedding, np.float64) @ weight.T + bias
    spread = float(scores.std(axis=1).mean())
    return LinearHead((weight / spread).astype(np.float32), (bias / spread).astype(np.float32))


def _discriminant(statistics: WithinClass) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Linear discriminant functions with equal priors (Hastie, Tibshirani, Friedman 2009, eq. 4.10)."""
    weight = scipy.linalg.solve(statistics.covariance, statistics.means.T, assume_a="pos").T
    return weight, -0.5 * np.einsum("cd,cd->c", weight, statistics.means)


def _logistic(
    embedding: NDArray[np.floating], labels: NDArray[np.integer], classes: int, inverse_penalty: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    model = LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=2000)
    model.fit(np.asarray(embedding, np.float64), labels)
    weight, bias = model.coef_, model.intercept_
    if classes == 2:  # scikit-learn keeps one row for two classes
        weight, bias = np.concatenate([-weight, weight]) / 2.0, np.concatenate([-bias, bias]) / 2.0
    return np.asarray(weight), np.asarray(bias)

"""A covariance by the smaller of two matrices: what heads solve with, and what distances are measured in.

A thousand photographs and views of them span a thousand directions of the 1,584 that an embedding has; along all
others nothing varies, and shrinkage makes them alike. Inverse and largest directions are therefore found from the
inner products of rows, or of columns, whichever are fewer. A head needs the inverse alone, which a Cholesky factor
gives in a tenth of the time of all directions.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from training.blocks import places

# Of the largest variance: below, a direction is what rounding left, and shrinkage decides along it anyway.
_VARIANCE_MIN: Final = 1e-12
_SHRINKAGE_MIN: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Directions:
    """Variances along some directions."""

    vectors: NDArray[np.float64]  # [size, kept], orthonormal
    variances: NDArray[np.float64]  # [kept], smallest first


@dataclass(frozen=True, slots=True)
class Covariance:
    """share * S + rest * I, positive definite where `rest` is above 0."""

    products: NDArray[
        np.float64
    ]  # S [size, size]; where rows are fewer, their inner products, which have its variances
    rows: NDArray[np.float64] | None  # [n, size] with S = rows' rows, where they are fewer than columns
    share: float
    rest: float
    size: int

    @classmethod
    def around(
        cls,
        embedding: NDArray[np.floating],
        labels: NDArray[np.integer],
        means: NDArray[np.float64],
        *,
        shrinkage: float | None,
    ) -> Self:
        """Of rows [n, size] around the mean of their label [labels, size], pulled towards a multiple of the identity.

        (1 - shrinkage) S + shrinkage * mean(diag S) * I (Ledoit and Wolf 2004, eq. 2); 0 < shrinkage <= 1, or None:
        the share that they estimate (their section 3.3), which takes each row for an observation of its own.
        Raises ValueError where nothing varies.
        """
        count, size = embedding.shape

        def residuals(place: slice) -> NDArray[np.float64]:
            return np.asarray(np.asarray(embedding[place], np.float64) - means[labels[place]])

        rows: NDArray[np.float64] | None = None
        fourth = 0.0  # sum of the rows' lengths to the fourth power
        if count < size:
            rows = residuals(slice(None))
            fourth = _fourth(rows)
            rows /= np.sqrt(count)
            products = rows @ rows.T
        else:  # a block at a time: rows may be many
            products = np.zeros((size, size))
            for place in places(count):
                own = residuals(place)
                fourth += _fourth(own)
                products += own.T @ own
            products /= count
        isotropic = float(np.trace(products)) / size
        if not isotropic > 0.0:
            raise ValueError("all photographs of each class look the same: nothing to learn a spread from")
        if shrinkage is None:
            shrinkage = _estimated(products, fourth, count=count, size=size)
        return cls(products, rows, 1.0 - shrinkage, shrinkage * isotropic, size)

    @property
    def trace(self) -> float:
        return self.share * float(np.trace(self.products)) + self.size * self.rest

    def matrix(self) -> NDArray[np.float64]:
        """[size, size]."""
        scatter = self.products if self.rows is None else self.rows.T @ self.rows
        return np.asarray(self.share * scatter + self.rest * np.eye(self.size))

    def solved(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """rows [n, size] -> [n, size]: each row times the inverse. Needs `rest` above 0."""
        inner = self.share * self.products
        inner[np.diag_indices_from(inner)] += self.rest
        factor = scipy.linalg.cho_factor(inner, overwrite_a=True)
        if self.rows is None:
            return np.asarray(scipy.linalg.cho_solve(factor, np.asarray(rows, np.float64).T).T)
        # The inverse of share * X'X + rest * I by that of share * XX' + rest * I (Woodbury).
        along = scipy.linalg.cho_solve(factor, self.rows @ rows.T)
        return np.asarray((rows - self.share * (self.rows.T @ along).T) / self.rest)

    def largest(self, count: int) -> Directions:
        """The directions along which it is largest, at most so many, and none along which only rounding varies."""
        variances, vectors = _largest(self.products, min(count, len(self.products)))
        if self.rows is not None:
            told = variances > _VARIANCE_MIN * variances[-1]
            variances, vectors = variances[told], vectors[:, told]
            vectors = (self.rows.T @ vectors) / np.sqrt(variances)
        return Directions(vectors, self.share * np.maximum(variances, 0.0) + self.rest)


@dataclass(frozen=True, slots=True)
class WithinClass:
    """Class means, and how photographs differ around them."""

    means: NDArray[np.float64]  # [classes, size]
    covariance: Covariance


def within_class(
    embedding: NDArray[np.floating], labels: NDArray[np.integer], *, classes: int, shrinkage: float | None
) -> WithinClass:
    """embedding [n, size], labels [n] in 0..classes-1, each class at least once; shrinkage as of
    `Covariance.around`.

    Raises ValueError where a class has no row or nothing varies.
    """
    counts = np.bincount(labels, minlength=classes)
    if len(counts) != classes or not counts.all():
        raise ValueError("every class needs at least one photograph")
    means = np.stack([embedding[labels == label].mean(axis=0, dtype=np.float64) for label in range(classes)])
    return WithinClass(means, Covariance.around(embedding, labels, means, shrinkage=shrinkage))


def _fourth(rows: NDArray[np.float64]) -> float:
    return float((np.einsum("ij,ij->i", rows, rows) ** 2).sum())


def _estimated(products: NDArray[np.float64], fourth: float, *, count: int, size: int) -> float:
    """Ledoit and Wolf's share (2004, section 3.3), of the inner products of rows as good as of columns."""
    squared = float((products**2).sum())  # of S, by Frobenius: both kinds of inner products have its variances
    spread = squared - float(np.trace(products)) ** 2 / size  # how far S is from the multiple of the identity
    error = fourth / count**2 - squared / count  # how far S is from the truth, as its rows tell
    # At 0 the covariance of fewer rows than columns has no inverse; at 1 all directions are alike, as where S has one.
    return min(max(error / spread, _SHRINKAGE_MIN), 1.0) if spread > 0.0 else 1.0


def _largest(matrix: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest eigenvalues, smallest first, and their vectors in columns."""
    if count < len(matrix):
        # In six tenths of the time of all of them. It has failed where thousands of variances are equal.
        with contextlib.suppress(scipy.linalg.LinAlgError):
            values, vectors = scipy.linalg.eigh(
                matrix, driver="evr", subset_by_index=(len(matrix) - count, len(matrix) - 1)
            )
            return values, vectors
    values, vectors = scipy.linalg.eigh(matrix, driver="evd")
    return values[-count:], vectors[:, -count:]

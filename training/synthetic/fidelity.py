"""How far synthetic photographs are from real ones, as features of a network see both: pure functions on arrays.

Features are float [n, size], one row a photograph, from whichever network the caller names: figures of
different networks cannot be compared, and limits known for Inception's hold for no other.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

NEIGHBOURS: Final = 3  # of the balls in `precision_recall`, as in the paper
Rows = NDArray[np.floating]


def frechet_distance(real: Rows, synthetic: Rows) -> float:
    """FID: |m - w|^2 + tr(C + D - 2 (C D)^(1/2)), at least 0; lower is nearer (Heusel et al. 2017, equation 6).

    m, C and w, D: mean and covariance (with n - 1) of either set, each at least two rows. With
    C = A'A and D = B'B the trace of the root is the sum of the singular values of A B': exact where there are fewer
    photographs than features, and the covariances have no root that a computer finds.
    The expectation falls with the number of rows: compare only figures of the same numbers (Chong and Forsyth 2020).
    """
    _check(real, synthetic)
    first, second = _root(real), _root(synthetic)
    overlap = scipy.linalg.svdvals(first @ second.T).sum()
    apart = ((real.mean(axis=0, dtype=np.float64) - synthetic.mean(axis=0, dtype=np.float64)) ** 2).sum()
    return max(float(apart + (first**2).sum() + (second**2).sum() - 2.0 * overlap), 0.0)


def kernel_distance(real: Rows, synthetic: Rows) -> float:
    """KID: the unbiased squared MMD with k(x, y) = (x'y / size + 1)^3; 0 in expectation for two sets of one kind.

    Binkowski et al. 2018, equation 4 and section 4, over all rows instead of subsets. May be below 0.
    """
    _check(real, synthetic)
    n, m = len(real), len(synthetic)
    own, other, across = _kernel(real, real), _kernel(synthetic, synthetic), _kernel(real, synthetic)
    within = (own.sum() - np.trace(own)) / (n * (n - 1)) + (other.sum() - np.trace(other)) / (m * (m - 1))
    return float(within - 2.0 * across.mean())


def precision_recall(real: Rows, synthetic: Rows, *, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Shares in 0..1 (Kynkaanniemi et al. 2019, equations 1 and 2).

    Precision: of the synthetic photographs, those within reach of a real one. Recall: of the real ones, those within
    reach of a synthetic one. Reach: as far as the `neighbours`-th nearest of the same set, which needs one row more.
    """
    if min(len(real), len(synthetic)) <= neighbours:
        raise ValueError(f"needs more than {neighbours} photographs of each set")
    apart = cdist(real, synthetic)
    return (
        float((apart <= _reach(real, neighbours)[:, None]).any(axis=0).mean()),
        float((apart <= _reach(synthetic, neighbours)[None]).any(axis=1).mean()),
    )


def copies(real: Rows, groups: NDArray[np.integer], synthetic: Rows, *, quantile: float = 0.05) -> NDArray[np.bool_]:
    """Which synthetic photographs [m] lie nearer to a real one than all but a share of the real ones lie to another.

    groups [n]: copies of one real photograph share a number and are not compared. Of photographs of the same
    kind about the share `quantile` is named by luck; of a generator that repeats what it learnt from, most.
    """
    apart = cdist(real, real)
    apart[groups[:, None] == groups[None]] = np.inf
    nearest = apart.min(axis=1)
    if not np.isfinite(nearest).all():
        raise ValueError("needs at least two photographs that are no copies of each other")
    return np.asarray(cdist(real, synthetic).min(axis=0) < np.quantile(nearest, quantile))


def _root(rows: Rows) -> NDArray[np.float64]:
    """A [min(n, size), size] with A'A the covariance."""
    centred = (rows - rows.mean(axis=0, dtype=np.float64)) / np.sqrt(len(rows) - 1)
    if len(rows) <= rows.shape[1]:
        return np.asarray(centred)
    return np.asarray(scipy.linalg.qr(centred, mode="economic")[1])


def _kernel(x: Rows, y: Rows) -> NDArray[np.float64]:
    return np.asarray((np.asarray(x, np.float64) @ np.asarray(y, np.float64).T / x.shape[1] + 1.0) ** 3)


def _reach(rows: Rows, neighbours: int) -> NDArray[np.float64]:
    """[n]; the first of a row's neighbours is itself."""
    return np.asarray(np.partition(cdist(rows, rows), neighbours, axis=1)[:, neighbours])


def _check(real: Rows, synthetic: Rows) -> None:
    if min(len(real), len(synthetic)) < 2 or real.shape[1] != synthetic.shape[1]:
        raise ValueError("needs at least two rows of each set, and the same features")

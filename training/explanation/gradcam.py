"""Grad-CAM and Grad-CAM++ without a backward pass.

Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) weighs each map A_k of the last convolution
by the average over its cells of d score / d A_k, sums and keeps what is above zero. Here the
score of class c is w_c . e + b_c, where the part of e that comes from A is g / |g| / sqrt(L),
g_k the average of A_k over Z cells and L the number of levels. So, with u = g / |g|,

    d score / d g    = (w_c - (w_c . u) u) / (|g| sqrt(L))      the normalisation takes the radial part away
    d score / d A_kij = (d score / d g)_k / Z                   the same in every cell

and the map is relu(sum_k of that times A_k). Levels that leave the network earlier do not
depend on A, and the temperature only scales: neither changes the map's shape.

One consequence: before the relu the cells sum to zero, because the score does not change
when g is scaled. The map shows where the photograph speaks for the class more than elsewhere.

Grad-CAM++ (Chattopadhay et al. 2018) weighs each cell's gradient that is above zero by

    alpha_kij = D^2 / (2 D^2 + D^3 sum_ab A_kab)                 equation 19, D = d score / d A_kij

Here D = D_k is the same in every cell, so that alpha is, and with S_k = sum_ab A_kab = Z g_k

    weight of map k = Z relu(D_k) / (2 + D_k S_k)                equation 15

where Z only scales. The denominator is 2 and more for maps that are not negative; an
activation that dips below zero could bring it near zero, so it is kept above ORDER_MIN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.models.heads import LENGTH_MIN, LinearHead

ORDER_MIN: Final = 1e-3


def heat_map(
    last_map: NDArray[np.floating], head: LinearHead, target: NDArray[np.integer], *, pooled: Sequence[int]
) -> NDArray[np.float64]:
    """The reference for the graph's `heatmap`: float64 [n, rows, columns], at least 0.

    last_map [n, channels, rows, columns] of the last convolution; target [n]: a class index each.
    pooled: channels of each level, the last being last_map's.
    """
    maps = np.asarray(last_map, np.float64)
    cells = maps.shape[2] * maps.shape[3]
    means = maps.mean(axis=(2, 3))
    lengths = np.maximum(np.linalg.norm(means, axis=1, keepdims=True), LENGTH_MIN)
    units = means / lengths
    rows = head.weight[target, -pooled[-1] :].astype(np.float64)
    across = rows - (rows * units).sum(axis=1, keepdims=True) * units
    weights = across / (lengths * np.sqrt(len(pooled)) * cells)
    return np.asarray(np.maximum(np.einsum("nk,nkij->nij", weights, maps), 0.0))

"""What the head's own scores say: nothing is fitted. Compared with the others by `amulet detectors`.

Each rises the further out a photograph is. logits [n, classes], divided by the temperature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

ENERGY = "energy"
MAX_LOGIT = "max_logit"
MAX_PROBABILITY = "max_probability"


def energy(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """-log of the sum of exponentials (Liu et al. 2020, eq. 4, with T = 1) -> [n]."""
    return np.asarray(-logsumexp(np.asarray(logits, np.float64), axis=1))


def max_logit(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Less the largest score (Hendrycks et al. 2022, section 3) -> [n]."""
    return np.asarray(-np.asarray(logits, np.float64).max(axis=1))


def max_probability(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 less the largest probability (Hendrycks and Gimpel 2017, section 2) -> [n], 0 to 1."""
    return np.asarray(1.0 - softmax(np.asarray(logits, np.float64), axis=1).max(axis=1))

"""Distance to the k-th nearest training photograph (Sun et al. 2022, section 3), on the embedding as it is.

Compared with the others by `amulet detectors`; the graph holds the angle in whitened coordinates
instead (decision 0012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAME = "k_nearest"


@dataclass(frozen=True, slots=True)
class KNearest:
    """Of rows of length 1."""

    rows: NDArray[np.float32]  # [n, size]
    k: int

    def score(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [m, size], of length 1 -> [m], 0 to 2; higher is further out."""
        cosine = np.asarray(embedding, np.float64) @ self.rows.T.astype(np.float64)
        k = min(self.k, len(self.rows))
        nearest = np.partition(cosine, len(self.rows) - k, axis=1)[:, len(self.rows) - k]
        return np.asarray(np.sqrt(np.maximum(2.0 - 2.0 * nearest, 0.0)))

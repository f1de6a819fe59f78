"""Embeddings of three classes that differ, and of things that are none of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.ood import mahalanobis
from training.ood.mahalanobis import Mahalanobis
from training.statistics.covariance import within_class

SIZE = 24
CLASSES = 3
PHOTOS = 8  # of each class
VIEWS = 4  # of each photograph, itself included


@dataclass(frozen=True, slots=True)
class World:
    """Rows are views of photographs."""

    embedding: NDArray[np.float64]  # [n, size]
    labels: NDArray[np.intp]
    photos: NDArray[np.intp]
    centres: NDArray[np.float64]  # [classes, size]

    def detector(self) -> Mahalanobis:
        return mahalanobis.fit(within_class(self.embedding, self.labels, classes=CLASSES, shrinkage=0.2))


def world(seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    # Directions differ in how much photographs of one class vary along them, as features of a network do.
    spread = np.geomspace(1.0, 0.05, SIZE)
    centres = rng.normal(0.0, 1.5, (CLASSES, SIZE)) * spread
    labels = np.repeat(np.arange(CLASSES), PHOTOS * VIEWS)
    photos = np.repeat(np.arange(CLASSES * PHOTOS), VIEWS)
    own = rng.normal(0.0, 0.5, (CLASSES * PHOTOS, SIZE))[photos]
    camera = rng.normal(0.0, 0.3, (len(labels), SIZE))
    return World(centres[labels] + (own + camera) * spread, labels, photos, centres)

"""A whole version: what it says of photographs that it cannot be fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from training.errors import DataTooSmall
from training.fitting.features import Features
from training.fitting.recipe import recipe_of
from training.fitting.version import Part, scored_inside


def test_copies_under_two_classes_that_leave_no_photograph_of_one_end_in_a_sentence() -> None:
    """The second group holds a copy of the other class and goes where that class's first one goes."""
    embedding = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    part = Part(
        Features(embedding, np.zeros((5, 0, 8), np.float32)), np.array([1, 0, 1, 0, 0]), np.array([0, 1, 1, 2, 3])
    )
    with pytest.raises(DataTooSmall, match=r"without a part of the photographs: .*near-duplicates under two classes"):
        scored_inside(part, part.rows(), classes=2, recipe=recipe_of("standard"))

"""A whole version: what it says of photographs that it cannot be fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from training.errors import DataTooSmall
from training.fitting.features import Features
from training.fitting.recipe import recipe_of, with_settings
from training.fitting.version import Part, fit_version, scored_inside


def test_copies_under_two_classes_that_leave_no_photograph_of_one_end_in_a_sentence() -> None:
    """The second group holds a copy of the other class and goes where that class's first one goes."""
    embedding = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    part = Part(
        Features(embedding, np.zeros((5, 0, 8), np.float32)), np.array([1, 0, 1, 0, 0]), np.array([0, 1, 1, 2, 3])
    )
    with pytest.raises(DataTooSmall, match=r"without a part of the photographs: .*near-duplicates under two classes"):
        scored_inside(part, part.rows(), classes=2, recipe=recipe_of("standard"))


def test_views_of_an_object_make_nobody_surer_than_the_object_does() -> None:
    """Each photograph given five times: what was learnt is the same, and so is how sure it may be."""
    rng = np.random.default_rng(1)
    recipe = with_settings(recipe_of("standard"), {"forest_trees": 5})

    def part(objects: int, copies: int) -> Part:
        embedding = once[objects].repeat(copies, axis=0)
        groups = np.arange(objects).repeat(copies)
        return Part(Features(embedding, np.zeros((len(groups), 0, 8), np.float32)), groups % 3, groups)

    once = {
        objects: (np.eye(8)[np.arange(objects) % 3] + 0.45 * rng.normal(size=(objects, 8))).astype(np.float32)
        for objects in (36, 12, 13)
    }
    alone, copied = (
        fit_version(
            *(part(objects, copies) for objects in once), np.zeros((0, 8)), classes=3, recipe=recipe, seed=0
        ).trial
        for copies in (1, 5)
    )
    assert copied.temperature == pytest.approx(alone.temperature, rel=1e-3)
    assert (copied.nll, copied.ece) == (pytest.approx(alone.nll, rel=1e-3), pytest.approx(alone.ece, rel=1e-3))

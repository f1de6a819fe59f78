"""Several photographs of one object: fused as the gateway does, counted by hand, never guessed from numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.fusion import ViewOutput, fuse
from tests.unit.training.evaluation.cast import write_colours
from training.evaluation import report, subjects
from training.evaluation.evaluate import evaluate
from training.evaluation.views import fused, multi_view
from training.served.answers import GraphModel


@st.composite
def several(draw: st.DrawFn) -> NDArray[np.float64]:
    views, classes = draw(st.integers(2, 8)), draw(st.integers(2, 6))
    row = st.lists(st.integers(0, 20), min_size=classes, max_size=classes)
    weights = draw(st.lists(row, min_size=views, max_size=views))
    table = np.array(weights, np.float64) + np.eye(classes)[0] * 0.5  # no row of zeros alone
    return np.asarray(table / table.sum(axis=1, keepdims=True))


@given(several())
def test_views_are_fused_as_the_gateway_fuses_them(probabilities: NDArray[np.float64]) -> None:
    theirs = fuse([ViewOutput(row, {}) for row in probabilities], [1.0] * len(probabilities))
    assert fused(probabilities) == pytest.approx(theirs.probabilities, abs=1e-12)


def test_objects_are_counted_by_hand() -> None:
    probabilities = np.array(
        [
            [0.9, 0.1],  # a/1: front right,
            [0.4, 0.6],  # back wrong; together right
            [0.4, 0.6],  # a/2: both wrong
            [0.3, 0.7],
            [0.2, 0.8],  # b/1: right and right
            [0.1, 0.9],
            [0.9, 0.1],  # alone, and one whose name does not say: not counted
            [0.9, 0.1],
        ]
    )
    objects = ["a/1", "a/1", "a/2", "a/2", "b/1", "b/1", "b/2", ""]
    found = multi_view(objects, probabilities, np.array([0, 0, 0, 0, 1, 1, 1, 1]), seed=0)
    assert found is not None
    assert (found.objects, found.photos) == (3, 6)
    assert found.single.value == pytest.approx((0.5 + 0.0 + 1.0) / 3)
    assert found.fused.value == pytest.approx(2 / 3)
    assert found.gain.value == pytest.approx(0.5 / 3)
    assert found.gain.low <= found.gain.value <= found.gain.high


def test_without_an_object_of_several_photographs_nothing_is_said() -> None:
    assert multi_view(["a/1", "a/2", "", ""], np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), seed=0) is None


def test_the_evaluation_reports_objects_that_the_names_tell(tmp_path: Path) -> None:
    colours = write_colours(tmp_path)
    model = GraphModel.open(colours.run, threads=1)
    plain = evaluate(model, colours.data, [])
    assert plain.document()["multi_view"] is None
    assert "Several photographs of one object" not in report.page(subjects.of_evaluation(model, plain))
    for label in ("red", "green"):
        for number, file in enumerate(sorted((colours.data / label).iterdir())):
            side = file.name.partition("_")[0]
            file.rename(file.with_name(f"{side}_obj{number // 2}_{number}{file.suffix}"))

    found = evaluate(model, colours.data, [])

    document = found.document()["multi_view"]
    assert (document["objects"], document["photos"]) == (6, 12)
    assert document["fused"] == document["single"] == 1.0
    assert "Several photographs of one object" in report.page(subjects.of_evaluation(model, found))

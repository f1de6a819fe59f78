"""Sketches say what numpy says, merge as if they had been one, and survive the text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import reference
from model_store.errors import ReferenceInvalid
from model_store.reference import Sketch

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(finite, min_size=1, max_size=200))
def test_a_small_sketch_is_exact_and_its_bytes_depend_on_the_values_alone(values: list[float]) -> None:
    sketch = Sketch(values)
    assert sketch.rank_error_ratio == 0.0
    assert sketch.count == len(values)
    assert sketch.range == (min(values), max(values))
    assert sketch.ranks(values) == tuple(float(np.mean(np.array(values) <= value)) for value in values)
    assert sketch.to_bytes() == Sketch(reversed(values)).to_bytes()


def test_a_large_sketch_keeps_its_stated_error() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=200_000)
    sketch = Sketch(values.tolist())
    ranks = np.linspace(0.01, 0.99, 99)
    found = np.searchsorted(np.sort(values), sketch.quantiles(ranks.tolist())) / len(values)
    assert 0 < sketch.rank_error_ratio < 0.001
    assert np.abs(found - ranks).max() <= sketch.rank_error_ratio
    assert len(sketch.to_bytes()) < 120_000


def test_merged_sketches_are_the_sketch_of_both() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 30_000), rng.normal(3, 1, 10_000)
    merged = Sketch(first.tolist()).merged(Sketch(second.tolist()))
    both = np.sort(np.concatenate([first, second]))
    ranks = [0.05, 0.25, 0.5, 0.75, 0.95]
    found = np.searchsorted(both, merged.quantiles(ranks)) / len(both)
    assert merged.count == 40_000
    assert np.abs(found - ranks).max() <= merged.rank_error_ratio


def test_merging_leaves_both_parts_as_they_were() -> None:
    first, second = Sketch([1.0]), Sketch([2.0])
    first.merged(second)
    assert (first.count, second.count) == (1, 1)


def test_a_reference_survives_its_text_and_merges_by_name() -> None:
    text = reference.build({"confidence": [0.5, 0.9], "sharpness_var": [100.0]}, {"class": {"coin": 2, "ใบไม้": 1}})
    known = reference.parse(text)
    other = reference.parse(reference.build({"confidence": [0.1], "brightness": [0.4]}, {"class": {"coin": 3}}))
    merged = known.merged(other)
    assert known.render() == text
    assert merged.samples["confidence"].range == (0.1, 0.9)
    assert set(merged.samples) == {"confidence", "sharpness_var", "brightness"}
    assert merged.counts["class"] == {"coin": 5, "ใบไม้": 1}
    assert known.counts["class"] == {"coin": 2, "ใบไม้": 1}


def test_the_text_does_not_depend_on_the_order_of_what_went_in() -> None:
    first = reference.build({"a": [1, 2, 3], "b": [4]}, {"c": {"x": 1, "y": 2}})
    assert first == reference.build({"b": [4], "a": [3, 1, 2]}, {"c": {"y": 2, "x": 1}})


@pytest.mark.parametrize(
    ("samples", "counts", "complaint"),
    [
        ({"confidence": []}, {}, "no values"),
        ({"confidence": [float("nan")]}, {}, "nan"),
        ({"confidence": [float("inf")]}, {}, "inf"),
        ({"Confidence": [1.0]}, {}, "not a name"),
        ({}, {"class": {"coin": -1}}, "-1"),
    ],
)
def test_what_no_distribution_can_be_made_of_is_refused(
    samples: dict[str, list[float]], counts: dict[str, dict[str, int]], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        reference.build(samples, counts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"schema": 1}',
        '{"schema": 2, "samples": {}, "counts": {}}',
        '{"schema": true, "samples": {}, "counts": {}}',
        '{"schema": 1.0, "samples": {}, "counts": {}}',
        '{"schema": 1, "samples": [], "counts": {}}',
        '{"schema": 1, "samples": {"a": 1}, "counts": {}}',
        '{"schema": 1, "samples": {"a": "!"}, "counts": {}}',
        '{"schema": 1, "samples": {"a": ""}, "counts": {}}',
        '{"schema": 1, "samples": {"../a": ""}, "counts": {}}',
        '{"schema": 1, "samples": {}, "counts": {"a": 1}}',
        '{"schema": 1, "samples": {}, "counts": {"a": {"b": 1.5}}}',
        '{"schema": 1, "samples": {}, "counts": {"a": {"b": true}}}',
        '{"schema": 1, "samples": {}, "counts": {}, "schema": 1}',
    ],
)
def test_a_text_that_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ReferenceInvalid, match=r"reference\.json"):
        reference.parse(text)


def test_an_empty_sketch_has_no_quantiles() -> None:
    with pytest.raises(ValueError, match="empty"):
        Sketch().quantiles([0.5])
    with pytest.raises(ValueError, match="ranks"):
        Sketch([1.0]).quantiles([1.5])


def test_confidence_in_a_class_has_a_name_whatever_the_class_is_called() -> None:
    for class_id in ("somdej", "ใบไม้", "A b/c", "x" * 128):
        name = reference.confidence_in(class_id)
        assert reference.is_confidence_in_a_class(name)
        assert reference.parse(reference.build({name: [0.5]}, {})).samples[name].count == 1
    assert reference.confidence_in("somdej") == "confidence.somdej"
    assert reference.confidence_in("ใบไม้") != reference.confidence_in("ใบ")
    assert not reference.is_confidence_in_a_class("confidence")

"""What training writes onto a card is read in Thai on Thai pages, and as it is written on English ones."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from django.utils.translation import override

from console.card_words import DETECTORS, detector_text, metric_text, sentence_text
from model_store.card import MetricCard
from tests.unit.training.data.cast import photo
from tests.unit.training.evaluation.test_crossvalidation import RECIPE, SIZE, eyes_of, features_of, folder_of
from training.data.names import NamedGroup, NamedLevel
from training.data.splits import METHOD
from training.evaluation.crossvalidation import labels_of, out_of_fold
from training.evaluation.figures import Provenance, figures_of
from training.evaluation.unseen import leave_class_out

LATIN = re.compile(r"[A-Za-z]{3,}")
# What people call something by in Thai too, and what is the data's own.
KEPT = {"AUROC", "Brier", "ECE", "NLL", "ViM", "fruit", "coins", "pair", "front", "back", "ffffffffffff"}


@pytest.fixture(scope="module")
def figures() -> tuple[MetricCard, ...]:
    """Those of a card with everything on it: sides, objects of several views, a class tree, other things."""
    photos = sorted(
        (photo(f"c{number % 3}", number, look_seed=number) for number in range(30)), key=lambda each: each.relative
    )
    pair = NamedLevel("pair", {"en": "Pair"}, (NamedGroup("low", {}, ("c0", "c1")), NamedGroup("high", {}, ("c2",))))
    folder, together = folder_of(photos, (pair,)), [(each,) for each in photos]
    rng = np.random.default_rng(2)
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + rng.normal(0.0, 1.0, (len(photos), SIZE))
    eyes = eyes_of(rows, {"coins": features_of(rng.normal(0.0, 1.0, (3, SIZE))).plain})
    found = out_of_fold(folder, eyes, together, folds=5, recipe=RECIPE, seed=0)
    left_out = leave_class_out(folder, eyes, together, recipe=RECIPE, seed=0, folds=5)
    return figures_of(folder, found, left_out, Provenance("fruit", "f" * 64, 30, 5, 0))


def english_in(text: str) -> Iterator[str]:
    return (word for word in LATIN.findall(text) if word not in KEPT)


def test_every_figure_of_a_card_is_read_in_thai(figures: tuple[MetricCard, ...]) -> None:
    assert len(figures) > 15
    with override("th"):
        said = [(card.name, metric_text(card.name), sentence_text(card.data)) for card in figures]
    assert [each for each in said if [*english_in(each[1]), *english_in(each[2])]] == []


def test_english_pages_say_what_stands_on_the_card(figures: tuple[MetricCard, ...]) -> None:
    for card in figures:
        assert metric_text(card.name) == card.name.replace("_", " ")
        assert sentence_text(card.data) == card.data


@pytest.mark.parametrize(
    "data",
    [
        "by hand; the 1 photograph of the back",
        "1 photograph of coins that no border was placed by, as each version scores them, against those it never saw "
        "of by hand",
        "by hand; 1 object with 2 photographs, each photograph answered alone",
    ],
)
def test_a_single_photograph_is_read_in_thai_too(data: str) -> None:
    assert sentence_text(data) == data
    with override("th"):
        assert [word for word in english_in(sentence_text(data)) if word != "back"] == []


@pytest.mark.parametrize("method", [METHOD, "none: nothing was fitted"])
def test_a_split_is_read_in_thai(method: str) -> None:
    assert sentence_text(method) == method
    with override("th"):
        assert not list(english_in(sentence_text(method)))


def test_every_detector_is_read_in_thai() -> None:
    with override("th"):
        assert [name for name in DETECTORS if list(english_in(detector_text(name)))] == []


def test_another_programs_words_stay_as_they_are() -> None:
    with override("th"):
        assert sentence_text("measured {by} hand, in 100 % of cases") == "measured {by} hand, in 100 % of cases"
        assert metric_text("of_their_own") == detector_text("of_their_own") == "of their own"

"""What training writes onto a card is read in Thai on Thai pages, and as it is written on English ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from django.utils.translation import override

from console.card_words import DETECTORS, detector_text, metric_text, sentence_text
from model_store.card import MetricCard
from tests.unit.training.data.cast import photo
from tests.unit.training.evaluation.test_crossvalidation import RECIPE, SIZE, eyes_of, features_of, folder_of
from training.data.folder import SIDES
from training.data.names import NamedGroup, NamedLevel
from training.data.splits import METHOD
from training.evaluation.crossvalidation import labels_of, out_of_fold
from training.evaluation.figures import Provenance, figures_of
from training.evaluation.unseen import VERSIONS_MAX, how_left_out, leave_class_out
from training.fitting import version
from training.models import weights

LATIN = re.compile(r"[A-Za-z]{3,}")
# What people call something by in Thai too, and what is the data's own.
KEPT = {"AUROC", "Brier", "ECE", "NLL", "ViM", "fruit", "coins", "pair", "ffffffffffff"}


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


@pytest.fixture(scope="module")
def figures_of_many() -> tuple[MetricCard, ...]:
    """Those of a card with more classes than versions are made without one, and every side that a photograph has."""
    classes, sides = VERSIONS_MAX + 1, list(SIDES.values())
    photos = sorted(
        (
            photo(f"c{number % classes:02}", number, look_seed=number, side=sides[number % len(sides)])
            for number in range(6 * classes)
        ),
        key=lambda each: each.relative,
    )
    folder, together = folder_of(photos), [(each,) for each in photos]
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + np.random.default_rng(2).normal(0.0, 1.0, (len(photos), SIZE))
    found = out_of_fold(folder, eyes_of(rows), together, folds=5, recipe=RECIPE, seed=0)
    left_out = leave_class_out(folder, eyes_of(rows), together, recipe=RECIPE, seed=0, folds=5)
    return figures_of(folder, found, left_out, Provenance("fruit", "f" * 64, len(photos), 5, 0))


def english_in(text: str) -> Iterator[str]:
    return (word for word in LATIN.findall(text) if word not in KEPT)


def test_every_figure_of_a_card_is_read_in_thai(figures: tuple[MetricCard, ...]) -> None:
    assert len(figures) > 15
    assert english_words_on(figures) == []


def test_every_figure_of_a_card_of_many_classes_is_read_in_thai(figures_of_many: tuple[MetricCard, ...]) -> None:
    said = {card.name: card.data for card in figures_of_many}
    assert f"({how_left_out(VERSIONS_MAX + 1)})" in said["auroc_unseen_class"]
    assert {f"balanced_accuracy_cv_{side}" for side in SIDES} <= set(said)
    assert english_words_on(figures_of_many) == []


@pytest.mark.parametrize("classes", [2 * VERSIONS_MAX, 300])
def test_how_classes_are_left_out_is_read_in_thai(classes: int) -> None:
    assert sentence_text(how_left_out(classes)) == how_left_out(classes)
    with override("th"):
        assert not list(english_in(sentence_text(how_left_out(classes))))


def english_words_on(figures: tuple[MetricCard, ...]) -> list[tuple[str, str, str]]:
    with override("th"):
        said = [(card.name, metric_text(card.name), sentence_text(card.data)) for card in figures]
    return [each for each in said if [*english_in(each[1]), *english_in(each[2])]]


def test_english_pages_say_what_stands_on_the_card(
    figures: tuple[MetricCard, ...], figures_of_many: tuple[MetricCard, ...]
) -> None:
    for card in (*figures, *figures_of_many):
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
        assert not list(english_in(sentence_text(data)))


@pytest.mark.parametrize("method", [METHOD, "none: nothing was fitted"])
def test_a_split_is_read_in_thai(method: str) -> None:
    assert sentence_text(method) == method
    with override("th"):
        assert not list(english_in(sentence_text(method)))


def test_the_licence_of_the_users_own_weights_is_read_in_thai(tmp_path: Path) -> None:
    torch.save({"bias": torch.zeros(1)}, tmp_path / "own.pth")
    licence = weights.of_file(tmp_path / "own.pth").origin.licence
    assert sentence_text(licence) == licence
    with override("th"):
        assert not list(english_in(sentence_text(licence)))


def test_every_detector_is_read_in_thai() -> None:
    assert set(version.DETECTORS) <= set(DETECTORS)
    with override("th"):
        assert [name for name in DETECTORS if list(english_in(detector_text(name)))] == []


def test_another_programs_words_stay_as_they_are() -> None:
    with override("th"):
        assert sentence_text("measured {by} hand, in 100 % of cases") == "measured {by} hand, in 100 % of cases"
        assert metric_text("of_their_own") == detector_text("of_their_own") == "of their own"

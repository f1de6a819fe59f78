"""The figures on a card: each under a name of its own."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.unit.training.data.cast import photo
from tests.unit.training.evaluation.test_crossvalidation import RECIPE, SIZE, eyes_of, features_of, folder_of
from training.data.names import NamedGroup, NamedLevel
from training.evaluation import unseen
from training.evaluation.crossvalidation import labels_of, out_of_fold
from training.evaluation.figures import Provenance, figures_of, slug
from training.evaluation.unseen import leave_class_out
from training.fitting.recipe import with_settings


def test_sets_whose_names_are_no_names_of_metrics_are_told_apart() -> None:
    """Thai, differing in case or beyond the length, and one that is called as a figure of ours is."""
    photos = [photo(f"c{number % 3}", number, look_seed=number) for number in range(30)]
    photos.sort(key=lambda each: each.relative)
    folder, together = folder_of(photos), [(each,) for each in photos]
    rng = np.random.default_rng(2)
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + rng.normal(0.0, 1.0, (len(photos), SIZE))
    names = ["เหรียญ", "กระดุม", "coins A", "coins a", "unseen class", "unseen_class", "x" * 45 + "1", "x" * 45 + "2"]
    eyes = eyes_of(rows, {name: features_of(rng.normal(0.0, 1.0, (3, SIZE))).plain for name in names})
    found = out_of_fold(folder, eyes, together, folds=5, recipe=RECIPE, seed=0)
    left_out = leave_class_out(folder, eyes, together, recipe=RECIPE, seed=0, folds=5)

    told = [card.name for card in figures_of(folder, found, left_out, Provenance("fruit", "f" * 64, 30, 5, 0))]

    assert len(set(told)) == len(told)
    assert sum(name.startswith("auroc_") for name in told) == len(names) + 1
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name) for name in told)


def test_the_card_says_how_many_classes_a_version_was_made_without(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [photo(f"c{number % 4}", number, look_seed=number) for number in range(40)]
    photos.sort(key=lambda each: each.relative)
    folder, together = folder_of(photos), [(each,) for each in photos]
    rng = np.random.default_rng(2)
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + rng.normal(0.0, 1.0, (len(photos), SIZE))
    eyes = eyes_of(rows)
    found = out_of_fold(folder, eyes, together, folds=5, recipe=RECIPE, seed=0)

    def said() -> str:
        left_out = leave_class_out(folder, eyes, together, recipe=RECIPE, seed=0, folds=5)
        cards = figures_of(folder, found, left_out, Provenance("fruit", "f" * 64, 40, 5, 0))
        return next(card.data for card in cards if card.name == "auroc_unseen_class")

    assert "held-out ones of the other classes; 40 photographs of fruit" in said()
    monkeypatch.setattr(unseen, "VERSIONS_MAX", 2)
    assert "other classes (each of 2 versions was made without 2 of 4 classes); 40 photographs of fruit" in said()


def test_a_coverage_is_on_the_card_where_one_is_promised() -> None:
    """No set holds the truth where there are none: that is no coverage of 0 %."""
    photos = [photo(f"c{number % 3}", number, look_seed=number) for number in range(30)]
    photos.sort(key=lambda each: each.relative)
    pair = NamedLevel("pair", {"en": "Pair"}, (NamedGroup("low", {}, ("c0", "c1")), NamedGroup("high", {}, ("c2",))))
    folder, together = folder_of(photos, (pair,)), [(each,) for each in photos]
    rng = np.random.default_rng(2)
    rows = 5.0 * np.eye(SIZE)[labels_of(folder)] + rng.normal(0.0, 1.0, (len(photos), SIZE))

    def told(coverage: float) -> set[str]:
        recipe = with_settings(RECIPE, {"set_coverage": coverage})
        found = out_of_fold(folder, eyes_of(rows), together, folds=5, recipe=recipe, seed=0)
        return {card.name for card in figures_of(folder, found, {}, Provenance("fruit", "f" * 64, 30, 5, 0))}

    assert told(0.9) - told(0.0) == {"set_coverage", "set_size", "level_pair_set_coverage"}


@pytest.mark.parametrize("name", ["coins", "household-things", "0", "x" * 40])
def test_a_set_is_named_by_itself_where_that_is_a_name(name: str) -> None:
    assert slug(name) == name


def test_a_set_keeps_what_can_be_read_of_its_name() -> None:
    assert re.fullmatch(r"coins_a_[0-9a-f]{12}", slug("Coins A"))
    assert slug("Coins A") == slug("Coins A")

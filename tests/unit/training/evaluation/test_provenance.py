"""Figures on a card say by whom they were measured."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.data.cast import photo
from tests.unit.training.evaluation.test_crossvalidation import RECIPE, SIZE, features_of, folder_of
from training.evaluation.assessment import Answered, assess
from training.evaluation.crossvalidation import labels_of, out_of_fold
from training.evaluation.figures import Provenance, confusion_of, figures_of
from training.fitting.sight import Outside, Sight, still

SOURCE = Provenance("amulets", "f" * 64, 32, 4, 0)
BY_ALL = "each answered by a head fitted on all photographs outside its fold"


@pytest.mark.parametrize("tuned", [False, True])
def test_a_network_that_learns_is_not_said_to_be_answered_by_heads_on_all_photographs(tuned: bool) -> None:
    photos = sorted(
        (photo(f"c{number % 2}", number, look_seed=number) for number in range(32)), key=lambda p: p.relative
    )
    folder = folder_of(photos)
    rows = 4.0 * np.eye(SIZE)[labels_of(folder)] + np.random.default_rng(0).normal(0.0, 1.0, (32, SIZE))
    sight = Sight(features_of(rows), Outside(np.zeros((0, SIZE), np.float32), {}), tuned=tuned)
    found = out_of_fold(folder, still(sight), [(each,) for each in photos], folds=4, recipe=RECIPE, seed=0)
    said = {card.name: card.data for card in figures_of(folder, found, {}, SOURCE)}
    for name in ("balanced_accuracy_cv", "macro_f1_cv", "accuracy", "balanced_accuracy_cv_front"):
        assert (BY_ALL in said[name]) == (not tuned)
    assert ("each answered by a whole version" in said["macro_f1_cv"]) == tuned
    assert BY_ALL not in said["nll"]
    answered = Answered(
        classes=folder.classes,
        labels=found.labels,
        groups=found.groups,
        predicted=found.head_predicted,
        probabilities=found.probabilities,
        decisions=found.decisions,
        sets=found.sets,
        set_coverage=0.0,
        sides=("front",) * 32,
        qualities=(),
        flaws=((),) * 8,
    )
    assert (BY_ALL in confusion_of(assess(answered), SOURCE, tuned=found.tuned).data) == (not tuned)

"""Ablation: variants on the same folds, differences paired, and a part that matters shown to matter."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from multiprocessing import active_children
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.data.cast import picture, write_folder
from tests.unit.training.fitting.cast import SIDE_PX, colour_graph
from training.errors import DataTooSmall, SettingWrong, WeightsMissing
from training.evaluation.crossvalidation import Groups
from training.experiments.ablate import (
    BASE,
    FIGURES,
    Ablation,
    Request,
    Variant,
    ablate,
    of_augmentations,
    of_companions,
    of_minorities,
    of_mixes,
    of_models,
    of_preprocessing,
    of_settings,
)
from training.experiments.page import ablation_page, ablation_sentences
from training.experiments.trials import EyesOf
from training.fitting.companion import Companion
from training.fitting.features import Eye
from training.fitting.lenses import Look, starting_backbone
from training.fitting.ranges import HEADS
from training.fitting.recipe import Recipe, recipe_of, with_settings
from training.fitting.sight import Eyes, still
from training.fitting.tuning import Tuning
from training.statistics.intervals import Interval

RECIPE = with_settings(recipe_of("standard"), {"levels": ["head"], "input_px": SIDE_PX, "views": 1, "forest_trees": 5})


def eyes_of(recipe: Recipe, look: Look, _together: object, _seed: int) -> Eyes:
    return still(look(Eye(colour_graph(), recipe, threads=1)))


def open_eyes() -> EyesOf:
    return eyes_of


def open_broken_eyes() -> EyesOf:
    def see(*_: object) -> Eyes:
        raise WeightsMissing("no weights for apple")

    return see


def open_eyes_that_stare() -> EyesOf:
    def see(recipe: Recipe, look: Look, together: Groups, seed: int) -> Eyes:
        if seed == 1:
            Event().wait()
        return eyes_of(recipe, look, together, seed)

    return see


def silent(stage: str, done: int, total: int) -> None:
    """Nobody watches."""


def write_tables(root: Path) -> Path:
    """Two classes that differ by the table alone: the object in the middle is drawn anew each time."""
    for label, table in (("on_red", (180, 40, 40)), ("on_blue", (40, 40, 180))):
        (root / label).mkdir(parents=True)
        for number in range(8):
            pixels = np.full((96, 96, 3), table, np.uint8)
            patch = np.asarray(picture(len(label) * 100 + number, width=64, height=64))
            pixels[16:80, 16:80] = patch // 2 + 100
            Image.fromarray(pixels).save(root / label / f"{number:03}.png")
    return root


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Request:
    data = write_tables(tmp_path_factory.mktemp("tables") / "data")
    variants = (Variant(BASE, RECIPE), Variant("the same", RECIPE), *of_settings(RECIPE, ["views=0"])[1:])
    other = data.parent / "other"
    other.mkdir()
    for number in range(3):
        picture(7000 + number).save(other / f"{number}.jpg")
    return Request(data, variants, (other,), seeds=(0, 1), folds=3)


@pytest.fixture(scope="module")
def found(asked: Request) -> Ablation:
    return ablate(asked, open_eyes, say=silent)


def test_a_model_that_learnt_the_table_is_found_out_on_another(found: Ablation) -> None:
    assert found.tables_replaced == found.photos == 16
    plain = next(row for row in found.rows if row.variant.name == "views 0")
    assert plain.figures["balanced_accuracy"].value == 1.0
    assert plain.figures["balanced_accuracy_other_table"].value < 0.85


def test_a_variant_that_changes_nothing_differs_by_nothing(found: Ablation) -> None:
    row = next(row for row in found.rows if row.variant.name == "the same")
    assert row.figures == found.rows[0].figures
    assert all((gap.low, gap.value, gap.high) == (0.0, 0.0, 0.0) for gap in row.differences.values())
    assert "the same: nothing beyond luck." in list(ablation_sentences(found))


def test_what_is_beyond_luck_is_so_among_all_differences_of_the_table(found: Ablation) -> None:
    nothing = dict.fromkeys(FIGURES, Interval(0.0, -0.02, 0.02))
    barely, clearly = Interval(0.02, 0.001, 0.04), Interval(-0.2, -0.25, -0.15)
    base, one, other = found.rows
    rows = (
        base,
        replace(one, differences={**nothing, "macro_f1": barely}),
        replace(other, differences={**nothing, "balanced_accuracy": clearly}),
    )
    changed = replace(found, rows=rows)
    _, first, second = ablation_sentences(changed)
    assert first == f"{one.variant.name}: nothing beyond luck."
    assert second == f"{other.variant.name}: balanced accuracy -0.200 (-0.250 to -0.150)."
    document = changed.document()
    told = document["variants"][one.variant.name]["differences"]["macro_f1"]
    assert (told["more_than_luck"], told["p_value"] > 0.05) == (False, True)
    assert document["corrected"]["differences"] == "Holm (1979), of 12 differences at 5% together"
    assert document["corrected"]["differences"] in ablation_page(changed)
    alone = replace(found, rows=(base, replace(one, differences={"macro_f1": barely})))
    assert "macro F1 +0.020 (+0.001 to +0.040)" in list(ablation_sentences(alone))[1]


def test_processes_side_by_side_find_the_same(found: Ablation, asked: Request) -> None:
    told: list[tuple[str, int, int]] = []
    again = ablate(asked, open_eyes, say=lambda *what: told.append(what), jobs=3)
    assert again.document() == found.document()
    assert told[-1] == ("Cross-validating variants", 6, 6)


def test_what_was_found_before_an_end_is_not_looked_for_again(found: Ablation, asked: Request, tmp_path: Path) -> None:
    keep = tmp_path / "trials"

    def told(stage: str, done: int, total: int) -> None:
        if stage == "Cross-validating variants" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate(asked, open_eyes, say=told, keep=keep)
    kept = sorted(keep.iterdir())
    assert len(kept) == 2  # one for each seed: two of the variants are one recipe
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    seen: list[Recipe] = []

    def open_counted() -> EyesOf:
        def see(recipe: Recipe, look: Look, together: Groups, seed: int) -> Eyes:
            seen.append(recipe)
            return eyes_of(recipe, look, together, seed)

        return see

    again = ablate(asked, open_counted, say=silent, keep=keep)
    assert again.document() == found.document()
    assert [recipe.views for recipe in seen] == [1, 0, 0]
    nothing = ablate(asked, open_broken_eyes, say=silent, keep=keep)
    assert nothing.document() == found.document()
    fewer = replace(asked, folds=2)
    with pytest.raises(WeightsMissing):
        ablate(fewer, open_broken_eyes, say=silent, keep=keep)


def test_what_is_wrong_in_a_process_of_its_own_ends_in_the_same_sentence(asked: Request) -> None:
    with pytest.raises(WeightsMissing, match="no weights for apple"):
        ablate(asked, open_broken_eyes, say=silent, jobs=2)


def test_who_interrupts_waits_for_no_trial(asked: Request) -> None:
    def told(stage: str, done: int, total: int) -> None:
        if stage == "Cross-validating variants" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate(asked, open_eyes_that_stare, say=told, jobs=2)
    assert active_children() == []


def test_the_document_and_the_page_say_the_same(found: Ablation) -> None:
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert list(document["variants"]) == [BASE, "the same", "views 0"]
    assert document["variants"]["views 0"]["recipe"]["views"] == 0
    assert set(document["variants"][BASE]["ood_auroc"]) == {"other"}
    low, high = document["variants"][BASE]["ood_auroc_intervals"]["other"]
    assert low <= document["variants"][BASE]["ood_auroc"]["other"] <= high
    assert set(document["variants"]["views 0"]["per_class_f1_differences"]) == {"on_blue", "on_red"}
    page = ablation_page(found)
    for row in document["variants"].values():
        assert f"{row['balanced_accuracy']:.3f}" in page
    assert "<script" not in page


def test_the_augmentations_of_a_recipe_are_taken_away_one_by_one() -> None:
    by_name = {variant.name: variant.recipe for variant in of_augmentations(RECIPE)}
    assert by_name[BASE] == RECIPE
    assert by_name["no views"].views == 0
    assert by_name["views on their own table"].strength.backdrop_ratio == 0.0
    assert by_name["half of the views degraded"].strength.robust_ratio == 0.5
    assert len({str(recipe) for recipe in by_name.values()}) == len(by_name)


def test_settings_are_varied_one_at_a_time_and_wrong_ones_are_named() -> None:
    variants = of_settings(RECIPE, ["head_shrinkage=0.1,0.4", "strength.turn_deg=0.0"])
    assert [variant.name for variant in variants] == [
        BASE,
        "head_shrinkage 0.1",
        "head_shrinkage 0.4",
        "strength.turn_deg 0.0",
    ]
    assert variants[2].recipe == with_settings(RECIPE, {"head_shrinkage": 0.4})
    assert variants[3].recipe.strength.turn_deg == 0.0
    with pytest.raises(SettingWrong, match="did you mean head_shrinkage"):
        of_settings(RECIPE, ["head_shrink=0.1"])
    with pytest.raises(SettingWrong, match="is not of the form"):
        of_settings(RECIPE, ["head_shrinkage"])
    for broken in ("views=[1", "views=[1,2]", "views=1,{"):
        with pytest.raises(SettingWrong, match="is no value: commas part the values") as told:
            of_settings(RECIPE, [broken])
        assert "\n" not in str(told.value)


def test_too_few_photographs_end_in_a_sentence(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", {"apple": 3, "berry": 8})
    with pytest.raises(DataTooSmall, match="class apple has 3 independent photographs"):
        ablate(Request(data, (Variant(BASE, RECIPE),), seeds=(0,), folds=5), open_eyes, say=silent)


def test_models_are_compared_as_far_as_their_weights_are_here() -> None:
    by_name = {variant.name: variant.recipe for variant in of_models(recipe_of("standard"))}
    assert len(by_name) >= 8
    assert by_name[BASE] == recipe_of("standard")
    assert {recipe.head for recipe in by_name.values()} == set(HEADS)
    assert by_name["recipe baseline"] == recipe_of("baseline")
    assert by_name["tf_efficientnet_lite0 lda at 288 px"].input_px == 288
    assert len({str(recipe) for recipe in by_name.values()}) == len(by_name)


def test_a_second_network_is_joined_in_each_way_and_measured_alone() -> None:
    by_name = {variant.name: variant.recipe for variant in of_companions(recipe_of("standard"))}
    assert by_name[BASE] == recipe_of("standard")
    joined = by_name["and tf_efficientnet_lite0 at 288 px, features"]
    assert joined.companion == Companion(input_px=288)
    assert (joined.input_px, joined.seen_px) == (224, 288)
    averaged = by_name["and tf_efficientnet_lite0 at 288 px, answers"].companion
    assert averaged == replace(joined.companion, joined="answers")
    assert by_name["tf_efficientnet_lite0 at 288 px alone"] == with_settings(recipe_of("standard"), {"input_px": 288})


def test_each_step_before_a_network_is_looked_at_anew(tmp_path: Path) -> None:
    """What was seen without a step must not stand in for what is seen behind it."""
    by_name = {variant.name: variant.recipe for variant in of_preprocessing(RECIPE)}
    assert by_name[BASE] == RECIPE
    assert len({str(recipe) for recipe in by_name.values()}) == len(by_name) == 6
    assert {recipe.preprocessing.denoise for recipe in by_name.values() if recipe.preprocessing} >= {
        "median",
        "bilateral",
    }
    looked: list[Recipe] = []

    def noted(recipe: Recipe, look: Look, together: object, seed: int) -> Eyes:
        looked.append(recipe)
        return eyes_of(recipe, look, together, seed)

    data = write_folder(tmp_path / "data", {"apple": 8, "berry": 8})
    ablate(Request(data, of_preprocessing(RECIPE), seeds=(0,), folds=3), lambda: noted, say=silent)
    assert looked == list(by_name.values())


def test_a_companion_is_checked_by_name_and_read_back_from_its_document() -> None:
    recipe = with_settings(RECIPE, {"companion": {"input_px": 320, "levels": ["head"]}})
    assert with_settings(RECIPE, json.loads(json.dumps(recipe.document()))) == recipe
    assert with_settings(recipe, {"companion": None}) == RECIPE
    for wrong, sentence in (
        ({"companion": {"joint": "features"}}, "did you mean joined"),
        ({"companion": {"joined": "votes"}}, "must be features or answers, not votes"),
        ({"companion": {"input_px": 100}}, r"companion\.input_px must be a multiple of 32"),
        ({"companion": {"backbone": "alexnet"}}, "there is no backbone alexnet"),
        ({"companion": 3}, "companion must be a mapping"),
        ({"companion": {"joined": "answers"}, "head": "neighbours"}, "are not averaged"),
        ({"companion": {}, "tuning": {}}, "a network that learns has no companion"),
    ):
        with pytest.raises(SettingWrong, match=sentence):
            with_settings(RECIPE, wrong)


def test_a_version_of_two_networks_is_refused_before_anything_is_fitted() -> None:
    with pytest.raises(SettingWrong, match="a companion is no part of a graph"):
        starting_backbone(with_settings(RECIPE, {"companion": {}}), seed=0)


def test_f1_of_the_small_classes_stands_beside_that_of_all(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", {"apple": 6, "berry": 9, "cherry": 9})
    found = ablate(Request(data, (Variant(BASE, RECIPE),), seeds=(0, 1), folds=2), open_eyes, say=silent)
    row = found.rows[0]
    assert found.minorities == ("apple",)
    assert row.figures["minority_f1"] == row.per_class_f1["apple"]
    mean = np.mean([interval.value for interval in row.per_class_f1.values()])
    assert row.figures["macro_f1"].value == pytest.approx(mean)


def test_each_way_to_mix_is_alone_in_its_variant() -> None:
    by_name = {variant.name: variant.recipe for variant in of_mixes(RECIPE)}
    none = by_name["none"]
    assert none.tuning is not None
    assert (none.tuning.mix_ratio, none.tuning.randaugment_ops, none.tuning.erasing_ratio, none.views) == (0, 0, 0, 0)
    shares = {name: by_name[name].tuning.cutmix_share for name in ("MixUp", "CutMix", "MixUp and CutMix")}  # type: ignore[union-attr]
    assert shares == {"MixUp": 0.0, "CutMix": 1.0, "MixUp and CutMix": 0.5}
    assert by_name["robust"].strength == replace(none.strength, robust_ratio=0.5)
    assert by_name["backdrop"].strength == replace(none.strength, backdrop_ratio=1.0)
    assert by_name["robust"].tuning == by_name["backdrop"].tuning == none.tuning
    assert len({str(recipe) for recipe in by_name.values()}) == len(by_name)


def test_help_for_minorities_differs_from_none_in_one_thing_each() -> None:
    base, *others = of_minorities(RECIPE)
    assert base.recipe.tuning is not None
    assert base.recipe.tuning.sampler == "as_given"
    for variant in others:
        assert variant.recipe.tuning is not None
        changed = [
            f.name
            for f in fields(Tuning)
            if getattr(variant.recipe.tuning, f.name) != getattr(base.recipe.tuning, f.name)
        ]
        assert len(changed) == 1
        assert replace(variant.recipe, tuning=base.recipe.tuning) == base.recipe

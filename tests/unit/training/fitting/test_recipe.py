"""A recipe with settings of its own: what cannot be meant is said in a sentence, and not found out by the views."""

from __future__ import annotations

import dataclasses
import warnings
from math import inf, nan

import numpy as np
import pytest
import torch

from training.augmentation.standard import Strength, views
from training.data.preprocessing import Preprocessing
from training.errors import SettingWrong
from training.fitting.companion import Companion
from training.fitting.mixing import Mixing
from training.fitting.ranges import CHOICES, RANGES
from training.fitting.recipe import Recipe, recipe_of, with_settings
from training.fitting.tuning import Tuning


@pytest.mark.parametrize("field", [each.name for each in dataclasses.fields(Strength)])
@pytest.mark.parametrize("value", [-0.1, nan, inf, 10**400])
def test_no_strength_is_below_nothing_or_without_end(field: str, value: float) -> None:
    with pytest.raises(SettingWrong, match=rf"the setting strength\.{field} must .*, not "):
        with_settings(recipe_of("standard"), {"strength": {field: value}})


@pytest.mark.parametrize("field", [each.name for each in dataclasses.fields(Strength) if each.name.endswith("ratio")])
def test_a_strength_that_is_a_share_is_at_most_all(field: str) -> None:
    with pytest.raises(SettingWrong, match=rf"the setting strength\.{field} must lie between 0 and 1, not 1\.5"):
        with_settings(recipe_of("standard"), {"strength": {field: 1.5}})
    for value in (0, 1):
        assert getattr(with_settings(recipe_of("standard"), {"strength": {field: value}}).strength, field) == value


@pytest.mark.parametrize("field", [each.name for each in dataclasses.fields(Strength) if each.name != "backdrop_ratio"])
def test_a_view_of_the_most_that_a_strength_may_be_is_still_a_picture(field: str) -> None:
    most = RANGES[f"strength.{field}"].high
    strength = with_settings(recipe_of("standard"), {"strength": {field: most}}).strength
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = views(pixels, [np.random.default_rng(number) for number in range(20)], strength)

    assert {(each.shape, str(each.dtype)) for each in seen} == {((64, 64, 3), "uint8")}
    with pytest.raises(SettingWrong, match=rf"the setting strength\.{field} must lie between 0 and "):
        with_settings(recipe_of("standard"), {"strength": {field: np.nextafter(most, inf).item()}})


def test_a_turn_without_end_is_refused() -> None:
    with pytest.raises(SettingWrong, match=r"the setting strength\.turn_deg must lie between 0 and 180, not 1e\+308"):
        with_settings(recipe_of("standard"), {"strength": {"turn_deg": 1e308}})


@pytest.mark.parametrize("field", [each.name for each in dataclasses.fields(Tuning) if each.type in ("int", "float")])
def test_no_number_of_a_tuning_is_odd(field: str) -> None:
    whole = type(getattr(Tuning(), field)) is int
    for value in (-1, 10**6, 10**400) if whole else (-0.1, nan, inf, -inf, 1000.0, 10**400):
        with pytest.raises(SettingWrong, match=rf"the setting tuning\.{field} must .*, not "):
            with_settings(recipe_of("finetuned"), {"tuning": {field: value}})
    standard = recipe_of("finetuned")
    assert with_settings(standard, {"tuning": {field: getattr(Tuning(), field)}}) == standard


@pytest.mark.parametrize("field", ["epochs", "batch", "unfrozen", "patience", "rate", "head_rate", "rate_decay"])
def test_a_tuning_that_would_learn_nothing_is_refused(field: str) -> None:
    with pytest.raises(SettingWrong, match=rf"the setting tuning\.{field} must "):
        with_settings(recipe_of("finetuned"), {"tuning": {field: 0}})


@pytest.mark.parametrize("ops", [0, 14])
@pytest.mark.parametrize("magnitude", [0, 30])
def test_torchvision_takes_both_ends_of_randaugment(ops: int, magnitude: int) -> None:
    settings = {"randaugment_ops": ops, "randaugment_magnitude": magnitude}
    tuning = with_settings(recipe_of("finetuned"), {"tuning": settings}).tuning
    assert tuning is not None

    image = Mixing(tuning, classes=2).image(torch.zeros((32, 32, 3), dtype=torch.uint8))

    assert image.shape == (32, 32, 3)


@pytest.mark.parametrize("alpha", [0.01, 100.0])
def test_torchvision_mixes_at_both_ends_of_alpha(alpha: float) -> None:
    settings = {"mix_ratio": 1.0, "mixup_alpha": alpha, "cutmix_alpha": alpha}
    tuning = with_settings(recipe_of("finetuned"), {"tuning": settings}).tuning
    assert tuning is not None
    mixing = Mixing(tuning, classes=2)

    shares = [mixing.batch(torch.ones((4, 3, 32, 32)), torch.tensor([0, 1, 0, 1]))[1] for _ in range(50)]

    assert torch.allclose(torch.stack(shares).sum(dim=2), torch.ones(50, 4))


_PARTS = {
    "": Recipe,
    "strength.": Strength,
    "tuning.": Tuning,
    "companion.": Companion,
    "preprocessing.": Preprocessing,
}


def test_every_number_of_a_recipe_has_a_range_and_every_range_its_number() -> None:
    numbers = {
        f"{part}{each.name}"
        for part, kind in _PARTS.items()
        for each in dataclasses.fields(kind)
        if each.type in ("int", "float", "float | None")
    }
    assert set(RANGES) == numbers
    texts = {f"{part}{each.name}" for part, kind in _PARTS.items() for each in dataclasses.fields(kind)}
    assert set(CHOICES) <= texts


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"head_shrinkage": "abc"}, "the setting head_shrinkage must be a number between 0 and 1, or null, not 'abc'"),
        ({"views": 2.5}, "the setting views must be a whole number between 0 and 200, not 2.5"),
        ({"views": True}, "the setting views must be a whole number between 0 and 200, not True"),
        ({"input_px": "big"}, "must be a whole number that is a multiple of 32 from 32 to 1024, not 'big'"),
        ({"input_px": 100}, "the setting input_px must be a multiple of 32 from 32 to 1024, not 100"),
        ({"set_coverage": None}, "must be a number that is at least 0 and below 1, not None"),
        ({"head_inverse_penalty": "x"}, "must be a number that is finite and above 0, not 'x'"),
        ({"head": 3}, "the setting head must be lda or logistic or centroid or neighbours, not 3"),
        ({"backbone": 3}, "the setting backbone must be a text, not 3"),
        ({"strength": {"turn_deg": "x"}}, "the setting strength.turn_deg must be a number between 0 and 180, not 'x'"),
        ({"tuning": {"rate": "x"}}, "tuning.rate must be a number that is above 0 and at most 1, not 'x'"),
        ({"tuning": {"learn_norms": 1}}, "the setting tuning.learn_norms must be true or false, not 1"),
        (
            {"preprocessing": {"clahe_tiles": 0}},
            "the setting preprocessing.clahe_tiles must lie between 1 and 32, not 0",
        ),
        ({"levels": 3}, "levels must be a list of names"),
        (
            {"levels": []},
            "tf_efficientnet_lite0 has the levels block3, block4, block5, block6, head, and the last one used",
        ),
        ({"levels": ["nope", "head"]}, "the last one used must be head: not nope, head"),
        ({"companion": {"levels": ["block4"]}}, "the last one used must be head: not block4"),
        ({"companion": {"levels": None}}, "levels must be a list of names"),
    ],
)
def test_what_a_setting_cannot_be_is_answered_by_what_it_can_be(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingWrong) as refused:
        with_settings(recipe_of("standard"), settings)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("value", [0.0, -1.0, nan, inf, 10**400])
def test_an_inverse_penalty_is_a_number_above_nothing(value: float) -> None:
    with pytest.raises(SettingWrong, match="the setting head_inverse_penalty must be finite and above 0, not "):
        with_settings(recipe_of("logistic"), {"head_inverse_penalty": value})

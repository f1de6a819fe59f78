"""A recipe with settings of its own: what cannot be meant is said in a sentence, and not found out by the views."""

from __future__ import annotations

import dataclasses
from math import inf, nan

import pytest

from training.augmentation.standard import Strength
from training.errors import SettingWrong
from training.fitting.recipe import recipe_of, with_settings


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


@pytest.mark.parametrize("value", [0.0, -1.0, nan, inf, 10**400])
def test_an_inverse_penalty_is_a_number_above_nothing(value: float) -> None:
    with pytest.raises(SettingWrong, match="the setting head_inverse_penalty must be finite and above 0, not "):
        with_settings(recipe_of("logistic"), {"head_inverse_penalty": value})

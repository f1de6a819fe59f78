"""Everything that decides a run, apart from the photographs and the seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final

from training.augmentation.standard import Strength
from training.data.preprocessing import Preprocessing
from training.errors import SettingWrong
from training.fitting.companion import ANSWERS, Companion
from training.fitting.ranges import NEIGHBOURS, check_kind, check_value
from training.fitting.tuning import Tuning
from training.models.backbones import check_levels, spec_of

NO_GRAPH: Final = (
    "the head neighbours keeps every photograph that it was fitted on and is no part of a graph: it is there to be "
    "compared (amulet ablate); train with lda, logistic or centroid"
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A frozen backbone and what is fitted on top. Decision 0010 has the measurements behind `standard`."""

    name: str
    backbone: str = "tf_efficientnet_lite0"
    input_px: int = 224
    levels: tuple[str, ...] = ("block4", "block5", "head")
    views: int = 12  # drawn of each photograph to fit on, besides itself
    strength: Strength = field(default_factory=Strength)
    head: str = "lda"  # one of HEADS
    head_shrinkage: float | None = 0.2  # lda: share of the isotropic covariance; None: as Ledoit and Wolf estimate it
    head_inverse_penalty: float = 225.0  # logistic: scikit-learn's C, on embeddings of length 1
    head_neighbours: int = 20  # neighbours: how many rows vote, photographs and their views
    mahalanobis_shrinkage: float = 0.2
    forest_trees: int = 100
    forest_samples: int = 256
    # The shares of the photographs; what reads one of them reads no other.
    train_share: float = 0.76
    calibration_share: float = 0.12
    thresholds_share: float = 0.12
    # Where OOD photographs are given: the share that thresholds are chosen on; the others are reported on.
    ood_threshold_share: float = 0.4
    # Share of photographs of the known classes, seen as a caller's camera may see them, that may be called so.
    unsure_ratio: float = 0.1
    out_ratio: float = 0.02
    confidence_min: float = 0.7
    margin_min: float = 0.1
    set_coverage: float = 0.9
    tuning: Tuning | None = None  # None: the backbone stays as it is
    companion: Companion | None = None  # None: the backbone looks alone
    preprocessing: Preprocessing | None = None  # of every photograph and view; None: they are seen as they are

    @property
    def seen_px(self) -> int:
        """The side of the photographs that its networks are given: that of the largest."""
        return max(self.input_px, self.companion.input_px if self.companion else 0)

    def document(self) -> dict[str, Any]:
        """As JSON can carry it; `with_settings` reads it back."""
        document = dataclasses.asdict(self)
        document["levels"] = list(self.levels)
        if self.companion is not None:
            document["companion"]["levels"] = list(self.companion.levels)
        return document


RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe(name="standard"),
            # The reference point: logistic regression on the last features of the photographs as they are.
            Recipe(name="baseline", levels=("head",), views=0, head="logistic"),
            Recipe(name="finetuned", tuning=Tuning()),
            Recipe(name="logistic", head="logistic"),
            Recipe(name="centroid", head="centroid"),
            Recipe(name="neighbours", head=NEIGHBOURS),
        )
    }
)


def recipe_of(name: str) -> Recipe:
    """Raises SettingWrong for a name that is not in the table."""
    try:
        return RECIPES[name]
    except KeyError:
        raise SettingWrong(f"there is no recipe {name}: choose {' or '.join(RECIPES)}") from None


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with some of its fields replaced; `strength` may name some of its own.

    Another backbone brings its own levels along where it has not those of the recipe. Raises
    SettingWrong that names the first unknown field or value out of range.
    """
    changes = dict(_checked(Recipe, settings))
    if "strength" in changes:
        if not isinstance(changes["strength"], Mapping):
            raise SettingWrong("strength must be a mapping of its own fields")
        changes["strength"] = dataclasses.replace(
            recipe.strength, **_checked(Strength, changes["strength"], "strength.")
        )
    if changes.get("tuning") is not None:
        if not isinstance(changes["tuning"], Mapping):
            raise SettingWrong("tuning must be a mapping of its own fields, or null for a backbone that stays as it is")
        own = _checked(Tuning, changes["tuning"], "tuning.")
        changes["tuning"] = dataclasses.replace(recipe.tuning or Tuning(), **own)
    if changes.get("companion") is not None:
        if not isinstance(changes["companion"], Mapping):
            raise SettingWrong("companion must be a mapping of its own fields, or null for a backbone that looks alone")
        own = _with_levels(_checked(Companion, changes["companion"], "companion."))
        changes["companion"] = dataclasses.replace(recipe.companion or Companion(), **own)
    if changes.get("preprocessing") is not None:
        if not isinstance(changes["preprocessing"], Mapping):
            raise SettingWrong("preprocessing must be a mapping of its own fields, or null for photographs as they are")
        own = _checked(Preprocessing, changes["preprocessing"], "preprocessing.")
        changes["preprocessing"] = dataclasses.replace(recipe.preprocessing or Preprocessing(), **own)
    changes = _with_levels(changes)
    changed = dataclasses.replace(recipe, **changes)
    if "backbone" in changes and "levels" not in changes:
        changed = dataclasses.replace(changed, levels=_levels_of(changed))
    _check_ranges(changed)
    return changed


def _levels_of(recipe: Recipe) -> tuple[str, ...]:
    """The recipe's levels, or where its backbone has not all of them, those that suit the backbone."""
    spec = spec_of(recipe.backbone)
    return recipe.levels if set(recipe.levels) <= set(spec.levels) else spec.standard_levels


def _with_levels(settings: Mapping[str, Any]) -> dict[str, Any]:
    """With levels, where there are any, as a recipe has them."""
    levels = settings.get("levels", ())
    check_are_names(levels)
    return {**settings, **({"levels": tuple(levels)} if "levels" in settings else {})}


def check_are_names(levels: object) -> None:
    """Of levels, whichever network they are of. Raises SettingWrong."""
    if not isinstance(levels, list | tuple) or not all(isinstance(item, str) for item in levels):
        raise SettingWrong("levels must be a list of names")


def _checked(kind: type, settings: Mapping[str, Any], part: str = "") -> Mapping[str, Any]:
    """part: what stands before the names of its fields, as in `strength.`."""
    defaults = {item.name: item for item in dataclasses.fields(kind)}
    for name, value in settings.items():
        if name not in defaults:
            near = get_close_matches(name, defaults, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(defaults)}"
            raise SettingWrong(f"a recipe has no setting {name}: {hint}")
        check_kind(f"{part}{name}", value, str(defaults[name].type))
    return settings


def _check_ranges(recipe: Recipe) -> None:
    for name, value in _values_of(recipe):
        check_value(name, value)
    check_levels(spec_of(recipe.backbone), recipe.levels)
    if recipe.out_ratio > recipe.unsure_ratio:
        raise SettingWrong(f"out_ratio {recipe.out_ratio} must not be above unsure_ratio {recipe.unsure_ratio}")
    if recipe.tuning is not None and recipe.tuning.batch % recipe.tuning.devices:
        raise SettingWrong(
            f"a batch of {recipe.tuning.batch} images cannot be shared by {recipe.tuning.devices} devices: set "
            f"tuning.batch to a multiple of tuning.devices"
        )
    if recipe.companion is not None:
        _check_companion(recipe, recipe.companion)
    if recipe.preprocessing is not None and recipe.tuning is not None:
        raise SettingWrong(
            "a network that learns is shown photographs as they are: set tuning or preprocessing to null"
        )


def _values_of(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The fields of a recipe and of its parts, as `ranges` names them."""
    for item in dataclasses.fields(recipe):
        value = getattr(recipe, item.name)
        if dataclasses.is_dataclass(value):
            yield from ((f"{item.name}.{own.name}", getattr(value, own.name)) for own in dataclasses.fields(value))
        else:
            yield item.name, value


def _check_companion(recipe: Recipe, companion: Companion) -> None:
    check_levels(spec_of(companion.backbone), companion.levels)
    if companion.joined == ANSWERS and recipe.head == NEIGHBOURS:
        raise SettingWrong(f"answers of the head {NEIGHBOURS} are not averaged: take companion.joined features")
    if recipe.tuning is not None:
        raise SettingWrong("a network that learns has no companion: set tuning or companion to null")

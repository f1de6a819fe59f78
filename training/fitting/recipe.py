"""Everything that decides a run, apart from the photographs and the seed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final

from training.augmentation.standard import Strength
from training.data.preprocessing import DENOISERS, Preprocessing
from training.errors import SettingWrong
from training.fitting.companion import ANSWERS, JOINED, Companion
from training.fitting.tuning import PRECISIONS, SAMPLERS, Tuning
from training.models.backbones import spec_of

NEIGHBOURS: Final = "neighbours"
NO_GRAPH: Final = (
    "the head neighbours keeps every photograph that it was fitted on and is no part of a graph: it is there to be "
    "compared (amulet ablate); train with lda, logistic or centroid"
)
HEADS: Final = ("lda", "logistic", "centroid", NEIGHBOURS)


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

_FINITE_MAX: Final = sys.float_info.max  # a whole number of a recipe may be larger than any float
# Beyond, a view shows nothing of its photograph any more. e^5 is a factor of 148.
_STRENGTH_MAX: Final[Mapping[str, float]] = MappingProxyType(
    {"_ratio": 1.0, "_log": 5.0, "turn_deg": 180.0, "tilt": 0.02}
)
# Of a tuning, both ends included. torchvision's RandAugment knows strengths from 0 to 30.
_WITHIN: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "epochs": (1, 1000),
        "head_epochs": (0, 1000),
        "patience": (1, 1000),
        "batch": (1, 1024),
        "unfrozen": (1, 100),
        "weight_decay": (0.0, 1.0),
        "mixup_alpha": (0.01, 100.0),
        "cutmix_alpha": (0.01, 100.0),
        "randaugment_ops": (0, 14),
        "randaugment_magnitude": (0, 30),
        "devices": (1, 64),
    }
)
_RATIOS: Final = (
    "head_shrinkage",
    "mahalanobis_shrinkage",
    "train_share",
    "calibration_share",
    "thresholds_share",
    "ood_threshold_share",
    "unsure_ratio",
    "out_ratio",
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
        changes["strength"] = dataclasses.replace(recipe.strength, **_checked(Strength, changes["strength"]))
    if changes.get("tuning") is not None:
        if not isinstance(changes["tuning"], Mapping):
            raise SettingWrong("tuning must be a mapping of its own fields, or null for a backbone that stays as it is")
        own = _checked(Tuning, changes["tuning"])
        changes["tuning"] = dataclasses.replace(recipe.tuning or Tuning(), **own)
    if changes.get("companion") is not None:
        if not isinstance(changes["companion"], Mapping):
            raise SettingWrong("companion must be a mapping of its own fields, or null for a backbone that looks alone")
        own = _with_levels(_checked(Companion, changes["companion"]))
        changes["companion"] = dataclasses.replace(recipe.companion or Companion(), **own)
    if changes.get("preprocessing") is not None:
        if not isinstance(changes["preprocessing"], Mapping):
            raise SettingWrong("preprocessing must be a mapping of its own fields, or null for photographs as they are")
        own = _checked(Preprocessing, changes["preprocessing"])
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
    if isinstance(levels, str) or not all(isinstance(item, str) for item in levels):
        raise SettingWrong("levels must be a list of names")
    return {**settings, **({"levels": tuple(levels)} if "levels" in settings else {})}


def _checked(kind: type, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    defaults = {item.name: item for item in dataclasses.fields(kind)}
    for name, value in settings.items():
        if name not in defaults:
            near = get_close_matches(name, defaults, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(defaults)}"
            raise SettingWrong(f"a recipe has no setting {name}: {hint}")
        wanted = str(defaults[name].type)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        right = {
            "float": number,
            "float | None": number or value is None,
            "int": isinstance(value, int) and not isinstance(value, bool),
            "str": isinstance(value, str),
            "bool": isinstance(value, bool),
        }.get(wanted, True)
        if not right:
            raise SettingWrong(f"the setting {name} must be of type {wanted}, not {value!r}")
    return settings


def _check_ranges(recipe: Recipe) -> None:
    for name in _RATIOS:
        value = getattr(recipe, name)
        if value is not None and not 0.0 < value < 1.0:
            raise SettingWrong(f"the setting {name} must lie between 0 and 1, not {value}")
    for name in ("confidence_min", "margin_min", "set_coverage"):
        value = getattr(recipe, name)
        if not 0.0 <= value < 1.0:
            raise SettingWrong(f"the setting {name} must be at least 0 and below 1, not {value}")
    if recipe.out_ratio > recipe.unsure_ratio:
        raise SettingWrong(f"out_ratio {recipe.out_ratio} must not be above unsure_ratio {recipe.unsure_ratio}")
    if recipe.head not in HEADS:
        raise SettingWrong(f"the setting head must be {' or '.join(HEADS)}, not {recipe.head}")
    if not 1 <= recipe.head_neighbours <= 1000:
        raise SettingWrong(f"the setting head_neighbours must lie between 1 and 1000, not {recipe.head_neighbours}")
    _check_side("input_px", recipe.input_px)
    _check_strength(recipe.strength)
    if not 0 <= recipe.views <= 200:
        raise SettingWrong(f"the setting views must lie between 0 and 200, not {recipe.views}")
    if not 1 <= recipe.forest_trees <= 1000 or not 2 <= recipe.forest_samples <= 4096:
        raise SettingWrong("forest_trees must lie between 1 and 1000, and forest_samples between 2 and 4096")
    if recipe.tuning is not None:
        _check_tuning(recipe.tuning)
    if recipe.companion is not None:
        _check_companion(recipe, recipe.companion)
    if recipe.preprocessing is not None:
        _check_preprocessing(recipe, recipe.preprocessing)
    if not 0.0 < recipe.head_inverse_penalty <= _FINITE_MAX:
        raise SettingWrong(
            f"the setting head_inverse_penalty must be finite and above 0, not {recipe.head_inverse_penalty}"
        )


def _check_side(name: str, side_px: int) -> None:
    if not 32 <= side_px <= 1024 or side_px % 32:
        raise SettingWrong(f"the setting {name} must be a multiple of 32 from 32 to 1024, not {side_px}")


def _check_strength(strength: Strength) -> None:
    for item in dataclasses.fields(strength):
        value = getattr(strength, item.name)
        most = next(most for end, most in _STRENGTH_MAX.items() if item.name.endswith(end))
        if not 0.0 <= value <= most:
            raise SettingWrong(f"the setting strength.{item.name} must lie between 0 and {most:g}, not {value}")


def _check_companion(recipe: Recipe, companion: Companion) -> None:
    spec_of(companion.backbone)
    _check_side("companion.input_px", companion.input_px)
    if companion.joined not in JOINED:
        raise SettingWrong(f"the setting companion.joined must be {' or '.join(JOINED)}, not {companion.joined}")
    if companion.joined == ANSWERS and recipe.head == NEIGHBOURS:
        raise SettingWrong(f"answers of the head {NEIGHBOURS} are not averaged: take companion.joined features")
    if recipe.tuning is not None:
        raise SettingWrong("a network that learns has no companion: set tuning or companion to null")


def _check_preprocessing(recipe: Recipe, how: Preprocessing) -> None:
    if how.denoise not in DENOISERS:
        raise SettingWrong(f"the setting preprocessing.denoise must be {' or '.join(DENOISERS)}, not {how.denoise}")
    if not 0.0 <= how.clahe_clip <= 256.0:
        raise SettingWrong(f"the setting preprocessing.clahe_clip must lie between 0 and 256, not {how.clahe_clip}")
    if not 1 <= how.clahe_tiles <= 32:
        raise SettingWrong(f"the setting preprocessing.clahe_tiles must lie between 1 and 32, not {how.clahe_tiles}")
    if recipe.tuning is not None:
        raise SettingWrong(
            "a network that learns is shown photographs as they are: set tuning or preprocessing to null"
        )


def _check_tuning(tuning: Tuning) -> None:
    for name in (
        "warm_up",
        "average_decay",
        "smoothing",
        "mix_ratio",
        "cutmix_share",
        "erasing_ratio",
        "minority_robust_ratio",
    ):
        if not 0.0 <= getattr(tuning, name) <= 1.0:
            raise SettingWrong(f"the setting tuning.{name} must lie between 0 and 1, not {getattr(tuning, name)}")
    for name, (least, most) in _WITHIN.items():
        if not least <= getattr(tuning, name) <= most:
            raise SettingWrong(
                f"the setting tuning.{name} must lie between {least} and {most}, not {getattr(tuning, name)}"
            )
    for name in ("rate", "head_rate", "rate_decay"):
        if not 0.0 < getattr(tuning, name) <= 1.0:
            raise SettingWrong(f"the setting tuning.{name} must be above 0 and at most 1, not {getattr(tuning, name)}")
    if not 0.0 < tuning.watch_share < 0.5:
        raise SettingWrong(f"the setting tuning.watch_share must lie between 0 and 0.5, not {tuning.watch_share}")
    if tuning.sampler not in SAMPLERS:
        raise SettingWrong(f"the setting tuning.sampler must be {' or '.join(SAMPLERS)}, not {tuning.sampler}")
    if tuning.precision not in PRECISIONS:
        raise SettingWrong(f"the setting tuning.precision must be {' or '.join(PRECISIONS)}, not {tuning.precision}")
    if tuning.batch % tuning.devices:
        raise SettingWrong(
            f"a batch of {tuning.batch} images cannot be shared by {tuning.devices} devices: set tuning.batch to a "
            f"multiple of tuning.devices"
        )

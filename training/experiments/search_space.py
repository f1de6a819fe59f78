"""Which recipes a search may try: fields of a recipe, each with choices or a range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from training.augmentation.standard import Strength
from training.errors import SettingWrong
from training.fitting.head_only import LINEAR
from training.fitting.recipe import Recipe, check_are_names, with_settings
from training.models import weights
from training.models.backbones import spec_of

if TYPE_CHECKING:
    from optuna.trial import Trial

_STRENGTH: Final = "strength"
# What decides the answers of a head on what a frozen backbone sees. Nothing else changes what the search measures.
SEARCHED: Final = (
    "backbone",
    "input_px",
    "levels",
    "views",
    "head",
    "head_shrinkage",
    "head_inverse_penalty",
    *(f"{_STRENGTH}.{field.name}" for field in fields(Strength)),
)
# Drawn only where the head that reads it was drawn: elsewhere it would be noise to the sampler.
_HEAD_OF: Final[Mapping[str, str]] = MappingProxyType({"head_shrinkage": "lda", "head_inverse_penalty": "logistic"})
_WHOLE: Final = ("input_px", "views")
_RANGE_KEYS: Final = ("low", "high", "log", "step")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, which have no order."""

    values: tuple[Any, ...]

    def draw(self, trial: Trial, field: str) -> None:
        trial.suggest_categorical(field, [said(value) for value in self.values])

    def value_of(self, drawn: object) -> Any:
        return next(value for value in self.values if said(value) == drawn)

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values

    def document(self) -> Any:
        return [list(value) if isinstance(value, tuple) else value for value in self.values]


@dataclass(frozen=True, slots=True)
class Range:
    """From low to high, both included; whole numbers where the field is one."""

    low: float
    high: float
    log: bool
    step: int | None  # of whole numbers; None: of real ones

    def draw(self, trial: Trial, field: str) -> None:
        if self.step is not None:
            trial.suggest_int(field, int(self.low), int(self.high), step=self.step, log=self.log)
        else:
            trial.suggest_float(field, self.low, self.high, log=self.log)

    def value_of(self, drawn: object) -> Any:
        return drawn

    @property
    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def document(self) -> Any:
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, "log": self.log, **step}


@dataclass(frozen=True, slots=True)
class Space:
    """Fields of a recipe, in the order of SEARCHED; all others stay as the recipe has them."""

    base: Recipe
    fields: Mapping[str, Choice | Range]

    def draw(self, trial: Trial) -> Recipe:
        """A recipe, drawn by the trial's sampler."""
        head = self.base.head
        for field, among in self.fields.items():
            if _HEAD_OF.get(field, head) != head:
                continue
            among.draw(trial, field)
            if field == "head":
                head = trial.params[field]
        return self.recipe_of(trial.params)

    def recipe_of(self, drawn: Mapping[str, Any]) -> Recipe:
        """drawn: a trial's parameters."""
        return _applied(self.base, {field: self.fields[field].value_of(value) for field, value in drawn.items()})

    def document(self) -> dict[str, Any]:
        """As YAML and JSON can carry it; `space_of` reads it back."""
        return {field: among.document() for field, among in self.fields.items()}

    @property
    def levels(self) -> Mapping[str, tuple[str, ...]]:
        """For each backbone all levels that recipes take of it, the recipe as it is too, in the network's order."""
        others = self.fields["backbone"].ends if "backbone" in self.fields else ()
        found = {}
        for backbone in dict.fromkeys((self.base.backbone, *others)):
            own = _applied(self.base, {"backbone": backbone}).levels
            drawn = self.fields["levels"].ends if "levels" in self.fields else ()
            taken = {level for levels in (own, *drawn) for level in levels}
            found[backbone] = tuple(level for level in spec_of(backbone).levels if level in taken)
        return found

    @property
    def views_max(self) -> int:
        """The recipe's own included."""
        drawn = self.fields["views"].ends if "views" in self.fields else ()
        return int(max((self.base.views, *drawn)))


def standard_space(base: Recipe) -> Space:
    """The fields that moved figures in the ablations, over the networks whose weights are installed."""
    found = {
        "backbone": [name for name in weights.SOURCES if weights.installed(name)],
        "input_px": [224, 288],
        "levels": [["head"], ["block5", "head"], ["block4", "block5", "head"]],
        "views": [4, 8, 12],
        "head": ["lda", "logistic"],
        "head_shrinkage": {"low": 0.02, "high": 0.8, "log": True},
        "head_inverse_penalty": {"low": 1.0, "high": 1000.0, "log": True},
        "strength.backdrop_ratio": [0.3, 0.6, 1.0],
    }
    return space_of(found, base)


def space_of(document: Mapping[str, Any], base: Recipe) -> Space:
    """`{FIELD: [value, ...]}` or `{FIELD: {low: 0.1, high: 1.0, log: true}}`.

    Raises SettingWrong, one sentence that names the field.
    """
    if base.tuning is not None:
        raise SettingWrong(
            "a search fits heads on what a frozen backbone sees: take a recipe without tuning, and compare fine-tuning "
            "by `amulet ablate --over tunings`"
        )
    if not document:
        raise SettingWrong(f"a space without a field leaves nothing to search: name some of {', '.join(SEARCHED)}")
    unknown = [field for field in document if field not in SEARCHED]
    if unknown:
        raise SettingWrong(
            f"{unknown[0]} cannot be searched: what the search measures depends on {', '.join(SEARCHED)} alone"
        )
    space = Space(base, {field: _among(field, document[field]) for field in SEARCHED if field in document})
    for field, among in space.fields.items():
        for value in among.ends:
            _check(field, value, base)
    _check_levels(space)
    return space


def said(value: object) -> str:
    """A value as the sampler and people know it."""
    return " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _among(field: str, given: object) -> Choice | Range:
    if isinstance(given, Mapping):
        return _range(field, given)
    if not isinstance(given, list) or not given:
        raise SettingWrong(
            f"{field} must be a list of values, or a range such as {{low: 0.1, high: 1.0, log: true}}, not {given!r}"
        )
    values = tuple(tuple(value) if isinstance(value, list) else value for value in given)
    if len({said(value) for value in values}) < len(values):
        raise SettingWrong(f"{field} names a value twice: each would be drawn as one")
    return Choice(values)


def _range(field: str, given: Mapping[str, Any]) -> Range:
    unknown = [key for key in given if key not in _RANGE_KEYS]
    if unknown or "low" not in given or "high" not in given:
        wrong = f"{unknown[0]} is none of them" if unknown else "low and high are needed"
        raise SettingWrong(f"the range of {field} is made of {', '.join(_RANGE_KEYS)}: {wrong}")
    low, high, log = given["low"], given["high"], given.get("log", False)
    whole = field in _WHOLE
    step = given.get("step", 1 if whole else None)
    kind, name = (int, "whole numbers") if whole else (int | float, "numbers")
    if not all(isinstance(end, kind) and not isinstance(end, bool) for end in (low, high)):
        raise SettingWrong(f"low and high of {field} must be {name}, not {low!r} and {high!r}")
    if not low < high:
        raise SettingWrong(f"low of {field} must be below high, not {low} and {high}")
    if not isinstance(log, bool) or (log and not low > 0):
        raise SettingWrong(f"log of {field} must be true or false, and true only where low is above 0")
    if step is not None and (not whole or isinstance(step, bool) or not isinstance(step, int) or step < 1):
        raise SettingWrong(f"step of {field} must be a whole number from 1, for fields of whole numbers alone")
    if log and step not in (None, 1):
        raise SettingWrong(f"{field} cannot have both log and a step: leave one out")
    return Range(low if whole else float(low), high if whole else float(high), log, step)


def _check(field: str, value: Any, base: Recipe) -> None:
    """Each value by itself: the recipe says what is wrong with it; levels are judged for every backbone."""
    if field == "levels":
        check_are_names(value)
    else:
        _applied(base, {field: value})
    if field == "backbone" and not weights.installed(value):
        weights.of_backbone(value)
    if field == "head" and value not in LINEAR:
        raise SettingWrong(f"the head {value} is no part of a graph: search among {' and '.join(LINEAR)}")


def _check_levels(space: Space) -> None:
    if "levels" not in space.fields:
        return
    for backbone in space.levels:
        known = spec_of(backbone).levels
        for levels in space.fields["levels"].ends:
            if not isinstance(levels, tuple) or not levels or levels[-1] != "head" or not set(levels) <= set(known):
                raise SettingWrong(
                    f"each choice of levels must be a list of {', '.join(known)} that ends with head, "
                    f"not {said(levels)}: {backbone} has no others"
                )


def _applied(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    settings: dict[str, Any] = {}
    for field, value in values.items():
        outer, dot, inner = field.partition(".")
        if dot:
            settings.setdefault(outer, {})[inner] = value
        else:
            settings[field] = list(value) if isinstance(value, tuple) else value
    return with_settings(base, settings)

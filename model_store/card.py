"""The card of a model version (`model.json`): what it knows, how well, and from what.

A card is read once with `Card.parse` and written once with `Card.render`; between the two
it is a typed, immutable value. `card.schema.json` beside this file is the same contract
for other languages, and the first thing that `parse` checks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

import jsonschema

from model_store import measured, strict_json
from model_store.measured import ConfusionCard, ReliabilityCard
from protos.verdict import DecisionLimits, DetectorLimits, Level

SCHEMA_VERSION: Final = 1
# A card travels to gateways and callers as a google.protobuf.Struct inside of three other messages. Protobuf reads 100
# levels, and each of JSON takes three.
DEPTH_MAX: Final = 24
VERSION_CHARACTERS_MAX: Final = 100
GOLDEN, DRAWN = "golden", "drawn"  # in training.config: its golden photographs are nobody's
# How a graph can explain itself -> the output that does.
EXPLANATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"grad_cam": "heatmap", "grad_cam_plus_plus": "heatmap_plus_plus"}
)
_SUFFIX = re.compile(r"[a-z0-9]{1,12}")
_VERSION = re.compile(r"v(?P<date>\d{8})_(?P<backbone>[a-z0-9_]+)_(?P<f1>[01]\.\d{3})(?:-[a-z0-9]{1,12})?")


class CardInvalid(ValueError):
    """A model.json that is not a card, with the place and what would be right."""


@dataclass(frozen=True, slots=True)
class ClassCard:
    id: str  # the folder's name
    names: Mapping[str, str]  # language tag -> display name; "en" always present


@dataclass(frozen=True, slots=True)
class GroupCard:
    """Classes that a level does not tell apart."""

    id: str
    names: Mapping[str, str]
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LevelCard:
    """A cut through the class tree: each class stands in exactly one group."""

    id: str
    names: Mapping[str, str]
    set_probability_min: float  # groups at or above belong to the prediction set, whose coverage is the classes'
    groups: tuple[GroupCard, ...]

    def rule(self, classes: Sequence[str]) -> Level:
        """As the verdict rule takes it. classes: in the order of the graph's outputs."""
        number = {label: index for index, group in enumerate(self.groups) for label in group.classes}
        return Level(self.id, tuple(number[label] for label in classes), self.set_probability_min)


@dataclass(frozen=True, slots=True)
class LookAlikesCard:
    """Two classes that cross-validated photographs of one side did not tell apart."""

    classes: tuple[str, str]
    side: str  # "front", "back", "edge" or "detail"; empty: nobody said which
    photos: int  # of the two classes and that side
    confused: int  # of them, those called the other
    separation: float  # AUROC of the evidence for one against the other; 0.5 is a guess
    decided_by: tuple[str, ...]  # sides that tell the two apart


@dataclass(frozen=True, slots=True)
class InputCard:
    height_px: int
    width_px: int
    fit: str  # "centre_crop": the largest centred square, then scaled to this size


@dataclass(frozen=True, slots=True)
class FormChoice:
    """Why the graph has this form, on this processor. Figures of neither where 8 bits were refused or not measured."""

    processor: str
    why: str
    fp32_ms: float | None = None  # median CPU time of one photograph, one thread
    int8_ms: float | None = None
    accuracy_fp32: float | None = None  # on photographs that the quantisation did not see
    accuracy_int8: float | None = None


@dataclass(frozen=True, slots=True)
class GraphCard:
    file: str
    sha256: str
    form: str  # "fp32" or "int8"
    opset: int
    embedding_size: int
    heat_map: tuple[int, int]  # rows, columns
    detectors: tuple[str, ...]  # names of the score outputs without their "score_" prefix
    choice: FormChoice | None = None  # None: only one form was made
    explanations: tuple[str, ...] = ("grad_cam",)  # names of EXPLANATIONS


@dataclass(frozen=True, slots=True)
class ExamplesCard:
    """The references that the graph names as nearest; `model_store.examples` reads the file."""

    count: int
    sha256: str  # of examples.json
    thumbnails: bool  # may be shown


@dataclass(frozen=True, slots=True)
class CalibrationCard:
    """What the temperature does on photographs that it was not fitted on: (without it, with it)."""

    nll: tuple[float, float]  # nats
    ece: tuple[float, float]
    refused: str  # why the temperature is 1; empty where it was fitted


@dataclass(frozen=True, slots=True)
class DecisionCard:
    limits: DecisionLimits
    chosen_on: str  # which photographs, and by which rule


@dataclass(frozen=True, slots=True)
class SplitCard:
    seed: int
    method: str
    counts: Mapping[str, int]  # part -> photographs
    leaks: tuple[tuple[str, str], ...]  # pairs of files that stand on both sides; empty or not signed


@dataclass(frozen=True, slots=True)
class DataCard:
    name: str
    fingerprint: str  # SHA-256 over the sorted (relative path, SHA-256 of the content) lines
    photos: int
    per_class: Mapping[str, int]
    split: SplitCard


@dataclass(frozen=True, slots=True)
class TrainingCard:
    recipe: str
    seed: int
    config: Mapping[str, Any]  # all that decides the run
    code_version: str
    environment: Mapping[str, str]  # package -> version


@dataclass(frozen=True, slots=True)
class WeightsCard:
    backbone: str
    source: str
    licence: str


@dataclass(frozen=True, slots=True)
class MetricCard:
    name: str
    value: float
    low: float  # 95 % interval
    high: float
    data: str  # which photographs, which split, which seed


@dataclass(frozen=True, slots=True)
class GoldenCard:
    """A photograph with the graph's own answer, for readiness and for parity on other machines."""

    file: str
    sha256: str
    probabilities: tuple[float, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Card:
    name: str  # the model's name, [a-z0-9_-]
    version: str  # v{date}_{backbone}_{f1:.3f}, with -{suffix} where two would collide
    created_at: datetime  # aware
    classes: tuple[ClassCard, ...]  # in the order of the graph's outputs
    input: InputCard
    graph: GraphCard
    temperature: float
    decision: DecisionCard
    data: DataCard
    training: TrainingCard
    weights: WeightsCard
    metrics: tuple[MetricCard, ...]
    golden: tuple[GoldenCard, ...]
    examples: ExamplesCard | None = None  # None: answers name no reference examples
    levels: tuple[LevelCard, ...] = ()  # of the class tree, lowest first
    look_alikes: tuple[LookAlikesCard, ...] = ()
    calibration: CalibrationCard | None = None  # None: an older version, whose temperature was not tried
    confusion: ConfusionCard | None = None  # None, as the next: an older version, whose card has single figures alone
    reliability: ReliabilityCard | None = None

    @staticmethod
    def parse(text: str | bytes) -> Card:
        """Read a card. Raises CardInvalid naming the first wrong place and what belongs there."""
        try:
            document = strict_json.loads(text)
        except ValueError as error:
            raise CardInvalid(f"model.json is not JSON: {error}") from None
        validate(document)
        try:
            card = _card_of(document)
        except (KeyError, TypeError, ValueError) as error:
            raise CardInvalid(f"model.json: {error}") from None
        _check_agreement(card)
        return card

    def render(self) -> str:
        """The JSON text of this card: stable key order, two spaces, newline at the end.

        Raises CardInvalid when the card does not satisfy its own schema or contradicts itself.
        """
        _check_agreement(self)
        document = {
            "schema": SCHEMA_VERSION,
            **asdict(self),
            "created_at": self.created_at.isoformat(),
        }
        document["decision"] = {**document["decision"].pop("limits"), **document["decision"]}
        if self.graph.choice is None:
            del document["graph"]["choice"]
        else:
            told = {name: value for name, value in document["graph"]["choice"].items() if value is not None}
            document["graph"]["choice"] = told
        for part in ("examples", "levels", "look_alikes", "calibration", "confusion", "reliability"):
            if not document[part]:
                del document[part]
        document = json.loads(json.dumps(document))
        validate(document)
        return json.dumps(document, ensure_ascii=False, indent=2) + "\n"

    @property
    def level_rules(self) -> tuple[Level, ...]:
        """The levels as the verdict rule takes them."""
        classes = [item.id for item in self.classes]
        return tuple(level.rule(classes) for level in self.levels)

    @property
    def golden_are_drawn(self) -> bool:
        """Whether its golden photographs are nobody's. Else they are of the photographs that it was trained on."""
        return bool(self.training.config.get(GOLDEN) == DRAWN)

    def metric(self, name: str) -> MetricCard | None:
        return next((metric for metric in self.metrics if metric.name == name), None)


def check_suffix(suffix: str) -> None:
    """Raises ValueError unless a version name can end in it."""
    if suffix and not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"{suffix!r} is no suffix of a version name: 1 to 12 small letters and digits, as job12")


def version_name(*, created_at: datetime, backbone: str, macro_f1: float, suffix: str = "") -> str:
    """`v{date}_{backbone}_{f1:.3f}`; the suffix tells two runs of one day apart."""
    name = f"v{created_at:%Y%m%d}_{backbone}_{macro_f1:.3f}" + (f"-{suffix}" if suffix else "")
    if not _VERSION.fullmatch(name) or len(name) > VERSION_CHARACTERS_MAX:
        raise ValueError(
            f"{name} is not a version name of the form v20261231_backbone_0.875, "
            f"of at most {VERSION_CHARACTERS_MAX} characters"
        )
    return name


def validate(document: object) -> None:
    """Check a parsed model.json against the schema. Raises CardInvalid with a JSON path."""
    _check_values(document)  # first: what is nested deeply cannot be told in a complaint about its place
    # The first only: a document may be made to have millions. The schema states sizes before items.
    for error in _validator().iter_errors(document):
        raise CardInvalid(f"model.json at {error.json_path}: {_shortened(error.message)}")


def _check_values(document: object) -> None:
    """What the console's database and the policy can hold, wherever on the card it stands."""
    level: list[Any] = [document]
    for _ in range(DEPTH_MAX + 1):
        if any("\0" in text for text in level if isinstance(text, str)):
            raise CardInvalid("model.json holds the character U+0000, which databases and other readers refuse")
        wholes = [part for part in level if isinstance(part, dict | list)]
        if not wholes:
            return
        level = [part for whole in wholes for part in _parts(whole)]
    raise CardInvalid(f"model.json is nested more than {DEPTH_MAX} deep")


def _parts(whole: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return chain(whole, whole.values()) if isinstance(whole, dict) else whole


def _shortened(message: str) -> str:
    """jsonschema says the whole value first and the complaint last."""
    return message if len(message) <= 300 else f"{message[:150]} … {message[-150:]}"


@cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(resources.files(__package__).joinpath("card.schema.json").read_text("utf-8"))
    plain = jsonschema.Draft202012Validator
    strict: type[jsonschema.Draft202012Validator] = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        plain,  # its stubs leave the parameters open
        validators={"pattern": _pattern},
        # 224.0 is an integer to JSON Schema, and a float to everyone who computes with it.
        type_checker=plain.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
    )
    return strict(schema, format_checker=jsonschema.FormatChecker())


def _pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[jsonschema.ValidationError]:
    """JSON Schema's `$` is the end of the text; Python's also stands before a last newline."""
    anchored = pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern
    if isinstance(instance, str) and not re.search(anchored, instance):
        yield jsonschema.ValidationError(f"{instance[:200]!r} does not match {pattern!r}")


def _check_agreement(card: Card) -> None:
    """What no schema can say: the parts of a card speak of the same classes and detectors."""
    try:
        card.created_at.astimezone(UTC)
    except OverflowError:
        raise CardInvalid("model.json at $.created_at: a moment that is in the years 1 to 9999 in UTC, too") from None
    classes = [item.id for item in card.classes]
    if len(set(classes)) != len(classes) or {".", ".."} & set(classes):
        raise CardInvalid("model.json at $.classes: every class has an id of its own, which can name a folder")
    unknown = sorted(set(card.data.per_class) - set(classes))
    if unknown:
        raise CardInvalid(f"model.json at $.data.per_class: {unknown[0]} is none of the classes")
    _check_levels(card.levels, classes)
    known = set(classes)
    if any(len(set(pair.classes)) != 2 or not known.issuperset(pair.classes) for pair in card.look_alikes):
        raise CardInvalid("model.json at $.look_alikes: a pair is two of the classes")
    if len({metric.name for metric in card.metrics}) != len(card.metrics):
        raise CardInvalid("model.json at $.metrics: every metric has a name of its own")
    if wrong := measured.problem(card.confusion, card.reliability, classes):
        raise CardInvalid(f"model.json at {wrong}")
    detectors = set(card.graph.detectors)
    limited = [detector.name for detector in card.decision.limits.detectors]
    if set(limited) != detectors or len(limited) != len(detectors):
        raise CardInvalid("model.json at $.decision.detectors: one entry for each of graph.detectors, and no other")
    for golden in card.golden:
        if len(golden.probabilities) != len(classes) or set(golden.scores) != detectors:
            raise CardInvalid(
                f"model.json at $.golden: {golden.file} has one probability a class and one score a detector"
            )
    if len({golden.file for golden in card.golden}) != len(card.golden):
        raise CardInvalid("model.json at $.golden: every photograph is listed once")


def _check_levels(levels: Sequence[LevelCard], classes: Sequence[str]) -> None:
    if len({level.id for level in levels}) != len(levels):
        raise CardInvalid("model.json at $.levels: every level has an id of its own")
    known = set(classes)
    below: Mapping[str, str] = {label: label for label in classes}  # class -> its group
    for level in levels:
        group_of = {label: group.id for group in level.groups for label in group.classes}
        members = sum(len(group.classes) for group in level.groups)
        if len({group.id for group in level.groups}) != len(level.groups) or members != len(classes):
            raise CardInvalid(f"model.json at $.levels: each class stands in exactly one group of {level.id}")
        if set(group_of) != known:
            raise CardInvalid(f"model.json at $.levels: the groups of {level.id} hold the classes, all and no others")
        # A class that ends above the cut stands for itself; any other group of a class's name would be taken for it.
        if any(group.id in known and group.classes != (group.id,) for group in level.groups):
            raise CardInvalid(f"model.json at $.levels: a group of {level.id} has the id of a class")
        if len({(below[label], group_of[label]) for label in classes}) != len(set(below.values())):
            raise CardInvalid(f"model.json at $.levels: a group of the level below stands in several of {level.id}")
        below = group_of


def _card_of(document: Mapping[str, Any]) -> Card:
    decision = document["decision"]
    return Card(
        name=document["name"],
        version=document["version"],
        created_at=datetime.fromisoformat(document["created_at"]),
        classes=tuple(ClassCard(**item) for item in document["classes"]),
        input=InputCard(**document["input"]),
        graph=GraphCard(
            **{
                **document["graph"],
                "heat_map": tuple(document["graph"]["heat_map"]),
                "detectors": tuple(document["graph"]["detectors"]),
                "explanations": tuple(document["graph"].get("explanations", ("grad_cam",))),
                "choice": FormChoice(**document["graph"]["choice"]) if "choice" in document["graph"] else None,
            }
        ),
        temperature=document["temperature"],
        decision=DecisionCard(
            limits=DecisionLimits(
                confidence_min=decision["confidence_min"],
                margin_min=decision["margin_min"],
                detectors=tuple(DetectorLimits(**item) for item in decision["detectors"]),
                set_coverage=decision["set_coverage"],
                set_probability_min=decision["set_probability_min"],
            ),
            chosen_on=decision["chosen_on"],
        ),
        data=DataCard(
            **{
                **document["data"],
                "split": SplitCard(
                    **{
                        **document["data"]["split"],
                        "leaks": tuple((first, second) for first, second in document["data"]["split"]["leaks"]),
                    }
                ),
            }
        ),
        training=TrainingCard(**document["training"]),
        weights=WeightsCard(**document["weights"]),
        metrics=tuple(MetricCard(**item) for item in document["metrics"]),
        golden=tuple(
            GoldenCard(**{**item, "probabilities": tuple(item["probabilities"])}) for item in document["golden"]
        ),
        examples=ExamplesCard(**document["examples"]) if "examples" in document else None,
        levels=tuple(
            LevelCard(
                **{
                    **level,
                    "groups": tuple(
                        GroupCard(**{**group, "classes": tuple(group["classes"])}) for group in level["groups"]
                    ),
                }
            )
            for level in document.get("levels", ())
        ),
        look_alikes=tuple(
            LookAlikesCard(**{**pair, "classes": (first, second), "decided_by": tuple(pair["decided_by"])})
            for pair in document.get("look_alikes", ())
            for first, second in [pair["classes"]]
        ),
        calibration=_calibration_of(document["calibration"]) if "calibration" in document else None,
        confusion=ConfusionCard(**document["confusion"]) if "confusion" in document else None,
        reliability=measured.reliability_of(document["reliability"]) if "reliability" in document else None,
    )


def _calibration_of(document: Mapping[str, Any]) -> CalibrationCard:
    (nll_without, nll_with), (ece_without, ece_with) = document["nll"], document["ece"]
    return CalibrationCard((nll_without, nll_with), (ece_without, ece_with), document["refused"])

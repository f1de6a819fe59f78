"""What a model still knows of photographs that were made worse, each way at five strengths.

The photographs are degraded as the model sees them, after decoding and scaling. Of each
photograph every degradation draws its direction, place or noise once and keeps it over the
five strengths: a curve then shows the strength and not the luck of the draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_store.card import Card
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import Decision
from training.augmentation import backdrop, robust
from training.data import quality
from training.data.duplicates import grouped
from training.data.errors import FolderMissing
from training.data.folder import Photo, fingerprint, scan_folder
from training.errors import LabelsUnknown, SettingWrong
from training.evaluation.assessment import VERDICTS
from training.served.answers import GraphModel, verdict_name
from training.served.learnt import TrainedOn
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap_all, of_class_mean

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]
Apply = Callable[[Pixels, float, np.random.Generator], Pixels]  # at a strength
# Given images (of the photographs' rows, in any number), their calibrated probabilities [n, classes] and verdicts.
Answerer = Callable[[NDArray[np.intp], Sequence[Pixels]], tuple[NDArray[np.floating], Sequence[Decision]]]
_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Degradation:
    """One way to make a photograph worse."""

    name: str
    said: str  # what happened to the photograph
    unit: str
    strengths: tuple[float, ...]  # five, from hardly visible to hardly recognisable
    apply: Apply


def _mixed_backdrop(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    other = backdrop.replaced(pixels, rng).astype(np.float32)
    return np.asarray((pixels * (1.0 - share) + other * share).round().clip(0.0, 255.0), np.uint8)


def _still(apply: Callable[[Pixels, float], Pixels]) -> Apply:
    """A degradation that draws nothing."""
    return lambda pixels, strength, _rng: apply(pixels, strength)


def _along(apply: Callable[[Pixels, float, float], Pixels], angle_deg_max: float) -> Apply:
    """A degradation with a direction, drawn from 0 to angle_deg_max."""
    return lambda pixels, strength, rng: apply(pixels, strength, rng.uniform(0.0, angle_deg_max))


def _turned(pixels: Pixels, angle_deg: float, rng: np.random.Generator) -> Pixels:
    return robust.turned(pixels, angle_deg if rng.random() < 0.5 else -angle_deg)


_DEVIATION: Final = "px (standard deviation)"
_LIGHT: Final = "times the light"
_GAIN: Final = "(logarithm of the gain)"
DEGRADATIONS: Final = tuple(
    Degradation(*row)
    for row in (
        ("jpeg", "JPEG", "of quality", (75, 50, 30, 15, 8), _still(lambda pixels, q: robust.jpeg(pixels, int(q)))),
        ("gaussian_blur", "out of focus", _DEVIATION, (0.6, 1.2, 2.0, 3.0, 4.5), _still(robust.gaussian_blur)),
        ("motion_blur", "shaken", "px long", (3, 6, 10, 15, 21), _along(robust.motion_blur, 180.0)),
        ("noise", "noise", "of 255 (standard deviation)", (5, 10, 20, 35, 50), robust.noise),
        ("dark", "too little light", _LIGHT, (0.75, 0.55, 0.4, 0.27, 0.18), _still(robust.exposed)),
        ("bright", "too much light", _LIGHT, (1.25, 1.5, 1.9, 2.4, 3.0), _still(robust.exposed)),
        ("colour_cast", "light of another colour", _GAIN, (0.1, 0.2, 0.3, 0.45, 0.6), _along(robust.colour_cast, 360)),
        ("occlusion", "partly covered", "of the picture", (0.05, 0.1, 0.2, 0.3, 0.4), robust.occluded),
        ("rotation", "turned", "degrees", (5, 10, 20, 45, 90), _turned),
        ("downscale", "from afar", "of its side", (0.7, 0.5, 0.35, 0.25, 0.15), _still(robust.downscaled)),
        ("backdrop", "on another table", "of the change", (0.2, 0.4, 0.6, 0.8, 1.0), _mixed_backdrop),
    )
)


@dataclass(frozen=True, slots=True)
class Level:
    """What was said of all photographs at one strength."""

    strength: float
    accuracy: float
    balanced_accuracy: Interval
    ece: float
    verdicts: Mapping[str, float]  # shares
    accepted_accuracy: float | None  # among IN_DOMAIN; None where nothing is
    flagged: float  # share that the quality check would remark on before the model is asked


@dataclass(frozen=True, slots=True)
class Curve:
    """One degradation, from the weakest to the strongest."""

    degradation: Degradation
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Robustness:
    """Every degradation against the photographs as they are."""

    photos: int
    unchanged: Level
    curves: tuple[Curve, ...]
    samples: Mapping[str, tuple[Pixels, ...]]  # degradation -> one photograph at each strength

    @property
    def mean_balanced_accuracy(self) -> float:
        """Over all degradations and strengths."""
        return float(np.mean([level.balanced_accuracy.value for curve in self.curves for level in curve.levels]))

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {
            "photos": self.photos,
            "unchanged": _level_document(self.unchanged),
            "mean_balanced_accuracy": self.mean_balanced_accuracy,
            "degradations": {
                curve.degradation.name: {
                    "what": curve.degradation.said,
                    "unit": curve.degradation.unit,
                    "levels": [_level_document(level) for level in curve.levels],
                }
                for curve in self.curves
            },
        }


@dataclass(frozen=True, slots=True)
class ModelRobustness:
    """A served model's robustness on a folder."""

    card: Card
    path: Path
    found: Robustness
    fingerprint: str
    trained_on: TrainedOn  # where any was: figures fall from too high

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {
            "model": self.card.version,
            "data": {
                "path": str(self.path),
                "fingerprint": self.fingerprint,
                "photos": self.found.photos,
                "seen_in_training": bool(self.trained_on),
                "trained_on": asdict(self.trained_on),
            },
            **self.found.document(),
        }


def chosen(names: Sequence[str]) -> tuple[Degradation, ...]:
    """The degradations of these names, in the table's order; all where none is named. Raises SettingWrong."""
    known = [each.name for each in DEGRADATIONS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SettingWrong(f"there is no degradation {unknown[0]}: known are {', '.join(known)}")
    return tuple(each for each in DEGRADATIONS if not names or each.name in names)


def of_model(
    model: GraphModel,
    data: Path,
    *,
    degradations: Sequence[Degradation] = DEGRADATIONS,
    seed: int = 0,
    progress: Progress | None = None,
) -> ModelRobustness:
    """Measure through the graph that is served.

    Raises FolderMissing, ClassesWrong; PhotoBroken for a file that cannot be read, LabelsUnknown
    for a class that the model does not know.
    """
    scan = scan_folder(data)
    classes = [item.id for item in model.card.classes]
    unknown = [label for label in scan.classes if label not in classes]
    if unknown:
        raise LabelsUnknown(f"{data / unknown[0]} is no class of {model.card.version}: it knows {', '.join(classes)}")
    if scan.broken:
        raise scan.broken[0]
    if not scan.photos:
        raise FolderMissing(f"{data} holds no photograph: there is nothing to measure on")

    def answer(_rows: NDArray[np.intp], images: Sequence[Pixels]) -> tuple[NDArray[np.floating], Sequence[Decision]]:
        answers = model.answer(images)
        return answers.probabilities, answers.decisions(model.card)

    found = measure(
        scan.photos,
        np.array([classes.index(photo.label) for photo in scan.photos], np.intp),
        lambda photo: model.seen(photo),
        answer,
        degradations=degradations,
        seed=seed,
        progress=progress,
    )
    return ModelRobustness(model.card, data, found, fingerprint(scan.photos), model.learnt.trained_on(scan.photos))


def measure(
    photos: Sequence[Photo],
    labels: NDArray[np.intp],
    pixels: Callable[[Photo], Pixels],
    answer: Answerer,
    *,
    degradations: Sequence[Degradation] = DEGRADATIONS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Robustness:
    """photos [n] with labels [n].  pixels: one as the model sees it.  Same photographs and seed, same figures."""
    settings: list[tuple[Degradation | None, float]] = [(None, 0.0)]
    settings += [(degradation, strength) for degradation in degradations for strength in degradation.strengths]
    total = len(photos) * len(settings)
    said: list[list[tuple[NDArray[np.floating], Decision, bool]]] = [[] for _ in settings]
    samples: dict[str, tuple[Pixels, ...]] = {}
    for row, photo in enumerate(photos):
        original = pixels(photo)
        images = [original, *_degraded(original, degradations, [seed, int(photo.sha256[:16], 16)])]
        if row == 0:
            samples = {
                each.name: tuple(images[1 + 5 * number : 6 + 5 * number]) for number, each in enumerate(degradations)
            }
        flagged = [_flagged(image) for image in images]
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            rows, decisions = answer(np.full(len(batch), row), batch)
            for offset, (probabilities, decision) in enumerate(zip(rows, decisions, strict=True)):
                said[start + offset].append((probabilities, decision, flagged[start + offset]))
        if progress is not None:
            progress((row + 1) * len(settings), total)
    levels = _levels(settings, said, labels, grouped(photos), seed=seed)
    return Robustness(
        photos=len(photos),
        unchanged=levels[0],
        curves=tuple(
            Curve(degradation, tuple(levels[1 + 5 * number : 6 + 5 * number]))
            for number, degradation in enumerate(degradations)
        ),
        samples=samples,
    )


def _degraded(original: Pixels, degradations: Sequence[Degradation], seed: Sequence[int]) -> Iterator[Pixels]:
    for degradation in degradations:
        for strength in degradation.strengths:
            # By name: a degradation draws the same whichever others are measured beside it.
            rng = np.random.default_rng([*seed, *degradation.name.encode()])
            yield degradation.apply(original, strength, rng)


def _flagged(pixels: Pixels) -> bool:
    luma = np.asarray(Image.fromarray(pixels).convert("L"))
    # Of the size nothing can be said: it is the model's own.
    return bool(quality.flaws(quality.measure(luma), width_px=quality.SIDE_PX_MIN, height_px=quality.SIDE_PX_MIN))


def _levels(
    settings: Sequence[tuple[Degradation | None, float]],
    said: Sequence[Sequence[tuple[NDArray[np.floating], Decision, bool]]],
    labels: NDArray[np.intp],
    groups: NDArray[np.intp],
    *,
    seed: int,
) -> list[Level]:
    tables = [np.stack([probabilities for probabilities, _, _ in rows]).astype(np.float64) for rows in said]
    right = np.stack([table.argmax(axis=1) == labels for table in tables]).astype(np.float64)  # [settings, n]
    balanced = bootstrap_all(
        lambda rows: np.asarray(right @ metrics.balanced_weights(labels, rows)), [labels], seed=seed, groups=[groups]
    )
    levels = []
    for number, (_, strength) in enumerate(settings):
        verdicts = np.array([decision.verdict for _, decision, _ in said[number]])
        accepted = verdicts == words.VERDICT_IN_DOMAIN
        levels.append(
            Level(
                strength=strength,
                accuracy=float(right[number].mean()),
                balanced_accuracy=of_class_mean(balanced[number], groups, labels),
                ece=metrics.expected_calibration_error(tables[number], labels),
                verdicts={verdict_name(verdict): float((verdicts == verdict).mean()) for verdict in VERDICTS},
                accepted_accuracy=float(right[number][accepted].mean()) if accepted.any() else None,
                flagged=float(np.mean([flagged for _, _, flagged in said[number]])),
            )
        )
    return levels


def _level_document(level: Level) -> dict[str, Any]:
    return {
        "strength": level.strength,
        "accuracy": level.accuracy,
        "balanced_accuracy": level.balanced_accuracy.value,
        "balanced_accuracy_interval": level.balanced_accuracy.pair(),
        "ece": level.ece,
        "verdicts": dict(level.verdicts),
        "accepted_accuracy": level.accepted_accuracy,
        "flagged": level.flagged,
    }

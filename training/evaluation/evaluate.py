"""`amulet evaluate`: one model on labelled photographs and on photographs of other things.

The JSON is the contract's; what cannot be said of a data set (an accuracy of what was
accepted where nothing was) is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import Decision
from training.data.errors import FolderMissing, PhotoBroken
from training.data.folder import SUFFIXES, Photo, fingerprint, read_photo, scan_folder
from training.errors import LabelsUnknown
from training.evaluation import metrics
from training.evaluation.answers import Answers, GraphModel, Progress, reason_names, verdict_name
from training.evaluation.intervals import bootstrap

_SEED: Final = 0  # of the bootstrap: the same photographs give the same intervals


@dataclass(frozen=True, slots=True)
class OutsideSet:
    """Photographs of things that are none of the classes."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Measured:
    """Photographs with what the model said of them."""

    photos: tuple[Photo, ...]
    answers: Answers
    decisions: tuple[Decision, ...]

    @property
    def scores(self) -> NDArray[np.float64]:
        return np.array([decision.ood_score for decision in self.decisions], np.float64)


def evaluate(
    model: GraphModel, data: Path, outside: Sequence[OutsideSet] = (), *, progress: Progress | None = None
) -> dict[str, Any]:
    """The document of contracts.md, with `intervals`, `by_side` and `unreadable` added.

    Files that cannot be read are listed under `unreadable` and left out of every figure.
    Raises FolderMissing, ClassesWrong; LabelsUnknown for a class folder the model does not know.
    """
    scan = scan_folder(data)
    classes = [item.id for item in model.card.classes]
    unknown = [label for label in scan.classes if label not in classes]
    if unknown:
        raise LabelsUnknown(
            f"{data / unknown[0]} is no class of {model.card.version}: it knows {', '.join(classes)}; "
            f"photographs of other things are given with --ood"
        )
    sets = {item.name: _outside_photos(item) for item in outside}
    total = len(scan.photos) + sum(len(photos) for photos, _ in sets.values())
    done = 0

    def counted(photos: Sequence[Photo], broken: list[PhotoBroken]) -> Measured:
        nonlocal done
        measured = _measured(model, photos, broken, lambda now: progress(done + now, total) if progress else None)
        done += len(photos)
        return measured

    broken = list(scan.broken)
    known = counted(scan.photos, broken)
    if not known.photos:
        raise FolderMissing(f"{data} holds no photograph that can be read: there is nothing to measure on")
    others = {}
    for name, (photos, unreadable) in sets.items():
        broken.extend(unreadable)
        others[name] = counted(photos, broken)
    labels = np.array([classes.index(photo.label) for photo in known.photos])
    figures, figure_intervals = _classification(known.answers.probabilities, labels, classes)
    ood, ood_intervals = _outside(known, labels, others)
    return {
        "model": model.card.version,
        "data": {"path": str(data), "fingerprint": fingerprint(known.photos), "photos": len(known.photos)},
        **figures,
        "temperature": model.card.temperature,
        "coverage": _coverage(model, known, labels),
        "ood": ood,
        "intervals": {**figure_intervals, "ood": ood_intervals},
        "by_side": _by_side(known, labels),
        "unreadable": [{"file": str(item.path), "why": item.why} for item in broken],
        "predictions": [
            *_predictions(known, classes),
            *(row for name, measured in others.items() for row in _predictions(measured, classes, outside=name)),
        ],
    }


def _outside_photos(item: OutsideSet) -> tuple[tuple[Photo, ...], tuple[PhotoBroken, ...]]:
    """All photographs below a folder. Raises FolderMissing where there are none."""
    if not item.path.is_dir():
        raise FolderMissing(f"there is no folder {item.path}: give a folder of photographs of other things")
    photos, broken = [], []
    for file in sorted(item.path.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or not file.is_file() or file.name.startswith("."):
            continue
        try:
            photos.append(read_photo(file, relative=file.relative_to(item.path).as_posix(), label=item.name))
        except PhotoBroken as error:
            broken.append(error)
    if not photos:
        raise FolderMissing(f"{item.path} holds no photograph that can be read: add some, or leave the set out")
    return tuple(photos), tuple(broken)


def _measured(
    model: GraphModel, photos: Sequence[Photo], broken: list[PhotoBroken], progress: Callable[[int], None]
) -> Measured:
    """Answers on the photographs that the handler would read; the others are added to `broken`."""
    read: list[Photo] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for number, photo in enumerate(photos, start=1):
            progress(number)
            try:
                pixels = model.pixels(photo.path)
            except PhotoBroken as error:
                broken.append(error)
                continue
            read.append(photo)
            yield pixels

    answers = model.answer(images())
    return Measured(tuple(read), answers, answers.decisions(model.card))


def _classification(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], classes: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    predicted = probabilities.argmax(axis=1)
    figures: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for name, measure in {
        "accuracy": lambda rows: metrics.accuracy(labels[rows], predicted[rows]),
        "balanced_accuracy": lambda rows: metrics.balanced_accuracy(labels[rows], predicted[rows]),
        "macro_f1": lambda rows: metrics.macro_f1(labels[rows], predicted[rows]),
        "ece": lambda rows: metrics.expected_calibration_error(probabilities[rows], labels[rows]),
        "brier": lambda rows: metrics.brier(probabilities[rows], labels[rows]),
        "nll": lambda rows: metrics.negative_log_likelihood(probabilities[rows], labels[rows]),
    }.items():
        interval = bootstrap(measure, [labels], seed=_SEED)
        figures[name], intervals[name] = interval.value, interval.pair()
    per_class = metrics.f1_per_class(labels, predicted)
    counts = metrics.confusion_matrix(labels, predicted, classes=len(classes))
    return {
        "accuracy": figures["accuracy"],
        "balanced_accuracy": figures["balanced_accuracy"],
        "macro_f1": figures["macro_f1"],
        "per_class_f1": {classes[label]: value for label, value in per_class.items()},
        "confusion_matrix": {"labels": list(classes), "counts": counts.tolist()},
        "ece": figures["ece"],
        "brier": figures["brier"],
        "nll": figures["nll"],
    }, intervals


def _coverage(model: GraphModel, known: Measured, labels: NDArray[np.integer]) -> dict[str, float | None]:
    accepted = np.array([decision.verdict == words.VERDICT_IN_DOMAIN for decision in known.decisions])
    right = known.answers.probabilities.argmax(axis=1) == labels
    sets = known.answers.sets(model.card)
    promised = model.card.decision.limits.set_coverage > 0.0
    return {
        "accepted": float(accepted.mean()),
        "accepted_accuracy": float(right[accepted].mean()) if accepted.any() else None,
        "prediction_set_coverage": float(np.mean([label in found for label, found in zip(labels, sets, strict=True)]))
        if promised
        else None,
        "prediction_set_size": float(np.mean([len(found) for found in sets])) if promised else None,
    }


def _outside(
    known: Measured, labels: NDArray[np.integer], others: Mapping[str, Measured]
) -> tuple[dict[str, Any], dict[str, Any]]:
    figures: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    inside = known.scores
    for name, measured in others.items():
        scores = measured.scores
        if not len(scores):
            continue
        strata = [labels, np.zeros(len(scores), np.int64)]
        area = bootstrap(lambda a, b, s=scores: metrics.auroc(inside[a], s[b]), strata, seed=_SEED)
        rate = bootstrap(lambda a, b, s=scores: metrics.fpr_at_95_tpr(inside[a], s[b]), strata, seed=_SEED)
        out = [decision.verdict == words.VERDICT_OUT_OF_DISTRIBUTION for decision in measured.decisions]
        figures[name] = {
            "auroc": area.value,
            "fpr_at_95_tpr": rate.value,
            "rejected": float(np.mean(out)),
            "photos": len(scores),
        }
        intervals[name] = {"auroc": area.pair(), "fpr_at_95_tpr": rate.pair()}
    return figures, intervals


def _by_side(known: Measured, labels: NDArray[np.integer]) -> dict[str, Any]:
    sides = np.array([photo.side_name for photo in known.photos])
    predicted = known.answers.probabilities.argmax(axis=1)
    if set(sides) == {"unknown"}:
        return {}
    return {
        str(side): {
            "photos": int((sides == side).sum()),
            "accuracy": metrics.accuracy(labels[sides == side], predicted[sides == side]),
            "balanced_accuracy": metrics.balanced_accuracy(labels[sides == side], predicted[sides == side]),
            "macro_f1": metrics.macro_f1(labels[sides == side], predicted[sides == side]),
        }
        for side in np.unique(sides)
    }


def _predictions(measured: Measured, classes: Sequence[str], *, outside: str | None = None) -> list[dict[str, Any]]:
    rows = []
    for index, (photo, decision) in enumerate(zip(measured.photos, measured.decisions, strict=True)):
        row = measured.answers.probabilities[index]
        found: dict[str, Any] = {
            "file": photo.relative,
            "label": photo.label if outside is None else None,
            "predicted": classes[int(row.argmax())],
            "confidence": float(row.max()),
            "verdict": verdict_name(decision.verdict),
            "reasons": reason_names(decision.reasons),
            "ood_score": decision.ood_score,
            "scores": {name: float(values[index]) for name, values in measured.answers.scores.items()},
        }
        if outside is not None:
            found["set"] = outside
        rows.append(found)
    return rows

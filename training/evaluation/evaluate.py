"""`amulet evaluate`: one model on labelled photographs and on photographs of other things.

The JSON is the contract's; what cannot be said of a data set (an accuracy of what was
accepted where nothing was) is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_store.card import Card
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import Decision
from training.data.duplicates import grouped
from training.data.errors import FolderMissing, PhotoBroken
from training.data.folder import SUFFIXES, Photo, fingerprint, read_photo, scan_folder
from training.data.names import composed
from training.data.quality import flaws, qualities
from training.errors import LabelsUnknown
from training.evaluation.assessment import Answered, Assessment, assess
from training.evaluation.levels import level_name
from training.evaluation.tables import tables
from training.listing import listed
from training.served.above import Above
from training.served.answers import Answers, GraphModel, Progress, reason_names, verdict_name
from training.served.learnt import TrainedOn
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap_all, effective, share_of, with_room

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
    above: tuple[Above, ...]
    groups: NDArray[np.intp]  # of each photograph: copies, and views of one object, share a number

    @property
    def scores(self) -> NDArray[np.float64]:
        return np.array([decision.ood_score for decision in self.decisions], np.float64)


@dataclass(frozen=True, slots=True)
class OutsideFigures:
    """How well photographs of other things are told from those of the classes."""

    photos: int
    auroc: Interval
    fpr_at_95_tpr: Interval
    rejected: float  # share called out of distribution


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on labelled photographs and on photographs of other things."""

    card: Card
    path: Path
    known: Measured
    others: Mapping[str, Measured]
    answered: Answered
    assessment: Assessment
    outside: Mapping[str, OutsideFigures]
    unreadable: tuple[PhotoBroken, ...]
    trained_on: TrainedOn
    placed_borders: Mapping[str, int | None]  # by set of other things: how many did; None where nothing tells

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.known.photos)

    def document(self) -> dict[str, Any]:
        """The JSON of contracts.md, with what was added to it."""
        found = self.assessment.document()
        return {
            "model": self.card.version,
            "data": {
                "path": str(self.path),
                "fingerprint": self.fingerprint,
                "photos": len(self.known.photos),
                "seen_in_training": bool(self.trained_on),
                "trained_on": asdict(self.trained_on),
                "placed_borders": dict(self.placed_borders),
            },
            **found,
            "temperature": self.card.temperature,
            "ood": {
                name: {
                    "auroc": row.auroc.value,
                    "fpr_at_95_tpr": row.fpr_at_95_tpr.value,
                    "rejected": row.rejected,
                    "photos": row.photos,
                }
                for name, row in self.outside.items()
            },
            "intervals": {
                **found["intervals"],
                "ood": {
                    name: {"auroc": row.auroc.pair(), "fpr_at_95_tpr": row.fpr_at_95_tpr.pair()}
                    for name, row in self.outside.items()
                },
            },
            "unreadable": [{"file": str(item.path), "why": item.why} for item in self.unreadable],
            "predictions": [
                *_predictions(self.known, self.card),
                *(
                    row
                    for name, measured in self.others.items()
                    for row in _predictions(measured, self.card, outside=name)
                ),
            ],
        }


def evaluate(
    model: GraphModel, data: Path, outside: Sequence[OutsideSet] = (), *, progress: Progress | None = None
) -> Evaluation:
    """Measure a model through its graph.

    Files that cannot be read are listed under `unreadable` and left out of every figure.
    Raises FolderMissing, ClassesWrong; DataChanged for one that goes or changes meanwhile; LabelsUnknown for a class
    folder the model does not know.
    """
    scan = scan_folder(data)
    classes = tuple(composed(item.id) for item in model.card.classes)
    unknown = [label for label in scan.classes if label not in classes]
    if unknown:
        raise LabelsUnknown(
            f"{data / unknown[0]} is no class of {model.card.version}: it knows {listed(classes)}; "
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
    answered = _answered(model.card, known, classes)
    return Evaluation(
        card=model.card,
        path=data,
        known=known,
        others=others,
        answered=answered,
        assessment=assess(answered, seed=_SEED),
        outside={
            name: _outside(known, answered.labels, measured) for name, measured in others.items() if measured.photos
        },
        unreadable=tuple(broken),
        trained_on=model.learnt.trained_on(known.photos),
        placed_borders={name: model.learnt.placed_borders(measured.photos) for name, measured in others.items()},
    )


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
                pixels = model.seen(photo)
            except PhotoBroken as error:
                broken.append(error)
                continue
            read.append(photo)
            yield pixels

    answers = model.answer(images())
    return Measured(tuple(read), answers, answers.decisions(model.card), answers.above(model.card), grouped(read))


def _answered(card: Card, known: Measured, classes: tuple[str, ...]) -> Answered:
    measures = qualities(known.photos)
    return Answered(
        classes=classes,
        labels=np.array([classes.index(photo.label) for photo in known.photos], np.intp),
        groups=known.groups,
        predicted=known.answers.probabilities.argmax(axis=1),
        probabilities=known.answers.probabilities.astype(np.float64),
        decisions=known.decisions,
        sets=known.answers.sets(card),
        levels=card.level_rules,
        above=known.above,
        set_coverage=card.decision.limits.set_coverage,
        sides=tuple(photo.side_name for photo in known.photos),
        qualities=measures,
        flaws=tuple(
            flaws(quality, width_px=photo.width_px, height_px=photo.height_px)
            for photo, quality in zip(known.photos, measures, strict=True)
        ),
        objects=tuple(photo.object for photo in known.photos),
        tables=tables(known.photos),
    )


def _outside(known: Measured, labels: NDArray[np.integer], measured: Measured) -> OutsideFigures:
    inside, scores = known.scores, measured.scores
    area, rate = bootstrap_all(
        lambda a, b: np.array([metrics.auroc(inside[a], scores[b]), metrics.fpr_at_95_tpr(inside[a], scores[b])]),
        [labels, np.zeros(len(scores), np.int64)],
        seed=_SEED,
        groups=[known.groups, measured.groups],
    )
    # Where none is taken for known, resamples have no spread, but so many photographs leave room for some.
    alone = share_of(rate.value * len(scores), len(scores), groups=measured.groups)
    rate = Interval(rate.value, min(rate.low, alone.low), max(rate.high, alone.high))
    out = [decision.verdict == words.VERDICT_OUT_OF_DISTRIBUTION for decision in measured.decisions]
    area = with_room(area, min(effective(known.groups), effective(measured.groups)))
    return OutsideFigures(len(scores), area, rate, float(np.mean(out)))


def _predictions(measured: Measured, card: Card, *, outside: str | None = None) -> list[dict[str, Any]]:
    rows = []
    for index, (photo, decision) in enumerate(zip(measured.photos, measured.decisions, strict=True)):
        row = measured.answers.probabilities[index]
        found: dict[str, Any] = {
            "file": photo.relative,
            "label": photo.label if outside is None else None,
            "predicted": composed(card.classes[int(row.argmax())].id),
            "confidence": float(row.max()),
            "verdict": verdict_name(decision.verdict),
            "reasons": reason_names(decision.reasons),
            "ood_score": decision.ood_score,
            "scores": {name: float(values[index]) for name, values in measured.answers.scores.items()},
            "level": level_name(measured.above[index], card.level_rules),
            "group": int(measured.groups[index]),
        }
        if outside is not None:
            found["set"] = outside
        rows.append(found)
    return rows

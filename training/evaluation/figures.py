"""The figures and tables on a card, each with the photographs that it was measured on; figures with intervals."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store.card import MetricCard
from model_store.measured import ConfusionCard, ReliabilityBinCard, ReliabilityCard
from protos.amulet.v1 import vocabulary_pb2 as words
from training.data.folder import Folder
from training.evaluation.assessment import Assessment
from training.evaluation.crossvalidation import OutOfFold, cuts_of
from training.evaluation.levels import LevelRow, level_rows
from training.evaluation.unseen import LeftOut, how_left_out, mean_auroc
from training.evaluation.views import multi_view
from training.listing import counted
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap, effective, of_class_mean, share_of, with_room

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")  # a metric's may be longer: something stands before and after it
_UNSEEN_CLASS: Final = "unseen_class"  # no set of other things is called so
_OfClasses = Callable[[NDArray[np.intp], NDArray[np.intp]], float]  # given labels and answers


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which photographs, which split, which seed."""

    name: str
    fingerprint: str
    photos: int
    folds: int
    seed: int

    def said(self, how: str) -> str:
        return (
            f"{self.photos} photographs of {self.name} (fingerprint {self.fingerprint[:12]}), {self.folds}-fold "
            f"cross-validation by groups of near-duplicates, seed {self.seed}; {how}"
        )

    @property
    def by_heads(self) -> str:
        return self.said("each answered by a head fitted on all photographs outside its fold")

    def accuracies(self, *, tuned: bool) -> str:
        """By whom accuracies are measured: a network that learns has no head on all photographs outside a fold."""
        return self.by_versions if tuned else self.by_heads

    @property
    def by_versions(self) -> str:
        return self.said(
            "each answered by a whole version whose head, temperature and borders were fitted on separate parts "
            "outside its fold"
        )


def figures_of(folder: Folder, found: OutOfFold, left_out: LeftOut, source: Provenance) -> tuple[MetricCard, ...]:
    """All metrics of a card, the accuracies first."""
    heads, whole = source.accuracies(tuned=found.tuned), source.by_versions
    labels, groups = found.labels, found.groups
    predicted = found.head_predicted
    probabilities = found.probabilities
    best = probabilities.argmax(axis=1)
    accepted = np.array([decision.verdict == words.VERDICT_IN_DOMAIN for decision in found.decisions])
    rejected = np.array([decision.verdict == words.VERDICT_OUT_OF_DISTRIBUTION for decision in found.decisions])
    covered = np.array([label in chosen for label, chosen in zip(labels, found.sets, strict=True)])
    size = np.array([len(chosen) for chosen in found.sets])

    def figure(name: str, measure: Callable[..., float], data: str) -> MetricCard:
        interval = bootstrap(measure, [labels], seed=source.seed, groups=[groups])
        return MetricCard(name, interval.value, interval.low, interval.high, data)

    def of_classes(name: str, measure: _OfClasses, answered: NDArray[np.intp], data: str) -> MetricCard:
        interval = bootstrap(lambda r: measure(labels[r], answered[r]), [labels], seed=source.seed, groups=[groups])
        interval = of_class_mean(interval, groups, labels)
        return MetricCard(name, interval.value, interval.low, interval.high, data)

    def share(
        name: str, hits: NDArray[np.floating] | NDArray[np.bool_], data: str, own: NDArray[np.intp] = groups
    ) -> MetricCard:
        interval = share_of(float(hits.sum()), len(hits), groups=own)
        return MetricCard(name, interval.value, interval.low, interval.high, data)

    cards = [
        of_classes("balanced_accuracy_cv", metrics.balanced_accuracy, predicted, heads),
        of_classes("macro_f1_cv", metrics.macro_f1, predicted, heads),
        share("accuracy", predicted == labels, heads),
        of_classes("balanced_accuracy_calibrated", metrics.balanced_accuracy, best, whole),
        _calibration(found, whole, source.seed),
        figure("brier", lambda r: metrics.brier(probabilities[r], labels[r]), whole),
        figure("nll", lambda r: metrics.negative_log_likelihood(probabilities[r], labels[r]), whole),
        share("accepted", accepted, f"{whole}; the share called in domain"),
        share("wrongly_rejected", rejected, f"{whole}; the share called out of distribution"),
    ]
    if size.any():  # else no sets are promised: one that is holds at least the best class
        cards += [
            share("set_coverage", covered, f"{whole}; how often the set holds the truth"),
            figure("set_size", lambda r: float(size[r].mean()), f"{whole}; mean number of classes in the set"),
        ]
    if accepted.any():
        right = best[accepted] == labels[accepted]
        cards.append(share("accepted_accuracy", right, f"{whole}; of those called in domain", groups[accepted]))
    for row in level_rows(cuts_of(folder), found.above, probabilities, labels, groups):
        cards.extend(_of_level(row, whole))
    cards.extend(_by_side(folder, found, heads, source.seed))
    cards.extend(_by_object(folder, found, whole, source.seed))
    cards.extend(_outside(found, left_out, whole, source.seed, classes=len(folder.classes)))
    return tuple(cards)


def outside_areas(found: OutOfFold, *, seed: int) -> dict[str, Interval]:
    """For each set of other things, the AUROC of one version against known photographs."""
    known, fold = found.ratios, found.fold
    return {
        name: with_room(
            bootstrap(
                lambda a, b, s=scores: metrics.auroc_of_a_version(known[a], fold[a], s[:, b]),
                [found.labels, np.zeros(scores.shape[1], np.int64)],
                seed=seed,
                groups=[found.groups, found.outside_groups[name]],
            ),
            min(effective(found.groups), effective(found.outside_groups[name])),
        )
        for name, scores in found.outside.items()
    }


def confusion_of(found: Assessment, source: Provenance, *, tuned: bool) -> ConfusionCard:
    """What was called what, as the accuracies on the card count it."""
    counts: dict[str, dict[str, int]] = {}
    for shown, answered in np.argwhere(found.counts):
        row = counts.setdefault(found.labels[shown], {})
        row[found.labels[answered]] = int(found.counts[shown, answered])
    return ConfusionCard(source.accuracies(tuned=tuned), counts)


def reliability_of(found: Assessment, source: Provenance) -> ReliabilityCard:
    """The table behind the card's calibration error."""
    return ReliabilityCard(
        source.by_versions,
        tuple(
            # A mean may lie beyond the border that all of its values keep, by the last digit.
            ReliabilityBinCard(
                each.low, each.high, each.photos, min(max(each.confidence, each.low), each.high), each.accuracy
            )
            for each in found.reliability
            if each.photos
        ),
    )


def _calibration(found: OutOfFold, whole: str, seed: int) -> MetricCard:
    probabilities, labels, groups = found.probabilities, found.labels, found.groups
    error = bootstrap(
        lambda r: metrics.expected_calibration_error(probabilities[r], labels[r]), [labels], seed=seed, groups=[groups]
    )
    interval = metrics.calibration_interval(error, probabilities.max(axis=1), seed=seed, groups=groups)
    return MetricCard("ece", interval.value, interval.low, interval.high, whole)


def _of_level(row: LevelRow, whole: str) -> list[MetricCard]:
    prefix = f"level_{slug(row.id)}"
    where = f"{whole}; at the level {row.id} of the class tree"

    def figure(name: str, interval: Interval, what: str) -> MetricCard:
        return MetricCard(f"{prefix}_{name}", interval.value, interval.low, interval.high, f"{where}, {what}")

    holds = "how often the set of groups holds the true one"
    return [
        figure("accuracy", row.accuracy, "were every photograph answered at it"),
        *([] if row.set_coverage is None else [figure("set_coverage", row.set_coverage, holds)]),
        figure("wrong", row.wrong, "the share whose answer backs off to it and is wrong"),
    ]


def _by_side(folder: Folder, found: OutOfFold, heads: str, seed: int) -> list[MetricCard]:
    sides = np.array([photo.side_name for photo in folder.photos])
    cards = []
    for side in np.unique(sides):
        if side == "unknown":
            continue
        here = sides == side
        labels, predicted, groups = found.labels[here], found.head_predicted[here], found.groups[here]
        interval = bootstrap(
            lambda r, t=labels, p=predicted: metrics.balanced_accuracy(t[r], p[r]), [labels], seed=seed, groups=[groups]
        )
        interval = of_class_mean(interval, groups, labels)
        cards.append(
            MetricCard(
                f"balanced_accuracy_cv_{side}",
                interval.value,
                interval.low,
                interval.high,
                f"{heads}; the {counted(len(labels), 'photograph')} of the {side}",
            )
        )
    return cards


def _by_object(folder: Folder, found: OutOfFold, whole: str, seed: int) -> list[MetricCard]:
    several = multi_view([photo.object for photo in folder.photos], found.probabilities, found.labels, seed=seed)
    if several is None:
        return []
    where = f"{whole}; {counted(several.objects, 'object')} with {counted(several.photos, 'photograph')}"
    return [
        MetricCard(name, interval.value, interval.low, interval.high, f"{where}, {how}")
        for name, interval, how in (
            ("accuracy_one_view", several.single, "each photograph answered alone"),
            ("accuracy_all_views", several.fused, "all photographs of an object answered together"),
        )
    ]


def _outside(found: OutOfFold, left_out: LeftOut, whole: str, seed: int, *, classes: int) -> list[MetricCard]:
    cards = []
    for name, area in outside_areas(found, seed=seed).items():
        share, groups = found.outside_rejected[name], found.outside_groups[name]
        data = (
            f"{counted(len(share), 'photograph')} of {name} that no border was placed by, as each version scores "
            f"them, against those it never saw of {whole}"
        )
        cards.append(MetricCard(f"auroc_{slug(name)}", area.value, area.low, area.high, data))
        interval = share_of(float(share.sum()), len(share), groups=groups)
        cards.append(
            MetricCard(
                f"rejected_{slug(name)}", interval.value, interval.low, interval.high, f"{data}; the share called out"
            )
        )
    if left_out:
        area = mean_auroc(left_out, found.labels, seed=seed, groups=found.groups)
        how = how_left_out(classes)
        cards.append(
            MetricCard(
                f"auroc_{_UNSEEN_CLASS}",
                area.value,
                area.low,
                area.high,
                f"mean over {len(left_out)} classes of a version that never saw the class, its photographs against "
                f"held-out ones of the other classes{f' ({how})' if how else ''}; {whole}",
            )
        )
    return cards


def slug(name: str) -> str:
    """A set's name as part of a metric's: itself where that is one, else what can be read of it and the start of its
    SHA-256, so that no two sets are one.
    """
    if _NAME.fullmatch(name) and name != _UNSEEN_CLASS:
        return name
    readable = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-")[:27] or "set"
    return f"{readable}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"

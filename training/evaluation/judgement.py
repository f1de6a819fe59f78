"""What the figures mean, in sentences: what is good, what is not, and what to do next.

The bars are those that a version of amulets has to pass to be worth a pilot; each sentence
carries the figure that it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from training.evaluation.assessment import Assessment, ClassRow
from training.listing import counted, listed
from training.statistics import metrics
from training.statistics.intervals import Interval

BALANCED_ACCURACY_MIN: Final = 0.90
CLASS_F1_MIN: Final = 0.80
ECE_MAX: Final = 0.05
_LUCK_MIN: Final = 0.05  # of a test at 5 %
OUTSIDE_AUROC_MIN: Final = 0.99
UNSEEN_AUROC_MIN: Final = 0.88
PER_CLASS_WANTED: Final = 30  # pieces: below, one mistake moves a class's recall by more than 3 points
_CONFUSED_MIN: Final = 3  # photographs: two may be luck
_CONFUSED_SHARE_MIN: Final = 0.1
_SIDE_GAP: Final = 0.1
_CONFIDENCE_GAP: Final = 0.03
_MOSTLY: Final = 0.5  # a version that claims less is no longer told by what is right among that
# Why a photograph is not called in domain, as somebody who collects photographs reads it.
_REASON_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "LOW_CONFIDENCE": "no class is likely enough",
        "TOO_CLOSE_TO_CALL": "two classes are too close",
        "UNFAMILIAR": "it looks unfamiliar",
        "NOT_OUR_KIND": "it is taken for something else",
    }
)
_OF_CLASSES: Final = frozenset({"LOW_CONFIDENCE", "TOO_CLOSE_TO_CALL"})


@dataclass(frozen=True, slots=True)
class OutsideSeen:
    """How one set of other things fares."""

    photos: int
    auroc: Interval
    rejected: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict on a model."""

    passed: bool  # every bar that could be looked at
    headline: str
    good: tuple[str, ...]
    bad: tuple[str, ...]
    advice: tuple[str, ...]


def judge(
    found: Assessment,
    outside: Mapping[str, OutsideSeen],
    unseen: Mapping[str, float],
    *,
    trained_on: str = "",
) -> Judgement:
    """outside: by set.  unseen: class -> AUROC of a version that never saw it; empty where that was not measured.
    trained_on: how many of the photographs were, in words; empty where none was.
    """
    good: list[str] = []
    bad: list[str] = []
    if trained_on:
        bad.append(
            f"{trained_on[0].upper()}{trained_on[1:]}: every figure here is too good. Measure on others, or read the "
            f"run's own report, which is cross-validated."
        )
    bad.extend(_silent(found))
    for holds, sentence in (*_accuracy(found), *_calibration(found), *_sets(found), *_outside(outside, unseen)):
        (good if holds else bad).append(sentence)
    bad.extend(_sides(found))
    return Judgement(not bad, _headline(found), tuple(good), tuple(bad), tuple(_advice(found, outside)))


def confusions(found: Assessment) -> list[tuple[str, str, int, int]]:
    """(true class, answered class, photographs, of how many), the most frequent first; rare ones left out."""
    counts = found.counts.copy()
    np.fill_diagonal(counts, 0)
    pairs = [
        (found.labels[true], found.labels[other], int(counts[true, other]), int(found.counts[true].sum()))
        for true, other in np.argwhere(counts >= _CONFUSED_MIN)
    ]
    return sorted(
        (pair for pair in pairs if pair[2] >= _CONFUSED_SHARE_MIN * pair[3]), key=lambda pair: (-pair[2], pair[0])
    )


def _headline(found: Assessment) -> str:
    balanced = found.figures["balanced_accuracy"]
    text = f"Of a typical class it names {balanced.value:.0%} of the photographs rightly ({_range(balanced)})"
    if found.accepted_accuracy is None:
        text = f"{text}; it calls none of them in domain."
    else:
        right = f"of those {found.accepted_accuracy:.0%} are right"
        text = f"{text}. It calls {found.accepted:.0%} of all in domain, and {right}."
    return " ".join((text, *few(found)))


def few(found: Assessment) -> Iterator[str]:
    """That there are so few photographs that figures say little; nothing where there are enough for one class."""
    pieces = round(found.independent)
    if pieces >= PER_CLASS_WANTED:
        return
    accuracy = found.figures["accuracy"]
    of = f"{counted(found.photos, 'photograph')} alone"
    if pieces != found.photos:
        of = f"{counted(found.photos, 'photograph')} of some {counted(pieces, 'piece')} alone"
    yield (
        f"On {of} figures say little: the same version may be right about anything from {accuracy.low:.0%} to "
        f"{accuracy.high:.0%} of others. {PER_CLASS_WANTED} or more of each class say more."
    )


def _is_mostly_silent(found: Assessment) -> bool:
    return found.accepted < _MOSTLY and bool(found.reasons)


def _silent(found: Assessment) -> Iterator[str]:
    """Why it claims so little, where that is the rule."""
    if not _is_mostly_silent(found):
        return
    claimed = round(found.accepted * found.photos)
    why = sorted(found.reasons.items(), key=lambda item: (-item[1], item[0]))
    told = "; ".join(f"of {count} {_REASON_WORDS.get(name, name)}" for name, count in why)
    yield (
        f"It calls {claimed or 'none'} of {counted(found.photos, 'photograph')} in domain, and mostly says that it "
        f"does not know: {told}."
    )


def _less_silent(found: Assessment) -> Iterator[str]:
    """What would help it to claim more."""
    if not _is_mostly_silent(found):
        return
    most = max(found.reasons, key=lambda name: found.reasons[name])
    if most in _OF_CLASSES:
        said = sum(row.photos * row.confidence for row in found.reliability) / found.photos
        right = sum(row.photos * row.accuracy for row in found.reliability) / found.photos
        yield (
            f"It claims little because it is not sure of classes: it is right about {right:.0%} of the photographs, "
            f"and its confidence is {said:.0%} on average. "
            f"More photographs of each class help where the classes can be told apart; of what looks alike photograph "
            f"the side that differs, or make one class of it."
        )
    else:
        yield (
            "It claims little because photographs of its own classes look unfamiliar to it: the borders stand on a "
            "part of the photographs, and few tell little. Add photographs of each class, taken as callers take them."
        )


def _accuracy(found: Assessment) -> Iterator[tuple[bool, str]]:
    balanced = found.figures["balanced_accuracy"]
    yield (
        balanced.value >= BALANCED_ACCURACY_MIN,
        f"Balanced accuracy {balanced.value:.3f} ({_range(balanced)}); wanted {BALANCED_ACCURACY_MIN:.2f}.",
    )
    scores = {row.label: f1.value for row in found.per_class if (f1 := row.figures["f1"]) is not None and row.photos}
    every = "Every class" if len(scores) == len(found.per_class) else "Every class that there are photographs of"
    weak = sorted((value, label) for label, value in scores.items() if value < CLASS_F1_MIN)
    if not weak:
        worst = min(scores, key=lambda label: scores[label])
        yield True, f"{every} has an F1 of at least {CLASS_F1_MIN:.2f}; the lowest is {scores[worst]:.2f}, {worst}."
        return
    named = listed([f"{label} ({value:.2f})" for value, label in weak])
    yield False, f"F1 below {CLASS_F1_MIN:.2f}: {named}."


def _calibration(found: Assessment) -> Iterator[tuple[bool, str]]:
    error = found.figures["ece"]
    gap = sum(row.photos * (row.confidence - row.accuracy) for row in found.reliability) / found.photos
    lean = (
        f"on average it says {100 * abs(gap):.0f} points too {'much' if gap > 0 else 'little'}"
        if abs(gap) >= _CONFIDENCE_GAP
        else "on average it says neither too much nor too little"
    )
    text = f"Calibration error {error.value:.3f} ({_range(error)}); {lean}."
    luck = found.calibration_luck
    if error.value <= ECE_MAX < error.high:
        yield True, f"{text} So few photographs leave room for an error above {ECE_MAX}."
    elif error.value > ECE_MAX and luck.p_value >= _LUCK_MIN:
        yield (
            False,
            f"{text} Wanted is {ECE_MAX}; on {counted(found.photos, 'photograph')} a model that means what it says "
            f"would show {luck.mean:.3f} ({luck.low:.3f} to {luck.high:.3f}), so this is no sign that it does not.",
        )
    else:
        yield error.value <= ECE_MAX, text


def _sets(found: Assessment) -> Iterator[tuple[bool, str]]:
    if found.set_coverage is None or found.set_size is None:
        return
    # Three standard deviations of a share: fewer covered than that is no luck. Views of one object share their fate:
    # counted alone, twelve objects of ten views would break in one case of nine a promise that is kept.
    slack = 3.0 * (found.set_promised * (1.0 - found.set_promised) / found.independent) ** 0.5
    holds = found.set_coverage >= found.set_promised - slack
    by_luck = ", which on so few photographs may be luck" if holds and found.set_coverage < found.set_promised else ""
    yield (
        holds,
        f"The prediction set holds the truth for {found.set_coverage:.0%} of the photographs; promised were "
        f"{found.set_promised:.0%}{by_luck}. It names {found.set_size:.1f} of {len(found.labels)} classes on average.",
    )


def _outside(outside: Mapping[str, OutsideSeen], unseen: Mapping[str, float]) -> Iterator[tuple[bool, str]]:
    for name, seen in outside.items():
        yield (
            seen.auroc.value >= OUTSIDE_AUROC_MIN,
            f"{name}: told from the classes with an AUROC of {seen.auroc.value:.3f} ({_range(seen.auroc)}); "
            f"{seen.rejected:.0%} of {seen.photos} are called out of distribution.",
        )
    if unseen:
        mean = float(np.mean(list(unseen.values())))
        worst = min(unseen, key=lambda label: unseen[label])
        yield (
            mean >= UNSEEN_AUROC_MIN,
            f"A class that it never saw is told from the others with an AUROC of {mean:.3f} on average; wanted "
            f"{UNSEEN_AUROC_MIN:.2f}. The hardest is {worst} ({unseen[worst]:.2f}).",
        )


def _sides(found: Assessment) -> Iterator[str]:
    told = [row for row in found.by_side if row.name != "unknown"]
    if len(told) < 2:
        return
    best, worst = (choose(told, key=lambda row: row.accuracy.value) for choose in (max, min))
    gap = best.accuracy.value - worst.accuracy.value
    # Of a dozen photographs a side, equal ones differ by so much in a third of cases (Newcombe 1998, method 10).
    by_luck = math.hypot(best.accuracy.value - best.accuracy.low, worst.accuracy.high - worst.accuracy.value)
    if gap >= _SIDE_GAP and gap > by_luck:
        yield (
            f"Accuracy on the {worst.name} is {worst.accuracy.value:.2f} ({counted(worst.photos, 'photograph')}), "
            f"on the {best.name} {best.accuracy.value:.2f}: one side says less than the other."
        )


def not_shown(found: Assessment) -> Iterator[str]:
    """What no figure says anything of, because there is no photograph of it."""
    classes = [row.label for row in found.per_class if not row.photos]
    if classes:
        yield (
            f"There is no photograph of {listed(classes)}: how well it names them is not known, and averages over "
            f"classes leave {'it' if len(classes) == 1 else 'them'} out."
        )
    for side, labels in found.sides_not_shown.items():
        yield f"No photograph shows the {side} of {listed(labels)}: what it says of one is not known."


def _advice(found: Assessment, outside: Mapping[str, OutsideSeen]) -> Iterator[str]:
    yield from not_shown(found)
    yield from _less_silent(found)
    pairs = confusions(found)
    for true, other, count, photos in pairs[:3]:
        yield (
            f"{count} of {photos} photographs of {true} are called {other}. Look at them below: a wrong label is "
            f"mended, a blank side needs a second view, and what truly looks alike needs more photographs of both."
        )
    few = [_counted(row) for row in found.per_class if row.photos and round(row.independent) < PER_CLASS_WANTED]
    if few:
        yield (
            f"Photograph more pieces, not the same ones again, until each class has {PER_CLASS_WANTED}: {listed(few)}."
        )
    if list(_sides(found)):
        yield "Ask callers for both sides: the gateway fuses the views of one object."
    for name, seen in outside.items():
        if seen.rejected < 0.5 <= seen.auroc.value and seen.auroc.value >= OUTSIDE_AUROC_MIN:
            yield (
                f"{name} score higher than the classes, but most stay below the border: give some of them to training "
                f"(--ood), which moves the border."
            )
    if not outside:
        yield "No photographs of other things were given (--ood): what it says of coins or buttons is not known."
    if found.calibration_luck.high > ECE_MAX:
        wanted = metrics.photographs_to_settle(found.calibration_luck, found.photos, ECE_MAX)
        yield (
            f"{counted(found.photos, 'photograph')} cannot settle a calibration error of {ECE_MAX}, since luck alone "
            f"shows up to {found.calibration_luck.high:.3f} on them: some {wanted} held-out ones would."
        )


def _counted(row: ClassRow) -> str:
    pieces = round(row.independent)
    return f"{row.label} ({pieces})" if pieces == row.photos else f"{row.label} ({pieces}, on {row.photos} photographs)"


def _range(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"

"""Who may learn from which photograph: divisions that keep copies of one photograph and views of one object together.

Every part has its share of each class and, as far as that allows, of each side. Copies of
one photograph (`duplicates`) and photographs whose names say that they show one object are
one group and never stand in two parts, whatever their labels say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from training.data.duplicates import groups, near_duplicates
from training.data.errors import SplitImpossible
from training.data.folder import Folder, Photo
from training.listing import counted

# Fit, temperature, thresholds, report: no photograph serves two of these purposes.
PARTS: Final[Mapping[str, float]] = MappingProxyType(
    {"train": 0.6, "calibration": 0.15, "thresholds": 0.1, "test": 0.15}
)
METHOD: Final = "grouped by near-duplicates and by object, stratified by class, then by side"
# A side's deficit, and then the part's own, decide only between parts that a class's deficit leaves nearly tied.
_SIDE_WEIGHT: Final = 0.25
_PART_WEIGHT: Final = 0.05


@dataclass(frozen=True, slots=True)
class Split:
    """Photographs divided into parts: every one of them in exactly one."""

    seed: int
    method: str
    parts: Mapping[str, tuple[Photo, ...]]  # each sorted by relative path

    @property
    def counts(self) -> Mapping[str, int]:
        return {name: len(photos) for name, photos in self.parts.items()}


@dataclass(frozen=True, slots=True)
class Fold:
    """One round of cross-validation."""

    train: tuple[Photo, ...]
    test: tuple[Photo, ...]


def split(
    folder: Folder, *, seed: int, parts: Mapping[str, float] = PARTS, together: Sequence[Sequence[Photo]] | None = None
) -> Split:
    """Divide a data set into parts of the given shares (above 0; scaled to sum to 1).

    together: its groups of copies, where somebody has looked for them already.
    The same photographs, seed and parts give the same division on every machine. Raises
    SplitImpossible where a class has fewer independent photographs than there are parts,
    ValueError where the shares are no shares.
    """
    if not parts or any(not share > 0 for share in parts.values()):
        raise ValueError(f"the shares of the parts must all be above 0, not {dict(parts)}")
    if together is None:
        together = groups(folder.photos, near_duplicates(folder.photos))
    return Split(seed=seed, method=METHOD, parts=divide(together, parts, seed=seed))


def folds(folder: Folder, k: int, seed: int) -> tuple[Fold, ...]:
    """k rounds of cross-validation; each photograph is in the test part of exactly one.

    Raises SplitImpossible where a class has fewer than k independent photographs,
    ValueError where k is below 2.
    """
    if k < 2:
        raise ValueError(f"cross-validation needs at least 2 folds, not {k}")
    tests = split(folder, seed=seed, parts={str(number): 1.0 for number in range(k)}).parts
    return tuple(
        Fold(train=tuple(photo for photo in folder.photos if photo not in test), test=tuple(sorted(test, key=_name)))
        for test in (set(photos) for photos in tests.values())
    )


def leaks(division: Split, together: Sequence[Sequence[Photo]] | None = None) -> tuple[tuple[str, str], ...]:
    """Pairs of relative paths that are copies of one photograph, or views of one object, and stand in two parts.

    together: the groups among its photographs, where somebody has looked for them already; the parts
    themselves are not trusted. Of a group, each member that is not in the first one's part is named with
    that first one.
    """
    part_of = {photo.relative: name for name, photos in division.parts.items() for photo in photos}
    if together is None:
        photos = [photo for part in division.parts.values() for photo in part]
        together = groups(photos, near_duplicates(photos))
    return tuple(
        (members[0].relative, other.relative)
        for members in together
        for other in members[1:]
        if part_of[other.relative] != part_of[members[0].relative]
    )


def label_of(members: Sequence[Photo]) -> str:
    """The class that a group is dealt out for: what most of its labels say, the first by name where they are tied."""
    counts = Counter(photo.label for photo in members)
    return min(counts, key=lambda label: (-counts[label], label))


def divide(
    together: Sequence[Sequence[Photo]], parts: Mapping[str, float], *, seed: int, everywhere: bool = True
) -> Mapping[str, tuple[Photo, ...]]:
    """Deal whole groups out to parts, the largest first, each to the part that lacks its class most.

    Within ties the order is random by seed. Every class reaches every part, and where it
    cannot SplitImpossible is raised as by `split`, unless `everywhere` is False.
    """
    names = list(parts)
    shares = np.array([parts[name] for name in names]) / sum(parts.values())
    rng = np.random.default_rng(seed)
    ordered = sorted(together, key=lambda members: members[0].relative)
    ordered = [ordered[index] for index in rng.permutation(len(ordered))]
    ordered.sort(key=len, reverse=True)
    groups_left = Counter(label_of(members) for members in ordered)
    classes = Counter(photo.label for members in ordered for photo in members)
    for label in sorted(classes):
        if everywhere and groups_left[label] < len(names):
            raise SplitImpossible(
                f"class {label} has {counted(groups_left[label], 'independent photograph')} (copies of one "
                f"photograph count once, for the class that most of them are in), but {len(names)} parts need at least "
                f"{len(names)}: add photographs of it"
            )
    sides = Counter((photo.label, photo.side) for members in ordered for photo in members)
    lacks = sum(classes.values()) * shares
    lacks_class = {label: count * shares for label, count in classes.items()}
    lacks_side = {key: count * shares for key, count in sides.items()}
    reached: dict[str, set[int]] = {label: set() for label in classes}
    dealt: list[list[Photo]] = [[] for _ in names]
    for members in ordered:
        label = label_of(members)
        needs = sum(lacks_class[photo.label] + _SIDE_WEIGHT * lacks_side[photo.label, photo.side] for photo in members)
        needs = needs + _PART_WEIGHT * lacks
        unreached = set(range(len(names))) - reached[label]
        if groups_left[label] <= len(unreached):
            needs = np.where([part in unreached for part in range(len(names))], needs, -np.inf)
        chosen = int(np.argmax(needs))
        lacks[chosen] -= len(members)
        for photo in members:
            lacks_class[photo.label][chosen] -= 1
            lacks_side[photo.label, photo.side][chosen] -= 1
        reached[label].add(chosen)
        groups_left[label] -= 1
        dealt[chosen].extend(members)
    return {name: tuple(sorted(photos, key=_name)) for name, photos in zip(names, dealt, strict=True)}


def _name(photo: Photo) -> str:
    return photo.relative

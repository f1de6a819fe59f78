"""What a person should look at before learning from a folder of photographs.

`check_folder` gathers it, `report` shows it. Nothing is changed on the disk, and nothing
but a broken file or a wrong layout keeps a folder from being used: the rest is advice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training.data.alike import Alike, most_alike, most_alike_across
from training.data.duplicates import Pair, copies, groups, near_duplicates, shared_photos
from training.data.errors import DataWrong, PhotoBroken
from training.data.folder import Photo, Progress, Scan, check_place, fingerprint, load_folder, load_outside, scan_folder
from training.data.labels import Array, Judged, Suspect, judged, shape_features
from training.data.names import NAMES_FILE, NamedLevel, Names, read_names
from training.data.quality import Flaw, Quality, flaws, qualities
from training.listing import counted, listed

# The largest class against the smallest: beyond, the small one is learnt badly whatever is done about it.
IMBALANCE_RATIO_MAX: Final = 3.0
# Fewer photographs of one class than that give a test part of two or three.
PER_CLASS_MIN: Final = 15

Embed = Callable[[Sequence[Photo]], Mapping[str, Array]]  # relative path -> features


@dataclass(frozen=True, slots=True)
class ClassCount:
    label: str
    photos: int
    sides: Mapping[str, int]  # "front", "back", ... -> photographs


@dataclass(frozen=True, slots=True)
class Flawed:
    """A photograph that is hard to learn from."""

    photo: Photo
    flaws: tuple[Flaw, ...]
    quality: Quality


@dataclass(frozen=True, slots=True)
class Against:
    """What two folders have in common."""

    path: Path
    photos: int
    shared: tuple[Pair, ...]  # first from the folder checked, second from the other
    alike: tuple[Alike, ...] = ()  # and what else looks alike, where a second look was asked for


@dataclass(frozen=True, slots=True)
class Check:
    """Everything that was found."""

    path: Path
    fingerprint: str | None  # None where files are broken: then there is no such data set
    unusable: str | None  # why training would refuse the folder; None: it would not
    classes: tuple[ClassCount, ...]
    broken: tuple[PhotoBroken, ...]
    flawed: tuple[Flawed, ...]
    copies: tuple[tuple[Photo, ...], ...]  # groups of two and more
    against: Against | None
    labels: Judged
    labels_seen_by: str  # what the labels were judged with, or why they were not
    photos: tuple[Photo, ...]
    levels: tuple[NamedLevel, ...]  # of the class tree, lowest first; empty without one
    alike: tuple[Alike, ...]  # for a second look, where one was asked for: no copies as far as is known
    alike_by: str  # what features they are alike by
    untranslated: Mapping[str, tuple[str, ...]]  # language of classes.yaml -> ids without a name in it

    @property
    def suspects(self) -> tuple[Suspect, ...] | None:
        """Photographs whose label is doubtful; None: labels were not judged."""
        return self.labels.suspects

    @property
    def imbalance_ratio(self) -> float:
        """Photographs of the largest class against those of the smallest; infinite where one is empty."""
        counts = [each.photos for each in self.classes]
        if not counts or min(counts) == 0:
            return float("inf")
        return max(counts) / min(counts)

    @property
    def contradictions(self) -> tuple[tuple[Photo, ...], ...]:
        """Copies of one photograph that carry several labels."""
        return tuple(members for members in self.copies if len({photo.label for photo in members}) > 1)

    @property
    def _unjudged(self) -> tuple[tuple[object, str], ...]:
        """What says where the check itself is blind, and nothing of the photographs, as `advice` has it."""
        return (
            # Of one class alone the first sentence says it.
            (
                self.suspects is None and len({photo.label for photo in self.photos}) > 1,
                f"No label can be judged: {self.labels_seen_by}.",
            ),
            (
                self.labels.untold,
                f"These features do not tell apart {listed([' and '.join(pair) for pair in self.labels.untold])}: no "
                f"label is doubted between two of them.",
            ),
        )

    @property
    def findings(self) -> tuple[str, ...]:
        """The advice about the photographs: what somebody who collects them can mend."""
        unjudged = {sentence for _, sentence in self._unjudged}
        return tuple(sentence for sentence in self.advice if sentence not in unjudged)

    @property
    def advice(self) -> tuple[str, ...]:
        """One sentence for each thing to do, the gravest first; empty where there is nothing."""
        small = [each.label for each in self.classes if each.photos < PER_CLASS_MIN]
        flawed = Counter(flaw.replace("_", " ") for each in self.flawed for flaw in each.flaws)
        copied = sum(len(members) - 1 for members in self.copies)
        shared = {pair.first.relative for pair in self.against.shared} if self.against else set()
        # Of a class without a photograph that can be read, the sentence above says it better.
        uneven = IMBALANCE_RATIO_MAX < self.imbalance_ratio < float("inf") and len(self.classes) > 1
        untranslated = self.untranslated.items()
        found = (
            (self.unusable, f"{self.unusable}."),
            (self.contradictions, f"{_count(self.contradictions, 'photograph')} with copies in several classes."),
            (shared, f"{_count(shared, 'photograph')} also in {self.against.path if self.against else ''}."),
            (copied, f"{_count(copied, 'copy', 'copies')} of other photographs: they stay in one part of any split."),
            (self.suspects, f"{_count(self.suspects or (), 'label')} to look at again."),
            *self._unjudged,
            (flawed, f"Hard to learn from: {', '.join(f'{count} {flaw}' for flaw, count in flawed.items())}."),
            (small, f"Fewer than {PER_CLASS_MIN} photographs of {listed(small)}."),
            (
                self.untranslated,
                " ".join(f"{NAMES_FILE} has no {tag} name for {listed(ids)}." for tag, ids in untranslated),
            ),
            (uneven, f"The largest class has {self.imbalance_ratio:.1f} times the photographs of the smallest."),
        )
        return tuple(sentence for present, sentence in found if present)

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {
            "path": str(self.path),
            "fingerprint": self.fingerprint,
            "usable": self.unusable is None,
            "unusable_because": self.unusable,
            "photos": len(self.photos),
            "classes": {each.label: {"photos": each.photos, "sides": dict(each.sides)} for each in self.classes},
            "levels": {level.id: {group.id: list(group.classes) for group in level.groups} for level in self.levels},
            "untranslated": {tag: list(ids) for tag, ids in self.untranslated.items()},
            "imbalance_ratio": self.imbalance_ratio if self.imbalance_ratio != float("inf") else None,
            "broken": [{"file": _below(each.path, self.path), "why": each.why} for each in self.broken],
            **{
                flaw.value: [
                    {"file": each.photo.relative, "value": _measure_of(flaw, each)}
                    for each in self.flawed
                    if flaw in each.flaws
                ]
                for flaw in Flaw
            },
            "near_duplicates": [
                {
                    "files": [photo.relative for photo in members],
                    "same_bytes": len({photo.sha256 for photo in members}) == 1,
                    "labels_differ": len({photo.label for photo in members}) > 1,
                }
                for members in self.copies
            ],
            "against": None
            if self.against is None
            else {
                "path": str(self.against.path),
                "photos": self.against.photos,
                "shared": [
                    {
                        "file": pair.first.relative,
                        "other": pair.second.relative,
                        "same_bytes": pair.same_bytes,
                        "agreement": round(pair.agreement, 3),
                    }
                    for pair in self.against.shared
                ],
                "alike": _alike(self.against.alike),
            },
            "alike": _alike(self.alike),
            "suspected_labels": None
            if self.suspects is None
            else [
                {
                    "file": each.photo.relative,
                    "label": each.photo.label,
                    "suggested": each.suggested,
                    "probability": round(each.probability, 4),
                    "given_probability": round(each.given_probability, 4),
                }
                for each in self.suspects
            ],
            "labels_judged_with": self.labels_seen_by,
            "labels_not_told_apart": [list(pair) for pair in self.labels.untold],
            "advice": list(self.advice),
        }


def _untold(_stage: str) -> Progress | None:
    return None


def check_folder(
    path: Path,
    *,
    against: Path | None = None,
    embed: Embed = shape_features,
    embedded_by: str = "edge directions of small pictures",
    second_look: int = 0,
    seed: int = 0,
    progress: Callable[[str], Progress | None] = _untold,
) -> Check:
    """Look through a folder.

    against: another folder, labelled or not, that should have no photograph in common with
    this one.  embed: features that doubtful labels are found by, and what to call them.
    second_look: how many pairs to list that look most alike by those features and are no copies.
    progress: asked at the start of each stage, by its name, for somebody to tell.
    Raises DataWrong where there is no folder or its layout is not that of a data set.
    """
    if against is not None:
        check_place(against)  # labels may be judged for minutes before it is read
    scan = scan_folder(path, progress=progress("Reading photographs"))
    unusable, names = _names_or_why_not(scan)
    measures = qualities(scan.photos, progress=progress("Measuring quality"))
    pairs = near_duplicates(scan.photos)
    together = groups(scan.photos, pairs)
    embed = _once(embed)
    labels = _judged(scan, together, embed, seed)
    why = (
        f"{embedded_by} do not tell these classes apart by more than luck: {labels.why}" if labels.blind else labels.why
    )
    return Check(
        path=path,
        fingerprint=None if scan.broken else fingerprint(scan.photos),
        unusable=unusable,
        classes=tuple(_class_count(scan, label) for label in scan.classes),
        broken=scan.broken,
        flawed=tuple(
            Flawed(photo, found, quality)
            for photo, quality in zip(scan.photos, measures, strict=True)
            if (found := flaws(quality, width_px=photo.width_px, height_px=photo.height_px))
        ),
        copies=tuple(members for members in copies(scan.photos, pairs) if len(members) > 1),
        against=None
        if against is None
        else _compared(scan.photos, against, progress("Reading the other folder"), embed, second_look),
        labels=labels,
        labels_seen_by=why or embedded_by,
        photos=scan.photos,
        levels=names.levels if names else (),
        alike=most_alike(together, embed(scan.photos), second_look) if second_look and scan.photos else (),
        alike_by=embedded_by,
        untranslated=names.untranslated if names else {},
    )


def _names_or_why_not(scan: Scan) -> tuple[str | None, Names | None]:
    """Why `load_folder` would refuse what was scanned, and what its classes are called."""
    try:
        names = read_names(scan.path / NAMES_FILE, scan.classes)
    except DataWrong as wrong:
        return _unusable(scan) or str(wrong), None
    return _unusable(scan), names


def _unusable(scan: Scan) -> str | None:
    """What is wrong with the photographs themselves."""
    if scan.broken:
        return f"{_count(scan.broken, 'file')} cannot be used"
    filled = Counter(photo.label for photo in scan.photos)
    empty = [label for label in scan.classes if not filled[label]]
    if empty:
        return f"{_count(empty, 'class', 'classes')} without photographs: {listed(empty)}"
    if len(scan.classes) < 2:
        return f"there is one class only, {scan.classes[0]}"
    return None


def _judged(scan: Scan, together: Sequence[Sequence[Photo]], embed: Embed, seed: int) -> Judged:
    if len({photo.label for photo in scan.photos}) < 2:  # looking takes minutes
        return Judged(None, "there are not two classes to compare")
    return judged(together, embed(scan.photos), seed=seed)


def _once(embed: Embed) -> Embed:
    """The same, looking at the same photographs once."""
    seen: dict[tuple[Path, ...], Mapping[str, Array]] = {}

    def looked(photos: Sequence[Photo]) -> Mapping[str, Array]:
        key = tuple(photo.path for photo in photos)
        if key not in seen:
            seen[key] = embed(photos)
        return seen[key]

    return looked


def _compared(
    photos: Sequence[Photo], against: Path, progress: Progress | None, embed: Embed, second_look: int
) -> Against:
    try:
        others: Sequence[Photo] = load_folder(against, progress=progress).photos
    except DataWrong:
        # A folder of one set, of sets of other things, or of one class: whatever can be read counts.
        others = [photo for photos in load_outside(against).values() for photo in photos]
    shared = shared_photos(photos, others)
    alike: tuple[Alike, ...] = ()
    if second_look and photos and others:
        known = [(pair.first.relative, pair.second.relative) for pair in shared]
        alike = most_alike_across(photos, others, known, (embed(photos), embed(others)), second_look)
    return Against(path=against, photos=len(others), shared=shared, alike=alike)


def _alike(pairs: Sequence[Alike]) -> list[dict[str, Any]]:
    return [
        {
            "file": each.first.relative,
            "other": each.second.relative,
            "cosine": round(each.cosine, 4),
            "labels_differ": each.first.label != each.second.label,
        }
        for each in pairs
    ]


def _class_count(scan: Scan, label: str) -> ClassCount:
    sides = Counter(photo.side_name for photo in scan.photos if photo.label == label)
    return ClassCount(label=label, photos=sides.total(), sides=dict(sorted(sides.items())))


def _measure_of(flaw: Flaw, flawed: Flawed) -> float:
    values = {
        Flaw.BLURRED: flawed.quality.sharpness_var,
        Flaw.TOO_DARK: flawed.quality.brightness_ratio,
        Flaw.TOO_BRIGHT: flawed.quality.brightness_ratio,
        Flaw.LOW_CONTRAST: flawed.quality.contrast_ratio,
        Flaw.SMALL: float(min(flawed.photo.width_px, flawed.photo.height_px)),
    }
    return round(values[flaw], 4)


def _count(things: int | Sized, one: str, many: str = "") -> str:
    return counted(things if isinstance(things, int) else len(things), one, many)


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

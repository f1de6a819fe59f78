"""Photographs of other things for a training: none that is of a class, and no copy on both sides of their division."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.data import splits
from training.data.duplicates import groups, near_duplicates, shared_photos
from training.data.errors import DataWrong
from training.data.folder import Folder, Photo, load_outside
from training.errors import DataTooSmall, SettingWrong
from training.listing import counted


@dataclass(frozen=True, slots=True)
class Others:
    """Sets of photographs of other things, by name."""

    given: Mapping[str, tuple[Photo, ...]]  # as they lie on the disk
    kept: Mapping[str, tuple[Photo, ...]]  # without copies of photographs of the classes
    left_out: tuple[str, ...]  # a sentence for each that was


@dataclass(frozen=True, slots=True)
class SetAside:
    """Two parts: no photograph of one is a copy of one of the other, nor is another view of its object."""

    thresholds: tuple[Photo, ...]  # to place borders on, of all sets together
    report: Mapping[str, tuple[Photo, ...]]  # set -> photographs


def read_others(paths: Sequence[Path], folder: Folder) -> Others:
    """Read the sets.

    Raises what `load_outside` raises, SettingWrong where two sets share a name, and DataWrong where a file is one of
    the folder's: that is a mistake in the folders, while a copy may have come with somebody else's collection.
    """
    given: dict[str, tuple[Photo, ...]] = {}
    for path in paths:
        for name, photos in load_outside(path).items():
            if name in given:
                raise SettingWrong(f"two sets of other things are called {name}: give them folders of different names")
            given[name] = photos
    copied: dict[Path, str] = {}
    for pair in shared_photos([photo for photos in given.values() for photo in photos], folder.photos):
        if pair.same_bytes:
            raise DataWrong(
                f"{pair.first.path} is the same photograph as {pair.second.relative} of the data set: "
                f"it cannot be of a class and of none"
            )
        copied[pair.first.path] = (
            f"{pair.first.path} is a copy of {pair.second.relative} of the data set: "
            f"it cannot be of a class and of none"
        )
    kept = {name: tuple(photo for photo in photos if photo.path not in copied) for name, photos in given.items()}
    return Others(given, kept, tuple(copied[path] for path in sorted(copied)))


def read_unlike(paths: Sequence[Path], folder: Folder) -> Mapping[str, tuple[Photo, ...]]:
    """The sets of an experiment, set -> photographs: as they lie on the disk, since its figures are of whole sets.

    Raises what `read_others` raises, and DataWrong for a copy of a photograph of the folder.
    """
    found = read_others(paths, folder)
    if found.left_out:
        raise DataWrong(f"{found.left_out[0]}; move it out of the set")
    return found.given


def set_aside(sets: Mapping[str, Sequence[Photo]], *, borders_share: float, seed: int) -> SetAside:
    """Divide each set by groups of near-duplicates; sets that have copies of one another are divided together.

    A set that has none is divided as if it were alone.  Raises DataTooSmall.
    """
    shares = {"thresholds": borders_share, "report": 1.0 - borders_share}
    # Two sets may have files of one name; within a set the order, which decides the division, stays.
    own = {f"{name}/{photo.relative}": (name, photo) for name, photos in sets.items() for photo in photos}
    named = [replace(photo, label=name, relative=relative) for relative, (name, photo) in own.items()]
    together = groups(named, near_duplicates(named))
    for name in sets:
        count = sum(any(photo.label == name for photo in members) for members in together)
        if count < len(shares):
            raise DataTooSmall(
                f"the set {name} of other things has {counted(count, 'independent photograph')}: a part "
                f"is needed to place borders and another to report on, so give at least {len(shares)}"
            )
    parts: dict[str, dict[str, tuple[Photo, ...]]] = {name: {} for name in sets}
    for joined in _joined(sets, together):
        members_of = [members for members in together if members[0].label in joined]
        # The check above is that of a set alone; of sets together the one that comes off badly is named below.
        for part, photos in splits.divide(members_of, shares, seed=seed, everywhere=len(joined) == 1).items():
            for name in joined:
                parts[name][part] = tuple(own[photo.relative][1] for photo in photos if photo.label == name)
    for name in sets:
        if not parts[name]["report"]:
            raise DataTooSmall(
                f"the set {name} of other things is left with nothing to report on, as nearly all of it are copies of "
                f"other sets: leave one of them out"
            )
    return SetAside(
        tuple(photo for name in sets for photo in parts[name]["thresholds"]),
        {name: parts[name]["report"] for name in sets},
    )


def _joined(names: Mapping[str, object], together: Sequence[Sequence[Photo]]) -> list[set[str]]:
    """The sets in groups that share a photograph; most have one member. In the order of their first ones."""
    found = [{name} for name in names]
    for members in together:
        labels = {photo.label for photo in members}
        if len(labels) > 1:
            met = [each for each in found if each & labels]
            first = met[0]
            for each in met[1:]:
                first |= each
                found.remove(each)
    return found

"""Which photographs a model learnt from, as far as its files tell, and how many of those that it is measured on.

A RUN folder names all of them in learnt.json, by the first digits of their SHA-256; that file is no part of an archive:

    {"schema": 1, "train": [HEX, ...], "calibration": [...], "thresholds": [...], "others": [...]}

`others` are the photographs of other things that placed borders. An archive names the references of its answers
(examples.json), which are some of those in `train`. Where there is neither, only the fingerprint of the whole
data set tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from model_store import examples, strict_json
from model_store.archive import Archive
from model_store.card import Card
from training import documents
from training.data.folder import Photo, fingerprint
from training.errors import ModelUnreadable
from training.listing import counted

FILE: Final = "learnt.json"
SCHEMA_VERSION: Final = 1
TRAIN: Final = "train"
OTHERS: Final = "others"
DIGITS: Final = 16  # of a photograph's SHA-256: two of a data set that share them are not to be expected
RUN, REFERENCES, FINGERPRINT = "run", "references", "fingerprint"  # what tells


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """How many of the photographs that something was measured on the model had learnt from. As JSON carries it."""

    photos: int | None  # None: nothing tells
    of: int
    told_by: str  # RUN: all of them are known; REFERENCES: these at least; FINGERPRINT: all or nothing

    def __bool__(self) -> bool:
        """Whether any was, as far as is known: figures are then too good."""
        return bool(self.photos)

    @property
    def said(self) -> str:
        """In words; empty where none was, as far as is known."""
        least = "at least " if self.told_by == REFERENCES and self.photos != self.of else ""
        were = "was" if self.photos == 1 else "were"
        return f"{least}{self.photos} of {counted(self.of, 'photograph')} {were} trained on" if self else ""

    @property
    def remark(self) -> str:
        """What is noted with a figure; empty where nothing is."""
        return f"{self.said}: too good" if self else ""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a model's files tell of the photographs that it learnt from."""

    data_fingerprint: str
    told_by: str = FINGERPRINT
    parts: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))  # part -> digests

    def trained_on(self, photos: Sequence[Photo], *, folder_fingerprint: str = "") -> TrainedOn:
        """Of photographs of the classes: those in any part, since temperature and borders are learnt too.

        folder_fingerprint: of all photographs of their folder, where these are some of them.
        """
        if (folder_fingerprint or fingerprint(photos)) == self.data_fingerprint:
            return TrainedOn(len(photos), len(photos), self.told_by)
        if self.told_by == FINGERPRINT:
            return TrainedOn(None, len(photos), self.told_by)
        known = frozenset().union(*(digests for part, digests in self.parts.items() if part != OTHERS))
        return TrainedOn(_among(photos, known), len(photos), self.told_by)

    def fitted_on(self, photo: Photo) -> bool:
        """Whether heads and detectors were, as far as is known: temperature and borders have parts of their own."""
        return self.told_by != RUN or digest_of(photo) in self.parts[TRAIN]

    def placed_borders(self, photos: Sequence[Photo]) -> int | None:
        """How many of these photographs of other things did; None where nothing tells."""
        return _among(photos, self.parts[OTHERS]) if self.told_by == RUN else None


def _among(photos: Iterable[Photo], digests: frozenset[str]) -> int:
    return sum(digest_of(photo) in digests for photo in photos)


def digest_of(photo: Photo) -> str:
    return photo.sha256[:DIGITS]


def document(parts: Mapping[str, Iterable[Photo]], others: Iterable[Photo]) -> dict[str, Any]:
    """The content of learnt.json.  others: that placed borders."""
    return {
        "schema": SCHEMA_VERSION,
        **{name: sorted(map(digest_of, photos)) for name, photos in {**parts, OTHERS: others}.items()},
    }


def learnt_of(path: Path, card: Card) -> Learnt:
    """What is told beside a card.  path: as for `GraphModel.open`.

    Raises ModelUnreadable where learnt.json cannot be read, ArchiveRefused for what is no archive.
    """
    found = card.data.fingerprint
    if path.is_dir() or path.suffix == ".onnx":
        folder = path if path.is_dir() else path.parent
        if (folder / FILE).is_file():
            return Learnt(found, RUN, _parsed(folder / FILE))
        listed = (folder / examples.FILE).read_bytes() if (folder / examples.FILE).is_file() else None
    else:
        archive = Archive.open(path)
        listed = archive.read(examples.FILE) if examples.FILE in archive.names else None
    try:
        references = examples.parse(listed) if listed is not None else ()
    except examples.ExamplesInvalid:
        references = ()  # what is wrong with it is for the archive's verification to say
    if not references:
        return Learnt(found)
    return Learnt(found, REFERENCES, {TRAIN: frozenset(example.id[:DIGITS] for example in references)})


def _parsed(file: Path) -> dict[str, frozenset[str]]:
    try:
        told = documents.of_json(file.read_text("utf-8"))
        if not strict_json.is_schema(told.pop("schema"), SCHEMA_VERSION) or not {TRAIN, OTHERS} <= set(told):
            raise ValueError
        return {name: frozenset(digests) for name, digests in told.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelUnreadable(
            f"{file} does not say which photographs were learnt from: train the run again, or remove the file"
        ) from None

"""A set of photographs that are none of the classes, to measure with: brought, drawn, and cut from the classes' own.

    OUT/SET/0001.jpg ...   a folder for each source, as `amulet train --ood OUT` and `amulet evaluate --ood` read it
    OUT/manifest.json      where each photograph is from

Brought photographs are copied as they are. One that is a copy of a labelled photograph, or of another that was
brought, is left out and named in the manifest: it would be measured twice, or taken for something that it is not.
Cuttings keep the camera, the light and the table of the classes and show no object: `table` shows the table alone,
`fragment` so little of an object that nobody could name it. A model that answers by the table takes either for a class.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_store import placed
from training.augmentation import backdrop
from training.data.duplicates import copies, near_duplicates, shared_photos
from training.data.errors import DataWrong, PhotoBroken, in_one_line
from training.data.folder import SUFFIXES, Photo, load_folder, open_image, read_photo, upright
from training.demo.others import OBJECTS
from training.demo.photographs import OutNotEmpty, draw

MANIFEST: Final = "manifest.json"
DRAWN: Final[Mapping[str, str]] = {"drawn_coins": "coins", "drawn_objects": "objects"}
CUT: Final = ("table", "fragment")
_SIDE_PX: Final = 224  # of cuttings: smaller ones would be refused for their size and not for what they show
_CUT_RATIO: Final = 0.25  # of the photograph's shorter side
_JPEG_QUALITY: Final = 92

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that a user brings."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one photograph of the set is from."""

    file: str  # below OUT
    set: str
    kind: str  # "brought", "drawn" or "cut"
    origin: str  # the file below the source's folder, the renderer's name for it, or the labelled photograph
    origin_sha256: str  # of that file; empty for what was drawn


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A photograph that was brought and is not in the set."""

    source: str
    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Negatives:
    """What was written."""

    path: Path
    seed: int
    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def per_set(self) -> Mapping[str, int]:
        names = sorted({entry.set for entry in self.entries})
        return {name: sum(entry.set == name for entry in self.entries) for name in names}

    def document(self) -> dict[str, Any]:
        """As manifest.json holds it."""
        return {
            "seed": self.seed,
            "photos": len(self.entries),
            "sets": dict(self.per_set),
            "files": [asdict(entry) for entry in self.entries],
            "left_out": [asdict(each) for each in self.left_out],
        }


@dataclass(frozen=True, slots=True)
class _Offer:
    """A photograph that could be in the set, made when it is asked for; None where it turns out that it cannot be."""

    kind: str
    origin: str
    origin_sha256: str
    content: Callable[[], bytes | None]


def write_negatives(
    out: Path,
    *,
    photos: int,
    seed: int,
    brought: Sequence[Source] = (),
    classes: Path | None = None,
    drawn: bool = True,
    progress: Progress | None = None,
) -> Negatives:
    """Write a set of `photos` to `out`, a folder that is new or empty; all of it or nothing.

    Sources share the photographs evenly; what one cannot give the others do, so that there may be fewer in all.
    classes: labelled photographs, to cut from and to keep out.  The same arguments write the same set.
    Raises OutNotEmpty, DataWrong where there is nothing to take or a folder cannot be used; OSError.
    """
    placed.clear(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutNotEmpty(f"{out} is not an empty folder: name a new one, or remove it first")
    labelled = load_folder(classes).photos if classes is not None else ()
    offers, left_out = _offers(brought, labelled, photos=photos, drawn=drawn, seed=seed)
    if not offers:
        raise DataWrong(
            "there is nothing to take: bring folders with --from, name labelled photographs with --classes, "
            "or leave out --no-drawn"
        )
    with placed.folder(out) as place:
        entries = tuple(_written(place, offers, photos, progress))
        if not entries:
            raise DataWrong(f"none of {', '.join(offers)} gave a photograph: bring folders with --from")
        found = Negatives(out, seed, entries, left_out)
        text = json.dumps(found.document(), ensure_ascii=False, indent=2) + "\n"
        (place / MANIFEST).write_text(text, "utf-8")
    return found


def _offers(
    brought: Sequence[Source], labelled: Sequence[Photo], *, photos: int, drawn: bool, seed: int
) -> tuple[dict[str, list[_Offer]], tuple[LeftOut, ...]]:
    """Set -> what it could hold, in the order in which it is taken."""
    rng = np.random.default_rng(seed)
    offers: dict[str, list[_Offer]] = {}
    left_out: list[LeftOut] = []
    taken: list[Photo] = []
    for source in brought:
        if source.name in offers or source.name in (*DRAWN, *CUT):
            raise DataWrong(f"two sources are called {source.name}: give each its own name, as in --from coins=DIR")
        kept, refused = _brought(source, labelled, taken)
        taken.extend(kept)
        left_out.extend(refused)
        offers[source.name] = [
            _Offer("brought", photo.relative, photo.sha256, photo.path.read_bytes) for photo in _shuffled(kept, rng)
        ]
    if drawn:
        for name, what in DRAWN.items():
            offers[name] = [_drawn(what, number, seed) for number in range(1, photos + 1)]
    if labelled:
        for name in CUT:
            offers[name] = [_cut(name, photo, seed) for photo in _shuffled(labelled, rng)]
    return offers, tuple(left_out)


def _brought(source: Source, labelled: Sequence[Photo], taken: Sequence[Photo]) -> tuple[list[Photo], list[LeftOut]]:
    if not source.path.is_dir():
        raise DataWrong(f"there is no folder {source.path}: --from names a folder of photographs of other things")
    read: list[Photo] = []
    left_out: list[LeftOut] = []
    for file in sorted(path for path in source.path.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        relative = file.relative_to(source.path).as_posix()
        try:
            read.append(read_photo(file, relative=relative, label=source.name))
        except PhotoBroken as error:
            left_out.append(LeftOut(source.name, in_one_line(relative), error.why))
    for pair in shared_photos(read, labelled):
        left_out.append(LeftOut(source.name, pair.first.relative, f"a copy of the labelled {pair.second.relative}"))
    known = {each.file for each in left_out}
    strangers = [photo for photo in read if photo.relative not in known]
    for pair in shared_photos(strangers, taken):
        again = f"a copy of {pair.second.label}/{pair.second.relative}"
        left_out.append(LeftOut(source.name, pair.first.relative, again))
    known = {each.file for each in left_out}
    strangers = [photo for photo in strangers if photo.relative not in known]
    alike = copies(strangers, near_duplicates(strangers))
    left_out.extend(
        LeftOut(source.name, copy.relative, f"a copy of {members[0].relative}")
        for members in alike
        for copy in members[1:]
    )
    if not alike:
        raise DataWrong(f"{source.path} holds no photograph that could be used: give another folder, or leave it out")
    return [members[0] for members in alike], left_out


def _written(
    root: Path, offers: Mapping[str, Sequence[_Offer]], photos: int, progress: Progress | None
) -> Iterator[Entry]:
    """One photograph of each source in turn, until there are enough or no source has more."""
    waiting = {name: iter(each) for name, each in offers.items()}
    counts = dict.fromkeys(offers, 0)
    done = 0
    while waiting and done < photos:
        for name in list(waiting):
            taken = next(((offer, content) for offer in waiting[name] if (content := offer.content())), None)
            if taken is None:
                del waiting[name]
                continue
            offer, content = taken
            counts[name] += 1
            suffix = Path(offer.origin).suffix.lower() if offer.kind == "brought" else ".jpg"
            file = f"{name}/{counts[name]:04}{suffix}"
            (root / name).mkdir(exist_ok=True)
            (root / file).write_bytes(content)
            yield Entry(file, name, offer.kind, offer.origin, offer.origin_sha256)
            done += 1
            if progress is not None:
                progress(done, photos)
            if done == photos:
                return


def _drawn(what: str, number: int, seed: int) -> _Offer:
    kind = f"{list(OBJECTS)[number % len(OBJECTS)]}_" if what == "objects" else ""
    name = f"ood/{what}/{kind}{number:03}.jpg"
    return _Offer("drawn", name, "", lambda: _jpeg(draw(name, seed)))


def _cut(how: str, photo: Photo, seed: int) -> _Offer:
    return _Offer("cut", photo.relative, photo.sha256, partial(_cutting, how, photo, seed))


def _cutting(how: str, photo: Photo, seed: int) -> bytes | None:
    """None where the photograph has no flat table, or no place that shows the table alone or the object alone."""
    with open_image(photo.path, photo.content()) as image:
        pixels = np.asarray(upright(image).convert("RGB"))
    table = backdrop.mask(pixels)
    if table is None:
        return None
    side = max(1, round(min(table.shape) * _CUT_RATIO))
    rng = np.random.default_rng([seed, CUT.index(how), int(photo.sha256[:16], 16)])
    place = _place(table if how == "table" else ~table, side, rng)
    if place is None:
        return None
    top, left = place
    cutting = Image.fromarray(pixels[top : top + side, left : left + side])
    return _jpeg(cutting.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC))


def _place(wanted: NDArray[np.bool_], side: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """Row and column of a square that lies in `wanted` [H, W] altogether, any as likely; None where there is none."""
    sums = np.pad(wanted.astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    places = np.argwhere(inside == side * side)
    if not len(places):
        return None
    row, column = places[rng.integers(len(places))]
    return int(row), int(column)


def _shuffled(photos: Sequence[Photo], rng: np.random.Generator) -> list[Photo]:
    return [photos[index] for index in rng.permutation(len(photos))]


def _jpeg(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, "JPEG", quality=_JPEG_QUALITY)
    return content.getvalue()

"""Photographs for experts to judge: one ZIP that training writes and the console imports.

    sheet.json     {"schema": 1, "kind": KIND, "model": VERSION, "items": [...]}
    001.jpg        a photograph
    001_map.jpg    of `heat_maps`: the same with the heat map over it

    heat_maps      {"name", "photo", "overlay", "label", "predicted", "confidence"}: `label` is null where none is known
    synthetic      {"name", "photo", "class", "origin"} and, where it is known, "source": the photograph that it shows
                   or is made from, as its data set names it. Whoever judges is told neither origin nor source

A sheet may come from anywhere: it is read by the zip rules of archives, and nothing in it is trusted.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image

from model_store import jpegs, members, placed, strict_json
from model_store.errors import ArchiveRefused
from model_store.members import MIB, Limits, Member

SCHEMA: Final = 1
SHEET: Final = "sheet.json"
ITEMS_MAX: Final = 1000
PICTURE_BYTES_MAX: Final = MIB
SIDE_PX_MAX: Final = 1024
SHEET_BYTES_MAX: Final = 64 * MIB
VERDICTS: Final = ("plausible", "not", "unsure")  # of a synthetic photograph
PROBLEMS: Final = ("shape", "texture", "artefacts")  # what gives it away
_LIMITS: Final = Limits(SHEET_BYTES_MAX, SHEET_BYTES_MAX, members_max=2 * ITEMS_MAX + 1)
_TEXT_MAX: Final = 300
_JPEG_QUALITY: Final = 88
_AS_OLD_AS_ZIP: Final = (1980, 1, 1, 0, 0, 0)  # the same photographs make the same file


class Kind(StrEnum):
    HEAT_MAPS = "heat_maps"
    SYNTHETIC = "synthetic"


class Origin(StrEnum):
    """Real photographs among synthetic ones are the yardstick."""

    SYNTHETIC = "synthetic"
    REAL = "real"


class SheetRefused(ValueError):
    """A file that is no review sheet: one sentence that says what is wrong."""


@dataclass(frozen=True, slots=True)
class Item:
    """One photograph to judge. The pictures are JPEGs."""

    name: str  # by which answers name it; "": its number
    photo: bytes = field(repr=False)
    label: str | None  # its class; None where the photograph's folder is no class of the model
    overlay: bytes = field(default=b"", repr=False)  # of heat maps, as the three below
    predicted: str = ""
    confidence: float = 0.0
    origin: Origin | None = None  # of synthetic ones, as the next
    source: str = ""  # name of the photograph that it shows or is made from; "": of none, or nobody knows


@dataclass(frozen=True, slots=True)
class Sheet:
    kind: Kind
    model: str  # whose heat maps they are; "" for synthetic ones
    items: tuple[Item, ...]
    sha256: str  # of the whole file


def jpeg(picture: Image.Image) -> bytes:
    """A picture as a sheet has it: all of one compression, so that it tells none from another."""
    content = BytesIO()
    picture.save(content, "JPEG", quality=_JPEG_QUALITY)
    return content.getvalue()


def write_sheet(out: Path, items: Iterable[Item], *, kind: Kind, model: str = "") -> int:
    """How many items it has. `out` appears whole or not at all. Raises OSError, and what `items` raises."""
    rows = []
    with placed.file(out) as half_done, zipfile.ZipFile(half_done, "w") as archive:
        for number, item in enumerate(items, start=1):
            row = _row(item, number, kind)
            rows.append(row)
            archive.writestr(zipfile.ZipInfo(row["photo"], _AS_OLD_AS_ZIP), item.photo)
            if kind == Kind.HEAT_MAPS:
                archive.writestr(zipfile.ZipInfo(row["overlay"], _AS_OLD_AS_ZIP), item.overlay)
        sheet = {"schema": SCHEMA, "kind": kind, "model": model, "items": rows}
        text = json.dumps(sheet, ensure_ascii=False, indent=1)
        archive.writestr(zipfile.ZipInfo(SHEET, _AS_OLD_AS_ZIP), text)
    return len(rows)


def read_sheet(path: Path) -> Sheet:
    """Raises SheetRefused for the first rule that the file breaks, OSError where the disk refuses."""
    try:
        with members.open_regular(path) as file:
            listed = {member.name: member for member in members.read_directory(file, _LIMITS)}
            if SHEET not in listed:
                raise SheetRefused(
                    f"it has no {SHEET}: name a file that `--review-sheet` or `amulet synth sheet` wrote"
                )
            _check_sizes(listed)
            contents = {name: members.read(file, member) for name, member in listed.items()}
            sha256 = members.digest_of(file)
    except ArchiveRefused as refused:
        raise SheetRefused(str(refused)) from None
    return _sheet(contents, sha256)


def _row(item: Item, number: int, kind: Kind) -> dict[str, Any]:
    row: dict[str, Any] = {"name": item.name or f"{number:03}", "photo": f"{number:03}.jpg"}
    if kind == Kind.SYNTHETIC:
        return {**row, "class": item.label, "origin": item.origin, **({"source": item.source} if item.source else {})}
    return {
        **row,
        "overlay": f"{number:03}_map.jpg",
        "label": item.label,
        "predicted": item.predicted,
        "confidence": item.confidence,
    }


def _check_sizes(listed: Mapping[str, Member]) -> None:
    for name, member in listed.items():
        if member.size_bytes > PICTURE_BYTES_MAX:
            raise SheetRefused(f"{name} has {member.size_bytes} bytes; at most {PICTURE_BYTES_MAX} are accepted")


def _sheet(contents: Mapping[str, bytes], sha256: str) -> Sheet:
    try:
        document = strict_json.loads(contents[SHEET])
    except ValueError as error:
        raise SheetRefused(f"{SHEET} cannot be read: {error}") from None
    if not isinstance(document, dict) or set(document) != {"schema", "kind", "model", "items"}:
        raise SheetRefused(f"{SHEET} is no object with schema, kind, model and items")
    if not strict_json.is_schema(document["schema"], SCHEMA):
        raise SheetRefused(f"{SHEET} is of another schema than {SCHEMA}: write the sheet anew with this version")
    if document["kind"] not in list(Kind):
        raise SheetRefused(f"{SHEET}: kind is {' or '.join(Kind)}")
    kind = Kind(document["kind"])
    model, rows = document["model"], document["items"]
    if not _is_text(model) or (kind == Kind.HEAT_MAPS) != bool(model):
        raise SheetRefused(f"{SHEET}: model is a version's name for heat maps, and empty for synthetic photographs")
    if not isinstance(rows, list) or not 1 <= len(rows) <= ITEMS_MAX:
        raise SheetRefused(f"{SHEET}: items is a list of 1 to {ITEMS_MAX}")
    items = tuple(_item(row, number, kind, contents) for number, row in enumerate(rows, start=1))
    if len({item.name for item in items}) != len(items):
        raise SheetRefused(f"{SHEET}: every item has a name of its own")
    pictures = [row[key] for row in rows for key in ("photo", "overlay") if key in row]
    if len(set(pictures)) != len(pictures) or {*pictures, SHEET} != set(contents):
        raise SheetRefused("every picture of the file belongs to exactly one item")
    return Sheet(kind, model, items, sha256)


def _item(row: object, number: int, kind: Kind, contents: Mapping[str, bytes]) -> Item:
    def refused(what: str) -> SheetRefused:
        return SheetRefused(f"item {number} {what}")

    def picture(key: str) -> bytes:
        name = row[key]  # type: ignore[index]  # checked below before it is called
        if not isinstance(name, str) or name == SHEET or name not in contents:
            raise refused(f"names a {key} that is not in the file")
        complaint = jpegs.complaint(contents[name], bytes_max=PICTURE_BYTES_MAX, side_px_max=SIDE_PX_MAX)
        if complaint is not None:
            raise refused(f"has a {key} that {complaint}")
        return contents[name]

    special = {"class", "origin"} if kind == Kind.SYNTHETIC else {"overlay", "label", "predicted", "confidence"}
    keys = {"name", "photo", *special}
    if not isinstance(row, dict) or set(row) - ({"source"} if kind == Kind.SYNTHETIC else set()) != keys:
        raise refused(f"is no object with {', '.join(sorted(keys))}")
    if not _is_text(row["name"]) or not row["name"]:
        raise refused(f"has a name that is no text of 1 to {_TEXT_MAX} printable characters")
    if kind == Kind.SYNTHETIC:
        if not _is_text(row["class"]) or not row["class"]:
            raise refused("has no class")
        if row["origin"] not in list(Origin):
            raise refused(f"has an origin other than {' or '.join(Origin)}")
        if not _is_text(row.get("source", "")):
            raise refused(f"has a source that is no text of at most {_TEXT_MAX} printable characters")
        origin, source = Origin(row["origin"]), row.get("source", "")
        return Item(row["name"], picture("photo"), row["class"], origin=origin, source=source)
    if row["label"] is not None and not _is_text(row["label"]):
        raise refused("has a label that is neither a class nor null")
    if not _is_text(row["predicted"]) or not row["predicted"]:
        raise refused("has no predicted class")
    confidence = row["confidence"]
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise refused("has a confidence outside 0 to 1")
    return Item(row["name"], picture("photo"), row["label"], picture("overlay"), row["predicted"], float(confidence))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_MAX and value.isprintable()

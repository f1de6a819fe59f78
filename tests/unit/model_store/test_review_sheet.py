"""A sheet is read as it was written, and a hostile one ends in one sentence."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model_store.review_sheet import Item, Kind, Origin, SheetRefused, jpeg, read_sheet, write_sheet

PICTURE = jpeg(Image.new("RGB", (8, 8), "red"))
HEAT = Item("apple/1.png", PICTURE, "apple", PICTURE, "apple", 0.5)
MADE = {"name": "001", "photo": "001.jpg", "class": "apple", "origin": "synthetic"}


def with_metadata() -> bytes:
    content, exif = io.BytesIO(), Image.Exif()
    exif[0x010F] = "a camera"
    Image.new("RGB", (8, 8)).save(content, "JPEG", exif=exif)
    return content.getvalue()


def packed(path: Path, pictures: Mapping[str, bytes], *rows: Any, **changed: Any) -> Path:
    sheet = {"schema": 1, "kind": "synthetic", "model": "", "items": list(rows), **changed}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**pictures, "sheet.json": json.dumps(sheet).encode()}.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


@pytest.mark.parametrize(
    ("kind", "model", "item"),
    [
        (Kind.HEAT_MAPS, "v20260101_b0_0.9", HEAT),
        (Kind.SYNTHETIC, "", Item("7", PICTURE, "b", origin=Origin.REAL)),
        (Kind.SYNTHETIC, "", Item("7", PICTURE, "b", origin=Origin.REAL, source="front_1_0.png")),
    ],
)
def test_what_was_written_is_read(tmp_path: Path, kind: Kind, model: str, item: Item) -> None:
    assert write_sheet(tmp_path / "sheet.zip", [item], kind=kind, model=model) == 1
    found = read_sheet(tmp_path / "sheet.zip")
    assert (found.kind, found.model, found.items) == (kind, model, (item,))
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.zip"]


def test_a_sheet_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_sheet(tmp_path / "sheet.zip", (HEAT for _ in [1 / 0]), kind=Kind.HEAT_MAPS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pictures", "rows", "changed", "sentence"),
    [
        ({"001.jpg": PICTURE}, [MADE], {"schema": 2}, "of another schema than 1"),
        ({"001.jpg": PICTURE}, [MADE], {"schema": True}, "of another schema than 1"),
        ({"001.jpg": PICTURE}, [MADE], {"kind": "faces"}, "kind is heat_maps or synthetic"),
        ({"001.jpg": PICTURE}, [MADE], {"model": "v1"}, "empty for synthetic"),
        ({}, [], {}, "items is a list of 1 to 1000"),
        ({}, [MADE], {}, "item 1 names a photo that is not in the file"),
        ({"001.jpg": PICTURE}, [{**MADE, "more": 1}], {}, "item 1 is no object with class, name, origin, photo"),
        ({"001.jpg": PICTURE}, [{**MADE, "origin": "moon"}], {}, "origin other than synthetic or real"),
        ({"001.jpg": PICTURE}, [{**MADE, "name": "a\nb"}], {}, "has a name that is no text"),
        ({"001.jpg": PICTURE}, [{**MADE, "source": ["a"]}], {}, "has a source that is no text"),
        ({"001.jpg": PICTURE}, [{**MADE, "source": "a" * 301}], {}, "has a source that is no text"),
        ({"001.jpg": PICTURE}, [{**MADE, "photo": "sheet.json"}], {}, "names a photo that is not in the file"),
        ({"001.jpg": PICTURE, "x.exe": b"MZ"}, [MADE], {}, "every picture of the file belongs to exactly one item"),
        ({"001.jpg": PICTURE}, [MADE, {**MADE, "name": "002"}], {}, "belongs to exactly one item"),
        ({"001.jpg": b"GIF89a"}, [MADE], {}, "photo that is not a whole JPEG"),
        ({"001.jpg": PICTURE[:-60]}, [MADE], {}, "photo that is not a whole JPEG"),
        ({"001.jpg": with_metadata()}, [MADE], {}, "photo that holds more than pixels"),
        ({"001.jpg": jpeg(Image.new("L", (2000, 1)))}, [MADE], {}, "photo that is larger than 1024 x 1024 pixels"),
        ({"001.jpg": b"\0" * 2**20 + b"\0"}, [MADE], {}, "001.jpg has 1048577 bytes; at most 1048576"),
        ({"../001.jpg": PICTURE}, [MADE], {}, "climbs out of its folder"),
    ],
)
def test_each_fault_is_one_sentence(
    tmp_path: Path, pictures: dict[str, bytes], rows: list[Any], changed: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SheetRefused, match=sentence):
        read_sheet(packed(tmp_path / "sheet.zip", pictures, *rows, **changed))


def test_a_file_that_is_no_sheet_says_which_one_would_be(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(SheetRefused, match="it is no zip archive"):
        read_sheet(tmp_path / "text")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.jpg"), PICTURE)
    with pytest.raises(SheetRefused, match=r"it has no sheet\.json"):
        read_sheet(tmp_path / "other.zip")

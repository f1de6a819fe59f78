"""examples.json: it survives its text, and nothing but small pictures and plain facts gets through."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model_store import contents, examples
from model_store.card import Card
from model_store.errors import ArchiveRefused
from model_store.examples import Example, ExamplesInvalid
from tests import tiny_archive

THUMBNAIL = tiny_archive.thumbnail_of("red")
GOOD = (Example("0" * 16, "red", "front", THUMBNAIL), Example("f" * 16, "blue", ""))


def jpeg(side_px: int = 8, **options: Any) -> str:
    out = BytesIO()
    Image.new("RGB", (side_px, side_px)).save(out, "JPEG", **options)
    return base64.b64encode(out.getvalue()).decode()


def test_examples_survive_their_text() -> None:
    assert examples.parse(examples.render(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "somchai.jpg"}, "hexadecimal"),
        ({"side": "inside"}, "side is empty or one of back"),
        ({"path": "/home"}, "exactly id, class and side"),
        ({"class": 3}, "text only"),
        ({"thumbnail": "no base64!"}, "base64"),
        ({"thumbnail": base64.b64encode(b"GIF89a").decode()}, "not a whole JPEG"),
        ({"thumbnail": jpeg(200)}, "larger than 96"),
        ({"thumbnail": jpeg(exif=b"Exif\0\0II*\0")}, "more than pixels"),
        ({"thumbnail": jpeg(comment=b"taken at home")}, "more than pixels"),
        ({"thumbnail": base64.b64encode(THUMBNAIL[:40] + b"\xff\xd9").decode()}, "cut off|more than pixels"),
        ({"thumbnail": base64.b64encode(THUMBNAIL[:-2] + bytes(20_000) + b"\xff\xd9").decode()}, "at most"),
    ],
)
def test_what_does_not_belong_there_is_refused_naming_the_place(change: dict[str, Any], said: str) -> None:
    document = json.loads(examples.render(GOOD))
    document["examples"][1] |= change

    with pytest.raises(ExamplesInvalid, match=said):
        examples.parse(json.dumps(document))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 2, "examples": []}',
        '{"schema": true, "examples": []}',
        '{"schema": 1, "examples": {}}',
    ],
)
def test_another_document_is_refused(text: str) -> None:
    with pytest.raises(ExamplesInvalid):
        examples.parse(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: None, "together or not at all"),
        (lambda text: text + b" ", "this is another"),
    ],
)
def test_a_card_and_its_examples_belong_together(
    tmp_path: Path, change: Callable[[bytes], bytes | None], said: str
) -> None:
    card: Card = tiny_archive.write_run(tmp_path)
    text = (tmp_path / examples.FILE).read_bytes()
    contents.check_examples(card, text)

    with pytest.raises(ArchiveRefused, match=said):
        contents.check_examples(card, change(text))

"""The photographs that a version compares with, as callers may be told of them: `examples.json`.

    {"schema": 1, "examples": [{"id": HEX, "class": CLASS_ID, "side": "front", "thumbnail": BASE64}]}

in the order of the graph's references. `thumbnail` is a small JPEG, and absent unless whoever
owns the photographs allowed that it is shown: a photograph may be somebody's personal data,
and an archive is out of an erasure's reach (decision 0058).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from model_store import jpegs, strict_json
from protos.amulet.v1 import vocabulary_pb2 as words

FILE: Final = "examples.json"
SCHEMA_VERSION: Final = 1
NEAREST_MAX: Final = 10  # references that the graph names for one photograph
THUMBNAIL_PX: Final = 96
THUMBNAIL_BYTES_MAX: Final = 16 * 1024
SIDES: Final = frozenset(name.removeprefix("SIDE_").lower() for name in words.Side.keys()[1:])
_ID: Final = re.compile(r"[0-9a-f]{16,64}")


class ExamplesInvalid(ValueError):
    """An examples.json that is none, with the place and what would be right."""


@dataclass(frozen=True, slots=True)
class Example:
    """One reference."""

    id: str  # of the photograph's content: the same wherever it lies
    class_id: str
    side: str  # one of SIDES; empty: not known
    thumbnail_jpeg: bytes = b""  # empty: not to be shown


def render(examples: Sequence[Example]) -> str:
    """The JSON text; the same for the same examples."""
    entries = []
    for example in examples:
        entry = {"id": example.id, "class": example.class_id, "side": example.side}
        if example.thumbnail_jpeg:
            entry["thumbnail"] = base64.b64encode(example.thumbnail_jpeg).decode("ascii")
        entries.append(entry)
    return json.dumps({"schema": SCHEMA_VERSION, "examples": entries}, indent=1) + "\n"


def parse(text: str | bytes) -> tuple[Example, ...]:
    """Raises ExamplesInvalid naming the first wrong place."""
    try:
        document = strict_json.loads(text)
    except ValueError as error:
        raise ExamplesInvalid(f"{FILE} is not JSON: {error}") from None
    if not isinstance(document, dict) or set(document) != {"schema", "examples"}:
        raise ExamplesInvalid(f"{FILE} has exactly the keys schema and examples")
    if not strict_json.is_schema(document["schema"], SCHEMA_VERSION):
        raise ExamplesInvalid(f"{FILE} has schema {document['schema']!r}; this program reads {SCHEMA_VERSION}")
    if not isinstance(document["examples"], list):
        raise ExamplesInvalid(f"{FILE}: examples is a list")
    return tuple(_example_of(index, entry) for index, entry in enumerate(document["examples"]))


def _example_of(index: int, entry: object) -> Example:
    place = f"{FILE}: examples[{index}]"
    if not isinstance(entry, Mapping) or set(entry) - {"thumbnail"} != {"id", "class", "side"}:
        raise ExamplesInvalid(f"{place} has exactly id, class and side, and thumbnail where it may be shown")
    values: dict[str, Any] = dict(entry)
    if not all(isinstance(value, str) for value in values.values()):
        raise ExamplesInvalid(f"{place} holds text only")
    if not _ID.fullmatch(values["id"]):
        raise ExamplesInvalid(f"{place}.id is 16 to 64 hexadecimal digits")
    if values["side"] and values["side"] not in SIDES:
        raise ExamplesInvalid(f"{place}.side is empty or one of {', '.join(sorted(SIDES))}")
    thumbnail = b""
    if "thumbnail" in values:
        try:
            thumbnail = base64.b64decode(values["thumbnail"], validate=True)
        except (binascii.Error, ValueError):
            raise ExamplesInvalid(f"{place}.thumbnail is no base64 text") from None
        if complaint := jpegs.complaint(thumbnail, bytes_max=THUMBNAIL_BYTES_MAX, side_px_max=THUMBNAIL_PX):
            raise ExamplesInvalid(f"{place}.thumbnail {complaint}")
    return Example(values["id"], values["class"], values["side"], thumbnail)

"""What lies in an archive: which names, in which formats, and what they must say of each other.

MAR-INF/MANIFEST.json   what TorchServe reads
model.onnx              the graph
model.json              the card
reference.json          training-time distributions
examples.json           the references that the graph names as nearest, where it does
golden_0.png ...        photographs with known answers, at the model's size
amulet_handler.py       the handler
graph_pb2.py            the stub of its messages
model.sig               the signature over all the others
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from model_store import examples
from model_store.card import Card
from model_store.errors import ArchiveRefused
from model_store.manifest import HANDLER, WEIGHTS
from protos.amulet.v1 import vocabulary_pb2 as words

MANIFEST: Final = "MAR-INF/MANIFEST.json"
CARD: Final = "model.json"
REFERENCE: Final = "reference.json"
STUB: Final = "graph_pb2.py"
SIGNATURE: Final = "model.sig"
CODE: Final = (HANDLER, STUB)
REQUIRED: Final = (MANIFEST, WEIGHTS, CARD, REFERENCE, HANDLER, STUB)
EXAMPLES: Final = examples.FILE
OPTIONAL: Final = (EXAMPLES, SIGNATURE)
GOLDEN_MAX: Final = 16
FOLDER_BYTES_MAX: Final = 255  # of a folder's name, on every file system in use
_GOLDEN: Final = re.compile(r"golden_(0|[1-9][0-9]?)\.png")

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_BYTES_MAX: Final = {
    MANIFEST: 64 * _KIB,
    CARD: 8 * _MIB,
    REFERENCE: 32 * _MIB,
    EXAMPLES: 32 * _MIB,
    HANDLER: _MIB,
    STUB: _MIB,
    SIGNATURE: _MIB,
}
_GOLDEN_BYTES_MAX: Final = 16 * _MIB

_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"pHYs"})
_PNG_TRUECOLOUR: Final = 2


def is_golden(name: str) -> bool:
    return _GOLDEN.fullmatch(name) is not None


def golden_names(names: Iterable[str]) -> tuple[str, ...]:
    """The golden photographs among the names, by number."""
    return tuple(sorted(filter(is_golden, names), key=lambda name: int(name[7:-4])))


def check_names(sizes: Mapping[str, int]) -> None:
    """The allow-list, on name -> size in bytes. Raises ArchiveRefused."""
    for name, size in sizes.items():
        if name not in REQUIRED and name not in OPTIONAL and not is_golden(name):
            raise ArchiveRefused(
                words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED,
                f"{name} does not belong into a model archive: {', '.join((*REQUIRED, *OPTIONAL))} and golden_N.png do",
            )
        largest = _GOLDEN_BYTES_MAX if is_golden(name) else _BYTES_MAX.get(name)
        if largest is not None and size > largest:
            raise ArchiveRefused(
                words.REASON_ARCHIVE_TOO_LARGE, f"{name} has {size} bytes; at most {largest} are accepted"
            )
    missing = [name for name in REQUIRED if name not in sizes]
    if missing:
        raise ArchiveRefused(words.REASON_ARCHIVE_MEMBER_MISSING, f"the archive has no {', no '.join(missing)}")
    photographs = golden_names(sizes)
    if not 1 <= len(photographs) <= GOLDEN_MAX:
        raise ArchiveRefused(
            words.REASON_ARCHIVE_MEMBER_MISSING if not photographs else words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED,
            f"the archive has {len(photographs)} golden photographs; 1 to {GOLDEN_MAX} belong into it",
        )


def check_format(name: str, path: Path) -> None:
    """Is the member of the format that its name promises? Raises ArchiveRefused.

    Looks at frames and marks only; nothing here decodes pixels or builds a graph.
    """
    if name == WEIGHTS:
        complaint = _onnx_complaint(path)
    elif is_golden(name):
        complaint = _png_complaint(path.read_bytes())
    else:
        complaint = _text_complaint(name, path.read_bytes())
    if complaint:
        raise ArchiveRefused(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED, f"{name} {complaint}")


def check_card(card: Card, digests: Mapping[str, str]) -> None:
    """Does the card speak of these members? digests: name -> SHA-256. Raises ArchiveRefused."""
    if digests.get(WEIGHTS) != card.graph.sha256:
        raise _card_wrong(f"the card describes a {WEIGHTS} with the SHA-256 {card.graph.sha256}; this is another")
    listed = [golden.file for golden in card.golden]
    present = golden_names(digests)
    if sorted(listed) != sorted(present):
        raise _card_wrong(f"the card lists {_enumeration(listed)} and there is {_enumeration(present)}")
    for golden in card.golden:
        if digests[golden.file] != golden.sha256:
            raise _card_wrong(f"{golden.file} is not the photograph that the card describes")
    # Not where a card is read: versions that came in before must stay readable.
    if crossed := [metric.name for metric in card.metrics if metric.low > metric.high]:
        raise _card_wrong(f"the interval of {crossed[0]} ends below where it begins")
    for known in card.classes:
        if (size_bytes := len(known.id.encode())) > FOLDER_BYTES_MAX:
            raise _card_wrong(
                f"the class {known.id[:40]}… has {size_bytes} bytes in UTF-8: its photographs go into a folder of that "
                f"name, which has at most {FOLDER_BYTES_MAX}"
            )


def check_examples(card: Card, text: bytes | None) -> None:
    """Is the examples.json, None where there is none, the one that the card describes? Raises ArchiveRefused."""
    described = card.examples
    if described is None or text is None:
        if described is not None or text is not None:
            raise _card_wrong(f"{EXAMPLES} and its description on the card come together or not at all")
        return
    if sha256(text) != described.sha256:
        raise _card_wrong(f"the card describes an {EXAMPLES} with the SHA-256 {described.sha256}; this is another")
    try:
        found = examples.parse(text)
    except examples.ExamplesInvalid as error:
        raise _card_wrong(str(error)) from None
    if len(found) != described.count or not found:
        raise _card_wrong(f"{EXAMPLES} lists {len(found)} photographs; the card says {described.count}, at least 1")
    if any(example.thumbnail_jpeg for example in found) and not described.thumbnails:
        raise _card_wrong(f"{EXAMPLES} shows photographs, and the card says that they may not be shown")
    unknown = sorted({example.class_id for example in found} - {known.id for known in card.classes})
    if unknown:
        raise _card_wrong(f"{EXAMPLES} has photographs of {unknown[0][:80]}, which is none of the card's classes")


def check_split(card: Card) -> None:
    """Photographs on both sides of the split make every figure on the card wrong. Raises ArchiveRefused."""
    if card.data.split.leaks:
        first, second = card.data.split.leaks[0]
        more = len(card.data.split.leaks) - 1
        raise ArchiveRefused(
            words.REASON_ARCHIVE_SPLIT_LEAKS,
            f"{first} and {second} show one photograph on both sides of the split"
            + (f", and {more} more pairs do" if more else ""),
        )


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _onnx_complaint(path: Path) -> str | None:
    """A ModelProto starts with its field 1, the version of the format: a small varint."""
    with path.open("rb") as file:
        start = file.read(16)
    if len(start) < 16 or start[0] != 0x08 or not 3 <= start[1] <= 0x7F:
        return "does not start like an ONNX model"
    return None


def _text_complaint(name: str, content: bytes) -> str | None:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return "is not text in UTF-8"
    if any(character < " " and character not in "\t\n" for character in text) or text.startswith("\ufeff"):
        return "holds control characters or a byte order mark"
    if name not in CODE and not text.startswith("{"):
        return "does not start like a JSON object"
    return None


def _png_complaint(content: bytes) -> str | None:
    """Walk the chunks: an opaque 8 bit RGB picture, no text or profile chunks, nothing after its end."""
    if not content.startswith(_PNG_START):
        return "is not a PNG"
    at = len(_PNG_START)
    first = True
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">L", content, at)
        if at + 12 + length > len(content):
            break
        kind = content[at + 4 : at + 8]
        if kind not in _PNG_CHUNKS:
            return f"holds the chunk {kind!r}; a golden photograph carries pixels only"
        if first and (kind != b"IHDR" or length != 13):
            return "does not start with a PNG header"
        if first and (content[at + 16], content[at + 17]) != (8, _PNG_TRUECOLOUR):
            return "is not an RGB picture with 8 bits a channel"
        first = False
        at += 12 + length
        if kind == b"IEND":
            return None if at == len(content) else "holds bytes after the end of the picture"
    return "is cut off"


def _enumeration(names: Collection[str]) -> str:
    return ", ".join(names) or "no golden photograph"


def _card_wrong(message: str) -> ArchiveRefused:
    return ArchiveRefused(words.REASON_ARCHIVE_CARD_INVALID, message)

"""`MAR-INF/MANIFEST.json` as TorchServe 0.12 reads it, derived from the card alone.

TorchServe's reader is lenient (comments, unquoted names, last key wins) and knows fields
that we never want: `requirementsFile`, `configFile`, `envelope`, the runtime `LSP`. So a
manifest is not interpreted when an archive is checked: it must be, byte for byte, the one
that belongs to the archive's card.
"""

from __future__ import annotations

import json
from typing import Final

from model_store.card import Card
from model_store.errors import ArchiveRefused
from protos.amulet.v1 import vocabulary_pb2 as words

HANDLER: Final = "amulet_handler.py"
WEIGHTS: Final = "model.onnx"
ARCHIVER_VERSION: Final = "0.12.0"


def manifest_of(card: Card) -> bytes:
    """The manifest under which TorchServe serves this card's model."""
    document = {
        "createdOn": card.created_at.isoformat(),
        "runtime": "python",
        "model": {
            "modelName": card.name,
            "modelVersion": card.version,
            "serializedFile": WEIGHTS,
            "handler": HANDLER,
        },
        "archiverVersion": ARCHIVER_VERSION,
    }
    return json.dumps(document, indent=2).encode("ascii") + b"\n"


def check(content: bytes, card: Card) -> None:
    """Raises ArchiveRefused when this is not the manifest of this card."""
    if content != manifest_of(card):
        raise ArchiveRefused(
            words.REASON_ARCHIVE_MANIFEST_INVALID,
            f"MAR-INF/MANIFEST.json is not the manifest of {card.name} {card.version}: "
            f"model name and version from the card, serializedFile {WEIGHTS}, handler {HANDLER}, nothing else",
        )

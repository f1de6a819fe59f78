"""The golden photographs: small pictures that decode to what the card says, with answers of its shape."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from model_store.card import Card
from model_store.errors import ArchiveRefused
from protos.amulet.v1 import vocabulary_pb2 as words


def check_photographs(folder: Path, card: Card) -> str:
    """Decode each one; returns one sentence. Raises ArchiveRefused with REASON_ARCHIVE_CARD_INVALID."""
    wanted = (card.input.width_px, card.input.height_px)
    for golden in card.golden:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a decompression bomb is only a warning
                with Image.open(folder / golden.file, formats=["PNG"]) as picture:
                    size, mode = picture.size, picture.mode
                    if size == wanted:
                        picture.load()
        except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
            raise _wrong(f"{golden.file} cannot be decoded: {str(error)[:200]}") from None
        if size != wanted or mode != "RGB":
            raise _wrong(f"{golden.file} is {mode} {size[0]} x {size[1]}; the card says RGB {wanted[0]} x {wanted[1]}")
    return f"{len(card.golden)} photographs of {wanted[0]} x {wanted[1]} pixels"


def _wrong(message: str) -> ArchiveRefused:
    return ArchiveRefused(words.REASON_ARCHIVE_CARD_INVALID, message)

"""Whatever a parser raises over a photograph is the photograph's: a status with a reason, and the decoder goes on."""

from __future__ import annotations

import mmap
import struct
from io import BytesIO

import pytest
from PIL import Image

from gateway.intake import decoder_process
from gateway.intake.wire import JOB, REPLY, SHARED_BYTES, Kind, Status

PARSERS_RAISE = (
    OSError, SyntaxError, ValueError, NotImplementedError, OverflowError, IndexError, struct.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning, Image.UnidentifiedImageError,
)  # fmt: skip


def told(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> tuple[Status, bytes]:
    """What a decoder answers when its parser raises this, and why it says so."""

    def raises(*_: object, **__: object) -> None:
        raise error("broken file")

    monkeypatch.setattr(decoder_process, "open_photo", raises)
    head, replies, memory = JOB.pack(Kind.OPEN, 1, 64, 64, 64, 64, 0, 0, 0), BytesIO(), mmap.mmap(-1, SHARED_BYTES)
    decoder_process.answer_one(head, BytesIO(), replies, memory)
    status, size = REPLY.unpack(replies.getvalue())
    return Status(status), memory[:size]


@pytest.mark.parametrize("error", PARSERS_RAISE)
def test_what_a_parser_raises_makes_the_photograph_corrupt(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(error, monkeypatch) == (Status.CORRUPT, error.__name__.encode())


def test_a_parser_without_memory_makes_it_too_costly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(MemoryError, monkeypatch) == (Status.TOO_COSTLY, b"MemoryError")


def test_what_no_parser_raises_ends_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a status is not what anything at all becomes."""
    with pytest.raises(KeyboardInterrupt):
        told(KeyboardInterrupt, monkeypatch)

"""The one door to intake: a stranger's bytes in, a Photo out."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.intake.decoders import Decoders
from gateway.intake.formats import Header, PhotoLimits, raw_header, read_header
from gateway.intake.quality import Quality

# hashlib lets go of the interpreter above this; below, a thread costs more than the hash.
_HASH_INLINE_BYTES_MAX: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph that passed intake: upright, sRGB, at the model's size, free of metadata."""

    pixels: NDArray[np.uint8]  # [height, width, 3]
    source_px: tuple[int, int]  # (width, height) upright, before scaling
    quality: Quality
    input_hash: bytes  # HMAC-SHA256 of the encoded photograph under the gateway's secret
    decode_ms: float


class Intake:
    """Opens photographs in isolation."""

    def __init__(self, decoders: Decoders, limits: PhotoLimits, *, hash_secret: bytes) -> None:
        self._decoders, self._limits, self._hash_secret = decoders, limits, hash_secret

    def check(self, photo: bytes | memoryview, raw_px: tuple[int, int] | None) -> Header:
        """What its header alone says. Raises a PhotoRefused; costs microseconds.

        raw_px: (width, height) where the photograph is pixels and no file; else None.
        """
        return read_header(photo, self._limits) if raw_px is None else raw_header(photo, raw_px, self._limits)

    async def open(self, photo: bytes | memoryview, header: Header, *, size_px: tuple[int, int]) -> Photo:
        """Decode a photograph whose header passed. size_px: (width, height) of the model's input.

        Raises a PhotoRefused that names what is wrong and what would be right.
        """
        started = time.monotonic()
        decoded = await self._decoders.open(photo, header, size_px=size_px)
        decode_ms = (time.monotonic() - started) * 1000
        if len(photo) > _HASH_INLINE_BYTES_MAX:
            input_hash = await asyncio.to_thread(self._hash, photo)
        else:
            input_hash = self._hash(photo)
        return Photo(decoded.pixels, decoded.source_px, decoded.quality, input_hash, decode_ms)

    def _hash(self, photo: bytes | memoryview) -> bytes:
        return hmac.digest(self._hash_secret, photo, hashlib.sha256)

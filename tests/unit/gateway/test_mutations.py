"""Damaged photographs, thousands of them: answered or refused, never our fault, never a crash.

    AMULET_MUTATIONS=100000 pytest tests/unit/gateway/test_mutations.py

Each run prints its seed; AMULET_MUTATION_SEED replays it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import psutil
import pytest
from grpc import aio
from PIL import Image

from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.gateway.cast import Gateway, encoded, photo, refused
from tests.unit.gateway.intake.test_formats import animated
from tests.unit.gateway.intake.test_pixels import grey16, quarters

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(3600)]
COUNT: Final = int(os.environ.get("AMULET_MUTATIONS", "400"))
SEED: Final = int(os.environ.get("AMULET_MUTATION_SEED", str(time.time_ns() % 2**32)))
SIDE_BY_SIDE: Final = 8
GROWTH_BYTES_MAX: Final = 300 * 2**20

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]


def seeds() -> list[bytes]:
    """Good files of every kind, to be damaged."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(quarters(), "JPEG", exif=exif, quality=80),
        encoded(quarters(), "JPEG", progressive=True),
        encoded(quarters().convert("CMYK"), "JPEG"),
        encoded(quarters(), "PNG"),
        encoded(quarters().quantize(16), "PNG", transparency=3),
        encoded(grey16(), "PNG"),
        encoded(quarters(), "WEBP"),
        encoded(quarters().convert("RGBA"), "WEBP", lossless=True),
        animated("WEBP"),
        photo(),
    ]


def flip(content: bytes, random: Random, *, most: int) -> bytes:
    changed = bytearray(content)
    for place in random.integers(0, len(content), random.integers(1, most + 1)):
        changed[place] = random.integers(0, 256)
    return bytes(changed)


def flip_header(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for place in random.integers(0, min(64, len(content)), random.integers(1, 6)):
        changed[place] = random.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF])
    return bytes(changed)


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.integers(0, len(content))]


def splice(content: bytes, random: Random) -> bytes:
    first, second = sorted(random.integers(0, len(content), 2))
    return content[:first] + content[second:] if random.random() < 0.5 else content[:second] + content[first:]


def pad(content: bytes, random: Random) -> bytes:
    return content + random.bytes(int(random.integers(1, 4096)))


MUTATIONS: Final[tuple[Mutation, ...]] = (partial(flip, most=4), partial(flip, most=200), flip_header, cut, splice, pad)


async def test_damaged_photographs_are_answered_or_refused_and_nothing_else(gateway: Gateway) -> None:
    print(f"AMULET_MUTATION_SEED={SEED}")
    good = seeds()
    process = psutil.Process()
    await gateway.predict(photo())
    before_bytes = process.memory_info().rss
    slowest_s, answered = 0.0, 0

    async def one(number: int) -> str | None:
        nonlocal slowest_s, answered
        random = np.random.default_rng((SEED, number))
        content = MUTATIONS[number % len(MUTATIONS)](good[int(random.integers(len(good)))], random)
        began_s = time.monotonic()
        try:
            await gateway.predict(content)
            answered += 1
        except aio.AioRpcError as error:
            found = refused(error)
            if not words.REASON_PHOTO_MISSING <= found.reason <= words.REASON_PHOTO_TOO_COSTLY:
                return f"number {number}: {found}"
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        return None

    for first in range(0, COUNT, SIDE_BY_SIDE):
        wrong = await asyncio.gather(*(one(number) for number in range(first, min(first + SIDE_BY_SIDE, COUNT))))
        assert not any(wrong), [what for what in wrong if what]

    print(f"{COUNT} files, {answered} answered, slowest {slowest_s:.2f} s")
    assert 0 < answered < COUNT
    assert process.memory_info().rss - before_bytes < GROWTH_BYTES_MAX
    assert await gateway.metric("amulet_decoder_restarts_total") <= COUNT / 1000

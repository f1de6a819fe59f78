"""Damaged photographs, thousands of them, and all that Pillow's own tests look at: answered or refused, never our
fault, never a crash, none of them slow.

    AMULET_MUTATIONS=100000 pytest tests/unit/gateway/test_mutations.py

Each run prints its seed (tests/chance.py). `make photographs` brings Pillow's photographs.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import psutil
import pytest
from grpc import aio
from PIL import Image

from gateway.intake.decoders import Decoders
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import chance
from tests.pages import ROOT
from tests.unit.gateway.cast import Gateway, encoded, photo, refused
from tests.unit.gateway.intake.test_formats import animated
from tests.unit.gateway.intake.test_pixels import grey16, quarters

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(3600)]
COUNT: Final = int(os.environ.get("AMULET_MUTATIONS", "5000"))
SIDE_BY_SIDE: Final = 8
GROWTH_BYTES_MAX: Final = 300 * 2**20  # of gateway and decoders together, at any moment
SLOW_S: Final = 2.0
TRIES: Final = 3  # of a file that was slow: it is to blame when it is slow each time, and not the machine
# Crashes, bombs, endless loops and what no decoder expected, collected by those who wrote ours.
PILLOWS: Final = ROOT / ".venv/photographs/Tests/images"

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


@dataclass
class Asked:
    """What became of the files that a gateway was asked about."""

    wrong: list[str]
    answered: int = 0
    slowest_s: float = 0.0
    grown_bytes: int = 0


async def ask(gateway: Gateway, files: Iterable[tuple[str, bytes]], *, slow_s: float = SLOW_S) -> Asked:
    """Each file once, some side by side. Wrong is a fault of ours, another refusal than of the photograph, or a
    file that takes too long however often it is asked about."""
    asked, given = Asked([]), iter(files)
    family = [psutil.Process(), *psutil.Process().children()]
    await gateway.predict(photo())
    before_bytes = _memory_bytes(family)

    async def took_s(name: str, content: bytes) -> float:
        began_s = time.monotonic()
        try:
            await gateway.predict(content)
            asked.answered += 1
        except aio.AioRpcError as error:
            found = refused(error)
            if not words.REASON_PHOTO_MISSING <= found.reason <= words.REASON_PHOTO_TOO_COSTLY:
                asked.wrong.append(f"{name}: {found}")
        return time.monotonic() - began_s

    async def callers() -> None:
        for name, content in given:
            quickest_s = await took_s(name, content)
            for _ in range(TRIES - 1):
                if quickest_s > slow_s:
                    quickest_s = min(quickest_s, await took_s(name, content))
            if quickest_s > slow_s:
                asked.wrong.append(f"{name}: took {quickest_s:.1f} s each time")
            asked.slowest_s = max(asked.slowest_s, quickest_s)
            asked.grown_bytes = max(asked.grown_bytes, _memory_bytes(family) - before_bytes)

    await asyncio.gather(*(callers() for _ in range(SIDE_BY_SIDE)))
    return asked


def _memory_bytes(family: Iterable[psutil.Process]) -> int:
    total = 0
    for process in family:
        with suppress(psutil.NoSuchProcess):  # a decoder that was replaced
            total += process.memory_info().rss
    return total


async def test_damaged_photographs_are_answered_or_refused_and_nothing_else(gateway: Gateway) -> None:
    seed = chance.seed()
    good, before = seeds(), await gateway.metric("amulet_decoder_restarts_total")

    def damaged(number: int) -> tuple[str, bytes]:
        random = np.random.default_rng((seed, number))
        content = MUTATIONS[number % len(MUTATIONS)](good[int(random.integers(len(good)))], random)
        return f"number {number}", content

    asked = await ask(gateway, map(damaged, range(COUNT)))

    print(f"{COUNT} files, {asked.answered} answered, slowest {asked.slowest_s:.2f} s")
    assert not asked.wrong, asked.wrong[:5]
    assert 0 < asked.answered < COUNT
    assert asked.grown_bytes < GROWTH_BYTES_MAX
    assert await gateway.metric("amulet_decoder_restarts_total") - before <= COUNT / 1000


async def test_what_pillow_itself_is_tested_with_is_answered_or_refused_and_nothing_else(gateway: Gateway) -> None:
    if not PILLOWS.is_dir():
        pytest.skip("the photographs of Pillow's tests are not here: bring them with `make photographs`")
    files = sorted(path for path in PILLOWS.rglob("*") if path.is_file())
    before = await gateway.metric("amulet_decoder_restarts_total")

    asked = await ask(gateway, ((path.name, path.read_bytes()) for path in files))

    print(f"{len(files)} files, {asked.answered} answered, slowest {asked.slowest_s:.2f} s")
    assert not asked.wrong, asked.wrong[:5]
    assert len(files) > 900
    assert 100 < asked.answered < len(files)
    assert asked.grown_bytes < GROWTH_BYTES_MAX
    assert await gateway.metric("amulet_decoder_restarts_total") == before


async def test_a_fault_of_ours_and_a_file_that_is_slow_would_be_noticed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = await ask(gateway, [("slow", photo())], slow_s=0.0)

    async def fault(*_: Any, **__: Any) -> None:
        raise SyntaxError("broken PNG file")  # what a parser may raise and nobody had a word for

    monkeypatch.setattr(Decoders, "open", fault)
    with pytest.raises(aio.AioRpcError):
        await ask(gateway, [])  # even a good one
    monkeypatch.undo()
    began = iter([("good", photo()), ("broken", photo("blue"))])

    def files() -> Iterable[tuple[str, bytes]]:
        yield next(began)
        monkeypatch.setattr(Decoders, "open", fault)
        yield next(began)

    faulty = await ask(gateway, files())

    assert [what.partition(":")[0] for what in slow.wrong] == ["slow"]
    assert "took" in slow.wrong[0]
    assert faulty.wrong

"""Decoder processes: a hostile job takes down one of them at most, and never the gateway."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import psutil
import pytest
import pytest_asyncio
from PIL import Image

from gateway import errors
from gateway.intake.decoders import Decoders, DecoderSettings, shared_memory
from gateway.intake.formats import Format, Header, PhotoLimits, read_header
from gateway.intake.wire import SHARED_BYTES
from tests.unit.gateway.cast import encoded, photo, until
from tests.unit.gateway.intake.test_formats import png_chunk

SIZE = (64, 64)
LIMITS = PhotoLimits()


@pytest_asyncio.fixture
async def decoders() -> AsyncIterator[Decoders]:
    async with Decoders(DecoderSettings(workers=2)) as pool:
        yield pool


async def opens(decoders: Decoders, content: bytes) -> bool:
    decoded = await decoders.open(content, read_header(content, LIMITS), size_px=SIZE)
    return decoded.pixels.shape == (64, 64, 3)


def bomb(side_px: int) -> bytes:
    """A PNG that keeps its word: that many white pixels, in a few kilobytes."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side_px, side_px, 8, 6, 0, 0, 0))
    row = b"\0" + b"\xff" * (4 * side_px)
    deflate = zlib.compressobj(1)
    data = b"".join(deflate.compress(row) for _ in range(side_px)) + deflate.flush()
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", data) + png_chunk(b"IEND")


async def test_photographs_are_opened_side_by_side(decoders: Decoders) -> None:
    assert all(await asyncio.gather(*(opens(decoders, photo(seed=seed)) for seed in range(20))))
    assert decoders.restarts == 0


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.effect_noise((300, 200), 50), "JPEG")[:3000],
        encoded(Image.effect_noise((300, 200), 50), "PNG")[:-200] + png_chunk(b"IEND"),
        encoded(Image.effect_noise((300, 200), 50), "WEBP")[:-500],
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
        + png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))
        + png_chunk(b"IDAT", b"")
        + png_chunk(b"IEND"),
    ],
    ids=["jpeg", "png", "webp", "text bomb"],
)
async def test_pixels_that_do_not_keep_the_headers_promise_are_corrupt(decoders: Decoders, content: bytes) -> None:
    with pytest.raises(errors.PhotoCorrupt):
        await opens(decoders, content)

    assert decoders.restarts == 0


async def test_the_full_picture_of_a_phone_is_taken_turned_as_it_was_held(decoders: Decoders) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    content = encoded(Image.effect_noise((1024, 768), 50).resize((8192, 6144)), "JPEG", exif=turned)

    decoded = await decoders.open(content, read_header(content, LIMITS), size_px=SIZE)

    assert decoded.source_px == (6144, 8192)
    assert decoders.restarts == 0


async def test_a_claim_that_the_pixels_do_not_keep_is_corrupt(decoders: Decoders) -> None:
    content = photo(side_px=200)

    with pytest.raises(errors.PhotoCorrupt):
        await decoders.open(content, Header(Format.PNG, 100, 100), size_px=SIZE)


async def test_a_photograph_past_the_memory_limit_is_too_costly_and_the_next_one_is_opened() -> None:
    async with Decoders(DecoderSettings(workers=1, job_cpu_s_max=30, job_s_max=60)) as decoders:
        with pytest.raises(errors.PhotoTooCostly):
            await decoders.open(bomb(9_400), Header(Format.PNG, 9_400, 9_400), size_px=SIZE)

        assert await opens(decoders, photo())


async def test_a_photograph_past_its_time_is_too_costly_and_the_next_one_is_opened() -> None:
    large = bomb(6_000)
    async with Decoders(DecoderSettings(workers=1, job_cpu_s_max=0.05)) as decoders:
        with pytest.raises(errors.PhotoTooCostly):
            await opens(decoders, large)

        await until(lambda: decoders.restarts == 1, what="the decoder is replaced")


async def test_a_decoder_that_hangs_is_killed_and_its_photograph_opened_by_another() -> None:
    async with Decoders(DecoderSettings(workers=1, job_s_max=2.0)) as decoders:
        (hanging,) = decoders.pids()
        os.kill(hanging, signal.SIGSTOP)

        assert await opens(decoders, photo())
        assert not psutil.pid_exists(hanging)


async def test_a_photograph_is_not_blamed_for_a_decoder_that_somebody_killed(decoders: Decoders) -> None:
    for pid in decoders.pids()[:1]:
        os.kill(pid, signal.SIGKILL)

    assert all(await asyncio.gather(*(opens(decoders, photo(seed=seed)) for seed in range(8))))


async def test_nor_for_two_of_them() -> None:
    async with Decoders(DecoderSettings(workers=2)) as decoders:
        for pid in decoders.pids():
            os.kill(pid, signal.SIGKILL)

        with pytest.raises(errors.BackendUnavailable):
            await opens(decoders, photo())
        assert await opens(decoders, photo())


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
async def test_a_photograph_under_which_two_crash_is_too_costly(number: signal.Signals) -> None:
    async with Decoders(DecoderSettings(workers=2)) as decoders:
        for pid in decoders.pids():
            os.kill(pid, number)

        with pytest.raises(errors.PhotoTooCostly):
            await opens(decoders, photo())


async def test_a_caller_that_leaves_costs_no_decoder(decoders: Decoders) -> None:
    before = set(decoders.pids())
    large = bomb(3_000)
    for _ in range(6):
        task = asyncio.create_task(opens(decoders, large))
        await until(lambda: decoders.busy > 0, what="the job has begun")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert await opens(decoders, photo())
    await until(lambda: decoders.busy == 0, what="abandoned jobs are finished")
    assert set(decoders.pids()) == before


@pytest.mark.parametrize("side_px", [64, 1300], ids=["shared", "beyond what is shared"])
async def test_pixels_come_through_as_they_are_whichever_way_they_travel(decoders: Decoders, side_px: int) -> None:
    pixels = np.random.default_rng(side_px).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    content = pixels.tobytes()
    assert (len(content) > SHARED_BYTES) == (side_px == 1300)

    decoded = await decoders.open(content, Header(Format.RGB, side_px, side_px), size_px=(side_px, side_px))

    np.testing.assert_array_equal(decoded.pixels, pixels)


def test_nobody_can_cut_short_the_memory_that_a_decoder_and_the_gateway_share() -> None:
    shared = shared_memory()
    try:
        for size in (0, 2 * SHARED_BYTES):
            with pytest.raises(PermissionError):
                os.ftruncate(shared, size)
    finally:
        os.close(shared)


async def test_decoders_are_small_confined_and_end_with_their_gateway() -> None:
    async with Decoders(DecoderSettings(workers=2)) as decoders:
        for seed in range(4):
            await opens(decoders, photo(side_px=800, seed=seed))
        processes = [psutil.Process(pid) for pid in decoders.pids()]
        assert all(process.memory_info().rss < 80 * 2**20 for process in processes)
        for process in processes:
            limits = {name: process.rlimit(getattr(psutil, f"RLIMIT_{name}")) for name in ("AS", "FSIZE", "CORE")}
            assert limits["AS"][1] <= 1280 * 2**20
            assert limits["FSIZE"] == limits["CORE"] == (0, 0)
            assert not [name for name in process.environ() if name.startswith("AMULET_")]

    assert not any(process.is_running() for process in processes)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("exit 3", "ended with status 3 before it was ready"),
        ("kill -KILL $$", "ended by signal 9 before it was ready"),
        ("printf x; exec sleep 3600", "said something else than that it is ready"),
    ],
)
async def test_how_a_decoder_ended_that_does_not_come_up_is_said(
    program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that cannot start says so in one sentence: it prints what is an OSError."""
    (tmp_path / "python").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "python").chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(OSError, match=f"^a process that opens photographs {said}$"):
        async with Decoders(DecoderSettings(workers=1)):
            raise AssertionError("it came up")


HOOKED: Final = """
import asyncio, os, sys
import uvloop
from gateway.intake.decoders import Decoders, DecoderSettings
ran = []
os.register_at_fork(before=lambda: ran.append("before"), after_in_child=lambda: os._exit(3))

async def start():
    async with Decoders(DecoderSettings(workers=2)) as decoders:
        print(len(decoders.pids()), ran)

asyncio.Runner(loop_factory=uvloop.new_event_loop).run(start())
"""


def test_what_libraries_do_around_a_fork_is_done_around_no_decoder() -> None:
    """A tracing library starts threads in a child of a fork, of which one crashed now and then before it was ready."""
    started = subprocess.run([sys.executable, "-c", HOOKED], capture_output=True, text=True, check=False)
    assert (started.stdout, started.stderr) == ("2 []\n", "")


async def test_an_overlay_shows_the_heat_where_it_is(decoders: Decoders) -> None:
    grey = np.full((64, 64, 3), 120, dtype=np.uint8)
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[0, 3] = 2.0

    png = await decoders.overlay(grey, heat)

    with Image.open(BytesIO(png)) as image:
        drawn = np.asarray(image.convert("RGB")).astype(int)
    assert drawn.shape == grey.shape
    assert (drawn[40:, :24] == 120).all()  # cold: as photographed
    assert np.abs(drawn[4, 60] - 120).max() > 60  # hot


async def test_a_png_holds_the_pixels_and_nothing_else(decoders: Decoders) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)

    png = await decoders.png(pixels)

    with Image.open(BytesIO(png)) as image:
        assert np.array_equal(np.asarray(image), pixels)
        assert image.info == {}

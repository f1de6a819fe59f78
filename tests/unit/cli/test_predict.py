"""`amulet predict` as people type it, whose output goes nowhere: a process of its own, a real gateway's port."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from protos.wording import DISCLAIMER
from tests.unit.gateway.cast import SOMCHAI, Gateway, client, photo, policy, running_gateway


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path / "gateway", policy=policy(clients=[client(SOMCHAI)])) as running:
        yield running


@pytest.mark.parametrize(
    ("output", "status", "sentence"),
    [
        ("a pipe that nobody reads", 0, ""),  # as `| head -1` leaves it
        ("/dev/full", 1, "amulet: what is printed cannot be written: No space left on device\n"),
    ],
)
async def test_an_answer_that_cannot_be_printed_is_no_file_without_a_name(
    gateway: Gateway, tmp_path: Path, output: str, status: int, sentence: str
) -> None:
    (tmp_path / "red.png").write_bytes(photo("red"))
    if output == "/dev/full":
        writer = os.open(output, os.O_WRONLY)
    else:
        reader, writer = os.pipe()
        os.close(reader)
    variables = {
        "AMULET_GATEWAY": f"127.0.0.1:{gateway.listening.grpc_port}",
        "AMULET_API_KEY": SOMCHAI.text,
        "AMULET_INSECURE": "1",
    }
    command = (sys.executable, "-m", "cli.main", "predict", tmp_path / "red.png", "--json")
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | variables, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    _, told = await asyncio.wait_for(process.communicate(), 60)

    assert (process.returncode, told.decode()) == (status, sentence)


@pytest.mark.parametrize(
    ("language", "heat_map", "summary", "recognised"),
    [("en", "Heat map", "Summary", "Recognised: Red"), ("th", "แผนที่ความร้อน", "สรุป", "ระบุได้: แดง")],
)
async def test_where_heat_maps_lie_is_told_and_several_are_summed_up_a_line_each(
    gateway: Gateway, tmp_path: Path, language: str, heat_map: str, summary: str, recognised: str
) -> None:
    for name in ("red", "again"):
        (tmp_path / f"{name}.png").write_bytes(photo("red"))

    status, one = await explained(gateway, tmp_path, "red.png", "--language", language)
    assert status == 0
    assert one.rstrip().splitlines()[-2:] == [f"  {heat_map}: maps/red.png", f"  {DISCLAIMER[language]}"]
    assert summary not in one

    status, two = await explained(gateway, tmp_path, "red.png", "again.png", "--language", language)
    assert status == 0
    heading, red, again, disclaimer = two.rstrip().splitlines()[-4:]
    assert heading == summary
    assert red.startswith(f"  red.png: {recognised} ")
    assert red.endswith("% → maps/red.png")
    assert again.endswith("% → maps/again.png")
    assert disclaimer == f"  {DISCLAIMER[language]}"
    assert (tmp_path / "maps/again.png").read_bytes().startswith(b"\x89PNG")


async def explained(gateway: Gateway, folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and standard output of `amulet predict … --explain maps` in this folder."""
    variables = {
        "AMULET_GATEWAY": f"127.0.0.1:{gateway.listening.grpc_port}",
        "AMULET_API_KEY": SOMCHAI.text,
        "AMULET_INSECURE": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "predict", *arguments, "--explain", "maps"),
        env=os.environ | variables,
        cwd=folder,
        stdout=subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode()

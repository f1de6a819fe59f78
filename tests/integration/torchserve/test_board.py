"""Pixels through a board that a real TorchServe's worker reads."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from cli.layout import SHARED_MEMORY
from gateway.serving.board import Board, Placed
from gateway.serving.tokens import Tokens
from gateway.serving.torchserve import Extras, GraphImage, TorchServe
from handlers.amulet_handler import pixels_of
from tests import tiny_archive
from tests.integration.torchserve.conftest import ARCHIVE
from tests.integration.torchserve.server import RunningTorchServe, until
from tests.tiny_archive import CLASSES, NAME, SIDE_PX, VERSION

pytestmark = pytest.mark.torchserve


def image_of(colour: str, *, seed: int = 0) -> GraphImage:
    return GraphImage(pixels=pixels_of(tiny_archive.photo_of(colour, seed=seed), SIDE_PX, SIDE_PX))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In memory, where this machine has such a folder."""
    own = tmp_path_factory.mktemp("boards")
    return SHARED_MEMORY / f"amulet-{own.parent.name}-{own.name}" if SHARED_MEMORY.is_dir() else own / "pixels"


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory, model_store: Path, folder: Path) -> Iterator[RunningTorchServe]:
    """A TorchServe whose workers are told of the folder."""
    state = tmp_path_factory.mktemp("sharing") / "state"
    with RunningTorchServe.start(state, model_store, pixels=folder) as running:
        running.register(ARCHIVE)
        yield running


@pytest.fixture
def board(folder: Path) -> Iterator[Board]:
    with Board(folder) as board:
        yield board


@pytest_asyncio.fixture
async def torchserve(sharing: RunningTorchServe, board: Board) -> AsyncIterator[TorchServe]:
    tokens = Tokens(sharing.key_file, sharing.management_url)
    async with TorchServe(sharing.inference_target, tokens, board) as connected:
        yield connected
    await tokens.close()


class Counted(Board):
    """A board that counts what was placed on it."""

    placed = 0

    def place(self, images: Iterable[NDArray[np.uint8]]) -> tuple[Placed, ...]:
        given = super().place(images)
        self.placed += len(given)
        return given


async def test_what_is_placed_is_answered_as_what_is_sent(sharing: RunningTorchServe, folder: Path) -> None:
    images = [image_of(colour, seed=7) for colour in CLASSES]
    extras = Extras(heat_map=True, embedding=True)
    tokens = Tokens(sharing.key_file, sharing.management_url)
    with Counted(folder) as board:
        async with TorchServe(sharing.inference_target, tokens, board) as torchserve:
            sent = await torchserve.predict(NAME, VERSION, images, extras=extras, deadline_s=10)
            assert board.placed == 0
            placed = await torchserve.predict(NAME, VERSION, images, extras=extras, deadline_s=10)
            assert board.placed == len(images)
    await tokens.close()

    for one, other in zip(sent.outputs, placed.outputs, strict=True):
        assert one.probabilities == other.probabilities
        assert one.heat_map is not None
        assert other.heat_map is not None
        assert np.array_equal(one.heat_map, other.heat_map)


async def test_callers_who_come_together_each_get_their_own_answer(torchserve: TorchServe) -> None:
    await torchserve.predict(NAME, VERSION, [image_of("red")], deadline_s=10)
    colours = list(itertools.islice(itertools.cycle(CLASSES), 48))  # twice as many as there are places

    results = await asyncio.gather(
        *(
            torchserve.predict(NAME, VERSION, [image_of(colour, seed=seed)], deadline_s=20)
            for seed, colour in enumerate(colours)
        )
    )

    assert [CLASSES[int(np.argmax(result.outputs[0].probabilities))] for result in results] == colours


async def test_a_new_worker_finds_the_board_again(sharing: RunningTorchServe, torchserve: TorchServe) -> None:
    await torchserve.predict(NAME, VERSION, [image_of("red")], deadline_s=10)
    old = sharing.worker()
    old.kill()

    def another_is_ready() -> bool:
        [told] = sharing.describe(NAME)["workers"]
        return told["status"] == "READY" and told["pid"] not in (0, old.pid)

    until(another_is_ready, s_max=60, what="another worker is ready")

    result = await torchserve.predict(NAME, VERSION, [image_of("blue")], deadline_s=20)

    assert CLASSES[int(np.argmax(result.outputs[0].probabilities))] == "blue"


async def test_a_worker_that_was_told_of_no_folder_is_sent_pixels(
    server: RunningTorchServe, tokens: Tokens, folder: Path
) -> None:
    with Counted(folder) as board:
        async with TorchServe(server.inference_target, tokens, board) as torchserve:
            for colour in CLASSES:
                result = await torchserve.predict(NAME, VERSION, [image_of(colour)], deadline_s=10)
                assert CLASSES[int(np.argmax(result.outputs[0].probabilities))] == colour
        assert board.placed == 0

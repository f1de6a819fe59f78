"""A real TorchServe with the tiny model in it, shared by all tests of a folder that leave it as they found it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.serving.tokens import Tokens
from gateway.serving.torchserve import TorchServe
from tests import tiny_archive
from tests.integration.torchserve.server import RunningTorchServe

ARCHIVE = "tiny.mar"


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store that holds the tiny archive, unsigned, as `tiny.mar`."""
    store = tmp_path_factory.mktemp("models")
    tiny_archive.write_archive(tmp_path_factory.mktemp("run"), store / ARCHIVE)
    return store


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[RunningTorchServe]:
    """A running TorchServe that serves the tiny model with one worker, as whoever asked for it before found it.

    A worker that a test kills or suspends is there again at its end. What else a module does to a server, it does to
    one of its own.
    """
    with RunningTorchServe.start(tmp_path_factory.mktemp("torchserve") / "state", model_store) as running:
        running.register(ARCHIVE)
        yield running


@pytest_asyncio.fixture
async def tokens(server: RunningTorchServe) -> AsyncIterator[Tokens]:
    tokens = Tokens(server.key_file, server.management_url)
    yield tokens
    await tokens.close()


@pytest_asyncio.fixture
async def torchserve(server: RunningTorchServe, tokens: Tokens) -> AsyncIterator[TorchServe]:
    """The gateway's adapter, connected to the module's server."""
    async with TorchServe(server.inference_target, tokens) as connected:
        yield connected

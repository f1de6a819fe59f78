from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from gateway.serving.tokens import Tokens
from gateway.serving.torchserve import TorchServe
from tests.unit.gateway.serving.backend import FakeTorchServe, fake_torchserve


@pytest_asyncio.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeTorchServe]:
    async with fake_torchserve(tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def tokens(fake: FakeTorchServe) -> AsyncIterator[Tokens]:
    tokens = Tokens(fake.key_file, fake.management_url)
    yield tokens
    await tokens.close()


@pytest_asyncio.fixture
async def torchserve(fake: FakeTorchServe, tokens: Tokens) -> AsyncIterator[TorchServe]:
    async with TorchServe(fake.target, tokens) as connected:
        yield connected

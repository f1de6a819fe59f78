"""A gateway that runs, and a detector of calls that block its event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.unit.gateway.cast import Gateway, policy, running_gateway


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A real gateway that Somchai may call; the graph of the tiny model answers."""
    async with running_gateway(tmp_path, policy=policy()) as running:
        yield running

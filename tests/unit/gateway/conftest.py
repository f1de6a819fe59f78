"""A gateway that runs, watched for calls that block its event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.unit.gateway.blocking import watched_for_blocking_calls
from tests.unit.gateway.cast import Gateway, policy, running_gateway


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A real gateway that Somchai may call; the graph of the tiny model answers.

    Fails the test when the gateway's code blocks the loop while it serves.
    """
    async with running_gateway(tmp_path, policy=policy()) as running:
        with watched_for_blocking_calls() as blocking:
            yield running
        assert not blocking.found, blocking.found[0]

"""Gateways that run, watched for calls that block their event loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import pytest_asyncio
import structlog
import uvloop

from tests.unit.gateway.blocking import watched_for_blocking_calls
from tests.unit.gateway.cast import Gateway, client, policy, running_gateway


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves: where it parts from asyncio's own, as at a pipe that nobody reads, no other shows it."""
    return {"uvloop": uvloop.Loop}


@pytest.fixture(autouse=True, scope="session")
def _logs_go_through_the_standard_library() -> Iterator[None]:
    """Where pytest collects them. structlog's own default would print local variables with each trace.

    Not as JSON: a handler that a test of another room left may write its lines as JSON, and one in
    the other is what no process of ours writes.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True, scope="module")
def _what_other_rooms_left_is_no_garbage() -> Iterator[None]:
    """As the gateway does after its start. Tests that look for what is left have all garbage collected, which takes
    0.55 s of the processor a time where the tests of all rooms were imported, and 0.12 s where those of this one were.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One gateway for all tests of a module that marks itself `asyncio(loop_scope="module")`."""
    often = policy(clients=[client(calls_per_minute=100_000)])
    async with running_gateway(tmp_path_factory.mktemp("gateway"), policy=often) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(shared_gateway: Gateway) -> AsyncIterator[Gateway]:
    """The module's gateway, its graph as new. Somchai may call it as often as he likes.

    Fails the test when the gateway's code blocks the loop while it serves.
    """
    shared_gateway.graph.renew()
    with watched_for_blocking_calls() as blocking:
        yield shared_gateway
    assert not blocking.found, blocking.found[0]

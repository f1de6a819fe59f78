"""The operators' port at any address that a machine has."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from urllib.request import urlopen

import pytest

from gateway.ops import OpsServer, Page
from protos.addresses import host_and_port


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "listen",
    [
        "127.0.0.1:0",
        pytest.param("[::1]:0", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
        pytest.param("[::]:0", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
    ],
)
async def test_it_answers_where_it_was_told_to_listen(listen: str) -> None:
    server = OpsServer(
        *host_and_port(listen), {"/healthz": lambda: Page(HTTPStatus.OK, "application/json", b'{"alive": true}')}
    )
    server.start()
    host = listen.rpartition(":")[0].replace("[::]", "[::1]")
    try:
        answer = await asyncio.to_thread(lambda: urlopen(f"http://{host}:{server.port}/healthz", timeout=30).read())
    finally:
        await asyncio.to_thread(server.stop)

    assert answer == b'{"alive": true}'

"""A download from the console's real web process ends within five seconds of the token that it was asked for with."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from typing import Final
from urllib.parse import urlsplit

import psutil
import pytest

from tests.integration.console.running import RunningConsole, postgresql, until
from tests.machine import Stopwatch
from tests.ports import free_offset

ENDS_WITHIN_S: Final = 5.0
ENTRIES: Final = 30_000  # some 17 MB of export: more than the kernel holds for a reader who does not read
_WRITE: Final = f"""
from django.db import transaction
from console.audit.services import NewEntry, append
for _ in range({ENTRIES} // 2000):
    with transaction.atomic():
        append([NewEntry("test.written", "test", str(number)) for number in range(2000)], actor="writer")
answer = None
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def console(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A web process, and the one that writes the log's public key."""
    database = postgresql() if request.param == "postgresql" else nullcontext({})
    state = tmp_path_factory.mktemp("long") / "state"
    programs = ("console", "keeper")
    with database as variables, RunningConsole.start(state, variables, offset=free_offset(), programs=programs) as web:
        web.shell(_WRITE)
        until(lambda: (web.layout.checkpoints / "audit_public.pem").exists(), within_s=60)
        yield web


def begun(console: RunningConsole, token: str) -> socket.socket:
    """A reader of the export who has read its beginning, and no more."""
    where = urlsplit(console.layout.console_url)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    reader.settimeout(60)
    reader.connect((where.hostname, where.port))
    asked = f"GET /api/v1/audit/export/ HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Token {token}\r\n\r\n"
    reader.sendall(asked.encode())
    assert reader.recv(64 * 1024).startswith(b"HTTP/1.1 200 ")
    return reader


def rest(reader: socket.socket, clock: Stopwatch) -> tuple[bytes, float]:
    """How what is left ends, and how long it took until then."""
    end = b""
    while (piece := reader.recv(1024 * 1024)) and not end.endswith(b"0\r\n\r\n"):
        end = (end + piece)[-2000:]
    return end, clock.took_s()


@pytest.mark.parametrize("revoked", [True, False])
def test_an_export_ends_within_five_seconds_of_its_token(console: RunningConsole, revoked: bool) -> None:
    issued = console.call("POST", "staff/tokens/", role="auditor", json={"name": "copied", "scopes": ["audit:export"]})
    with closing(begun(console, issued["token"])) as reader:
        ended_s = time.monotonic()
        if revoked:
            console.call("POST", f"staff/tokens/{issued['key_id']}/revoke/", role="auditor", json={})
        # Meanwhile the process waits for its reader; the next look is due when it goes on.
        until(lambda: time.monotonic() - ended_s > ENDS_WITHIN_S, within_s=60)
        web = psutil.Process(console.processes["console"].pid)
        end, took_s = rest(reader, Stopwatch([psutil.Process(), web, *web.children()]))
    assert (b'"audit.exported"' in end) is not revoked  # a whole export ends with its own entry
    assert end.endswith(b"0\r\n\r\n") is not revoked  # and says that this was all
    if revoked:
        assert took_s < ENDS_WITHIN_S

"""The console's PostgreSQL is stopped, and then killed: appending goes on, and every event is in it once afterwards.

What a client waits for is that its event is durable in the gateway's journal; the database is behind the console, and
the console behind the shipper.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from gateway.journal.journal import Journal
from gateway.journal.shipper import Shipper, ShipperSettings, ShipperState
from gateway.journal.writer import JournalSettings
from tests.console_events import prediction_event
from tests.fault.processes import wait_until
from tests.integration.console.running import RunningConsole
from tests.machine import Stopwatch
from tests.ports import free_offset, free_ports

pytestmark = pytest.mark.fault

WAIT_S = 180.0
APPEND_S_MAX = 1.0  # far above what a loaded machine needs, far below any timeout of delivery
ANSWER_S_MAX = 2.0


def _program(name: str) -> str | None:
    """Of the newest PostgreSQL here: Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(found[-1]) if found else shutil.which(name)


class OwnPostgresql:
    """A server of the test's own, whose every process can be stopped and killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # It refuses to be anybody who may do everything.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        (self.port,) = free_ports(1)
        self.name = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=3"
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._process: psutil.Popen | None = None
        self._run(_program("initdb"), "--pgdata", "data", "--username=postgres", "--auth=trust", "--no-sync")

    def start(self) -> None:
        """Return when it answers."""
        options = ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-c", "unix_socket_directories="]
        with (self._folder / "log").open("ab") as log:
            self._process = psutil.Popen(
                [_program("postgres"), "-D", "data", *options],
                cwd=self._folder, user=self._user, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        assert wait_until(self._answers, within_s=WAIT_S), (self._folder / "log").read_text()

    def each(self, act: Callable[[psutil.Process], None]) -> None:
        """Do something to the server, and to whatever it has started."""
        assert self._process is not None
        for process in (psutil.Process(self._process.pid), *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                act(process)

    def kill(self) -> None:
        if self._process is not None:
            self.each(psutil.Process.kill)
            self._process.wait(30)
            self._process = None

    def count(self, rest: str) -> int:
        with closing(psycopg2.connect(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {rest}")
            return int(cursor.fetchone()[0])

    def _answers(self) -> bool:
        with suppress(psycopg2.OperationalError):
            psycopg2.connect(self.name).close()
            return True
        return False

    def _run(self, *command: str | None) -> None:
        done = subprocess.run(command, cwd=self._folder, user=self._user, capture_output=True, text=True, check=False)  # type: ignore[arg-type]
        assert done.returncode == 0, done.stderr


@pytest.fixture
def database() -> Iterator[OwnPostgresql]:
    if _program("initdb") is None:
        pytest.skip("PostgreSQL's programs are not here: apt-get install postgresql")
    with TemporaryDirectory() as folder:  # pytest's are for whoever runs it, and nobody else
        server = OwnPostgresql(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture
def console(database: OwnPostgresql, tmp_path: Path) -> Iterator[RunningConsole]:
    variables = {"AMULET_DATABASE_URL": database.url}
    with RunningConsole.start(tmp_path / "state", variables, offset=free_offset()) as running:
        yield running


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = await Journal.open(JournalSettings(tmp_path / "journal", free_bytes_min=0))
    yield journal
    await journal.close()


@pytest.fixture
async def shipper(journal: Journal, console: RunningConsole) -> AsyncIterator[Shipper]:
    token = (console.layout.secrets / "control_token").read_text()
    shipper = Shipper(journal, ShipperSettings(console.layout.console_url, token, answer_s_max=ANSWER_S_MAX))
    task = asyncio.create_task(shipper.run())
    yield shipper
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def append(journal: Journal, count: int) -> float:
    """So many predictions of as many calls, one after the other; the seconds that the slowest waited, less what others
    on this machine can have cost (decision 0095)."""
    slowest_s, clock = 0.0, Stopwatch([psutil.Process()])
    for _ in range(count):
        began_s = time.monotonic()
        await journal.append(prediction_event().SerializeToString())
        slowest_s = max(slowest_s, time.monotonic() - began_s)
    return slowest_s - clock.lost_s()


async def until(shipper: Shipper, holds: Callable[[ShipperState], bool]) -> ShipperState:
    async with asyncio.timeout(WAIT_S):
        while True:
            if holds(state := shipper.state()):
                return state
            await asyncio.sleep(0.02)


def delivered(state: ShipperState) -> bool:
    return state.backlog_records == 0


async def test_a_database_that_is_stopped_and_one_that_is_killed_hold_nobody_up_and_lose_nothing(
    journal: Journal, shipper: Shipper, database: OwnPostgresql
) -> None:
    await append(journal, 40)
    await until(shipper, delivered)

    await asyncio.to_thread(database.each, psutil.Process.suspend)
    assert await append(journal, 80) < APPEND_S_MAX
    failures = shipper.state().failures
    state = await until(shipper, lambda state: state.failures >= failures + 2)
    assert state.backlog_records == 80  # the negative control: it was needed, and took no part
    await asyncio.to_thread(database.each, psutil.Process.resume)
    await until(shipper, delivered)

    await asyncio.to_thread(database.kill)
    assert await append(journal, 80) < APPEND_S_MAX
    failures = shipper.state().failures
    state = await until(shipper, lambda state: state.failures >= failures + 2)
    assert state.backlog_records == 80
    await asyncio.to_thread(database.start)
    await until(shipper, delivered)

    assert shipper.state().rejected == 0
    for rest in ("predictions_prediction", "ingest_appliedevent", "audit_entry WHERE type = 'prediction.made'"):
        assert await asyncio.to_thread(database.count, rest) == 200

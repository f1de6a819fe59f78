"""Workers and TorchServe itself killed, frozen and restarted: what callers see, and how soon it is over."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from gateway.errors import NotNow, Overloaded
from gateway.serving.readiness import Change, Readiness
from gateway.serving.tokens import Tokens
from gateway.serving.torchserve import GraphImage, TorchServe
from gateway.snapshot import Golden
from model_store.archive import Archive
from tests import tiny_archive
from tests.integration.torchserve.conftest import ARCHIVE
from tests.integration.torchserve.server import LAUNCHER, RunningTorchServe, until
from tests.machine import Watch
from tests.tiny_archive import NAME, VERSION

pytestmark = [pytest.mark.torchserve, pytest.mark.fault]

RESPONSE_TIMEOUT_S = 3
NOT_SERVING_S_MAX = 5.0
BACK_S_MAX = 10.0
STOP_S_MAX = 10.0
GIVE_UP_S = 60.0
PHOTO = GraphImage(encoded=tiny_archive.photo_of("red"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[RunningTorchServe]:
    state = tmp_path_factory.mktemp("torchserve") / "state"
    with RunningTorchServe.start(state, model_store, response_timeout_s=RESPONSE_TIMEOUT_S) as running:
        running.register(ARCHIVE)
        yield running


@dataclass(frozen=True)
class Probed:
    backend_name: str
    version: str
    goldens: tuple[Golden, ...]


def probed(model_store: Path) -> Probed:
    """The tiny version with the golden photographs of its archive."""
    archive = Archive.open(model_store / ARCHIVE)
    photos = archive.golden()
    goldens = tuple(
        Golden(golden.file, photos[golden.file], golden.probabilities, golden.scores)
        for golden in archive.card().golden
    )
    return Probed(NAME, VERSION, goldens)


@dataclass
class Watching:
    torchserve: TorchServe
    readiness: Readiness
    changes: list[Change]

    async def until(self, ready: bool) -> float:
        return await eventually(lambda: self.readiness.is_ready(NAME, VERSION) is ready, s_max=GIVE_UP_S)

    async def until_not_serving(self) -> None:
        """Within NOT_SERVING_S_MAX, less what other work on this machine can have cost of it."""
        with within(NOT_SERVING_S_MAX, through=[psutil.Process()]):
            await self.until(False)


@contextmanager
def within(s_max: float, *, through: Iterable[psutil.Process] = ()) -> Iterator[None]:
    """What happens inside takes so many seconds at most, less what other work on this machine can have cost of it."""
    watch, begin_s = Watch([psutil.Process()], through=through), time.monotonic()
    with watch.noting():
        yield
    took_s = time.monotonic() - begin_s
    held_up_s = watch.held_up_s()
    assert took_s - held_up_s <= s_max, f"took {took_s:.1f} s, of which other work can have cost {held_up_s:.1f} s"


def soon() -> AbstractContextManager[None]:
    return within(BACK_S_MAX)


async def eventually(condition: Callable[[], bool], *, s_max: float) -> float:
    begin_s = time.monotonic()
    async with asyncio.timeout(s_max):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)
    return time.monotonic() - begin_s


@pytest_asyncio.fixture
async def watching(server: RunningTorchServe, model_store: Path) -> AsyncIterator[Watching]:
    """The gateway's serving room, running: tokens renewed, the tiny version ready."""
    tokens = Tokens(server.key_file, server.management_url)
    changes: list[Change] = []
    async with TorchServe(server.inference_target, tokens) as torchserve, asyncio.TaskGroup() as group:
        readiness = Readiness(torchserve, on_change=changes.append)
        running = [group.create_task(tokens.run()), group.create_task(readiness.run())]
        readiness.watch([probed(model_store)])
        watching = Watching(torchserve, readiness, changes)
        await watching.until(True)
        yield watching
        for task in running:
            task.cancel()
    await tokens.close()


async def ask(torchserve: TorchServe, *, deadline_s: float = 2.0) -> None:
    await torchserve.predict(NAME, VERSION, [PHOTO], deadline_s=deadline_s)


async def answers(torchserve: TorchServe) -> bool:
    try:
        await ask(torchserve)
    except (NotNow, Overloaded):
        return False
    return True


async def until_answering(torchserve: TorchServe, *, s_max: float) -> float:
    begin_s = time.monotonic()
    async with asyncio.timeout(s_max):
        while not await answers(torchserve):  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.05)
    return time.monotonic() - begin_s


async def test_a_killed_worker_is_told_as_not_now_and_is_back_soon(
    server: RunningTorchServe, watching: Watching
) -> None:
    for _ in range(2):
        worker = server.worker()
        calls = [asyncio.create_task(ask(watching.torchserve)) for _ in range(24)]
        await asyncio.sleep(0)
        with soon():
            worker.kill()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            await until_answering(watching.torchserve, s_max=GIVE_UP_S)
            await watching.until(True)

        assert all(outcome is None or isinstance(outcome, NotNow) for outcome in outcomes)
        assert server.worker().pid != worker.pid


async def test_a_wrong_file_keeps_the_worker_from_coming_up_and_is_not_ready(
    server: RunningTorchServe, watching: Watching
) -> None:
    [graph] = (server.state / "tmp" / "models").glob("*/model.onnx")
    right = graph.read_bytes()
    graph.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    server.worker().kill()

    await watching.until_not_serving()
    await eventually(lambda: "has the SHA-256" in server.log(), s_max=GIVE_UP_S)
    assert not await answers(watching.torchserve)

    with soon():
        graph.write_bytes(right)
        await watching.until(True)


async def test_a_frozen_worker_is_found_within_two_response_timeouts(
    server: RunningTorchServe, watching: Watching
) -> None:
    worker = server.worker()
    worker.suspend()

    with within(2 * RESPONSE_TIMEOUT_S + 1, through=[psutil.Process(), psutil.Process(server.process.pid)]):
        await watching.until_not_serving()
        await eventually(lambda: not psutil.pid_exists(worker.pid) and len(server.workers()) == 1, s_max=GIVE_UP_S)
    with soon():
        await watching.until(True)

    assert [change.ready for change in watching.changes][-2:] == [False, True]


async def test_an_unregistered_version_is_not_ready_until_it_is_back(
    server: RunningTorchServe, watching: Watching
) -> None:
    server.unregister(NAME, VERSION)

    await watching.until_not_serving()
    assert "not loaded" in watching.readiness.why_not(NAME, VERSION)

    with soon():
        server.register(ARCHIVE)
        await watching.until(True)


async def test_wrong_answers_are_not_ready(server: RunningTorchServe, watching: Watching, model_store: Path) -> None:
    """The right worker with another file's expectations is the same as another file."""
    right = probed(model_store)
    wrong_score = replace(right.goldens[1], scores={**right.goldens[1].scores, "mahalanobis": 7.0})
    begin = len(watching.changes)
    watching.readiness.watch([replace(right, goldens=(right.goldens[0], wrong_score))])

    assert not watching.readiness.is_ready(NAME, VERSION)
    with within(NOT_SERVING_S_MAX, through=[psutil.Process(), psutil.Process(server.process.pid)]):
        await eventually(lambda: "wrong answer" in watching.readiness.why_not(NAME, VERSION), s_max=GIVE_UP_S)
    assert not watching.readiness.is_ready(NAME, VERSION)
    assert not any(change.ready for change in watching.changes[begin:])

    with soon():
        watching.readiness.watch([right])
        await watching.until(True)


async def test_busy_is_not_broken(server: RunningTorchServe, watching: Watching) -> None:
    """Sixty-four callers in a closed loop keep the queue full; the version stays ready throughout."""
    begin, ends_s = len(watching.changes), time.monotonic() + 6.0

    async def caller() -> None:
        while time.monotonic() < ends_s:
            await ask(watching.torchserve, deadline_s=10.0)

    await asyncio.gather(*(caller() for _ in range(64)))

    assert watching.readiness.is_ready(NAME, VERSION)
    assert watching.changes[begin:] == []


async def test_a_killed_torchserve_leaves_no_worker_and_its_successor_is_found(
    server: RunningTorchServe, watching: Watching
) -> None:
    worker, old_token = server.worker(), server.token("inference")

    server.kill()
    assert not await answers(watching.torchserve)
    await watching.until_not_serving()
    until(lambda: not psutil.pid_exists(worker.pid), s_max=GIVE_UP_S, what="the worker ends with its TorchServe")

    with soon():
        await asyncio.to_thread(server.begin)
        await asyncio.to_thread(server.register, ARCHIVE)
        await watching.until(True)
        await ask(watching.torchserve)
    assert server.token("inference") != old_token


async def test_a_stopped_worker_of_a_killed_torchserve_is_ended_by_the_next_start(
    server: RunningTorchServe, watching: Watching
) -> None:
    worker = server.worker()
    worker.suspend()
    server.kill()
    assert psutil.pid_exists(worker.pid)

    await asyncio.to_thread(server.begin)

    until(lambda: not psutil.pid_exists(worker.pid), s_max=GIVE_UP_S, what="the launcher ends what was left")
    with soon():
        await asyncio.to_thread(server.register, ARCHIVE)
        await watching.until(True)


def test_a_second_start_in_the_same_folder_is_refused(server: RunningTorchServe) -> None:
    twin = subprocess.run(
        [sys.executable, str(LAUNCHER), f"--state={server.state}", f"--model-store={server.model_store}"],
        capture_output=True,
        text=True,
        timeout=GIVE_UP_S,
        check=False,
    )

    assert twin.returncode == 1
    assert "runs in" in twin.stderr
    assert "Traceback" not in twin.stderr
    assert server.describe(NAME)["workers"][0]["status"] == "READY"


def test_an_orderly_stop_is_quick_and_leaves_nothing(server: RunningTorchServe) -> None:
    worker = server.worker()

    with within(STOP_S_MAX, through=[psutil.Process(server.process.pid)]):
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(GIVE_UP_S)
    until(lambda: not psutil.pid_exists(worker.pid), s_max=GIVE_UP_S, what="the worker ends")

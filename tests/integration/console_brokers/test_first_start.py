"""A RabbitMQ that refuses a worker its queue: for a moment, since another process makes it just then, or for good."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
import pytest

from tests.integration.console.running import RunningConsole, rabbitmq, until
from tests.integration.console_brokers.queues import broker_url
from tests.ports import free_offset

pytestmark = pytest.mark.servers
QUEUE = "celery"
# A worker as it is started, but for how long it asks again.
ASKING = """
import runpy
from console import celery_app
celery_app._DECLARED_S_MAX = {asks_s}
runpy.run_module("console.worker", run_name="__main__")
"""
IMPATIENT = ASKING.format(asks_s=5.0)
PATIENT = ASKING.format(asks_s=3600.0)
WAKE = "from console.celery_app import wake\nanswer = wake('console.registry.tasks.find_work')"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[RunningConsole]:
    """A console of which nothing runs, over a virtual host in which nothing was ever declared."""
    with (
        rabbitmq() as variables,
        RunningConsole.start(tmp_path / "state", variables, offset=free_offset(), programs=()) as made,
    ):
        yield made


@contextmanager
def declared(console: RunningConsole, **otherwise: bool) -> Iterator[None]:
    """The queue of tasks is another's, who made it otherwise than a worker does; gone at the end."""
    untyped: Any = kombu
    with untyped.Connection(broker_url(console)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, **otherwise)
        yield
        channel.queue_delete(QUEUE)


def begin(console: RunningConsole, code: str) -> None:
    console.begin("worker", (sys.executable, "-c", code, "--schedule", str(console.layout.console / "beat")))


def told(console: RunningConsole, what: str) -> bool:
    return what in console.log("worker")


def test_a_worker_whose_queue_is_refused_for_a_moment_asks_again_and_begins(console: RunningConsole) -> None:
    with declared(console, exclusive=True):
        begin(console, PATIENT)
        until(lambda: told(console, "which is asked for again"), within_s=180, what=lambda: console.log("worker"))
        assert "RESOURCE_LOCKED" in console.log("worker")
        assert console.shell(WAKE) is None  # whoever has work for it is not held up
    until(lambda: told(console, " ready."), within_s=180, what=lambda: console.log("worker"))
    assert console.processes["worker"].poll() is None
    assert not told(console, "Traceback")


def test_what_is_refused_for_good_ends_the_start_in_one_sentence(console: RunningConsole) -> None:
    with declared(console, durable=False):
        begin(console, IMPATIENT)
        assert console.shell(WAKE) is None
        assert console.processes["worker"].wait(180) == 2
    said = console.log("worker")
    assert "Traceback" not in said
    assert "which is asked for again" in said
    sentence = said.splitlines()[-1]
    assert sentence.startswith("AMULET_BROKER_URL names amqp://guest:**@127.0.0.1:5672/amulet-test-")
    assert "which refuses the queues of tasks: " in sentence
    assert "PRECONDITION_FAILED" in sentence


def test_workers_that_start_at_once_all_begin(console: RunningConsole) -> None:
    names = ("worker", "second")
    for name in names:
        schedule = str(console.layout.console / f"beat-{name}")
        console.begin(name, (sys.executable, "-m", "console.worker", "--schedule", schedule))
    for name in names:
        until(lambda name=name: " ready." in console.log(name), within_s=180, what=lambda name=name: console.log(name))
        assert "Traceback" not in console.log(name)

"""What goes through a broker: delivered twice it counts once, and it names nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from tests.integration.console.running import RunningConsole, until
from tests.integration.console_brokers.queues import deliver_again, everything, messages
from tests.integration.console_brokers.work import (
    TRAINER,
    ask_erasure,
    ask_training,
    entries,
    erased,
    job,
    label,
    plant,
)

pytestmark = pytest.mark.servers
ERASE = "console.privacy.tasks.carry_out"
ONCE = {"erasure.key_destroyed": 1, "erasure.done": 1}


@contextmanager
def worker(console: RunningConsole) -> Iterator[None]:
    console.begin("worker")
    try:
        yield
    finally:
        if "worker" in console.processes:
            console.end("worker")


@contextmanager
def held(console: RunningConsole, number: int) -> Iterator[None]:
    """Nobody can take that erasure any further, and whoever tries waits: its row is locked."""
    with closing(psycopg2.connect(console.environment["AMULET_DATABASE_URL"])) as database, database.cursor() as row:
        row.execute("SELECT 1 FROM privacy_erasure WHERE request_id = %s FOR UPDATE", [number])
        yield
        database.rollback()


def somebody_waits(console: RunningConsole) -> bool:
    """Whether a worker stands before a lock."""
    with closing(psycopg2.connect(console.environment["AMULET_DATABASE_URL"])) as database, database.cursor() as found:
        found.execute("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return found.fetchone() is not None


def done_once(console: RunningConsole, number: int) -> None:
    until(lambda: erased(console, number), within_s=180, what=lambda: console.log("worker")[-3000:])
    told = entries(console, "privacy_request", number)
    assert {name: told[name] for name in ONCE} == ONCE, told


@pytest.mark.parametrize("console", ["postgresql+rabbitmq"], indirect=True)
def test_rabbitmq_hands_a_killed_workers_task_to_the_next_and_it_counts_once(console: RunningConsole) -> None:
    plant(console, "killed-7701")
    number = ask_erasure(console, "killed-7701")
    with held(console, number):
        console.begin("worker")
        until(lambda: somebody_waits(console), within_s=180, what=lambda: console.log("worker")[-3000:])
        console.end("worker", kill=True)  # in the middle of it, and not acknowledged
        again = until(lambda: [each for each in messages(console) if each.task == ERASE], within_s=180)
        assert [each.redelivered for each in again] == [True]
    with worker(console):
        done_once(console, number)
        until(lambda: not any(each.task == ERASE for each in messages(console)), within_s=180)
    assert entries(console, "privacy_request", number)["erasure.done"] == 1


@pytest.mark.parametrize("console", ["postgresql+redis"], indirect=True)
def test_redis_hands_it_out_again_in_an_hour_the_clock_finds_it_before_and_it_counts_once(
    console: RunningConsole,
) -> None:
    plant(console, "killed-7702")
    number = ask_erasure(console, "killed-7702")
    with held(console, number):
        console.begin("worker")
        until(lambda: somebody_waits(console), within_s=180, what=lambda: console.log("worker")[-3000:])
        console.end("worker", kill=True)
        assert [each.task for each in messages(console)].count(ERASE) == 1  # Redis keeps what nobody acknowledged
    with worker(console):
        done_once(console, number)
        deliver_again(console)
        until(lambda: not any(each.task == ERASE for each in messages(console)), within_s=180)
        done_once(console, number)


@pytest.mark.parametrize("console", ["embedded"], indirect=True)
def test_the_embedded_broker_hands_out_twice_what_lies_there_twice_and_it_counts_once(console: RunningConsole) -> None:
    plant(console, "twice-7703")
    number = ask_erasure(console, "twice-7703")
    deliver_again(console)
    assert [each.task for each in messages(console)] == [ERASE, ERASE]
    with worker(console):
        until(lambda: not any(each.task == ERASE for each in messages(console)), within_s=180)
        done_once(console, number)


def test_a_job_that_is_asked_for_is_carried_out_by_whoever_reads_the_queue(console: RunningConsole) -> None:
    label(console, "learnt-from")
    number = ask_training(console)
    assert "console.retraining.tasks.train" in [each.task for each in messages(console)]
    console.begin("trainer", TRAINER)
    try:
        made = until(
            lambda: (found := job(console, number))["state"] not in ("queued", "running") and found,
            within_s=180,
            what=lambda: console.log("trainer")[-3000:],
        )
    finally:
        console.end("trainer")
    assert made["state"] == "uploaded", made
    assert made["tries"] == 1
    version = console.call("GET", f"versions/{made['version']}/", role="viewer")
    assert version["state"] == "verified", version
    assert entries(console, "training_job", number)["retraining.job_started"] == 1


def test_no_message_of_an_erasure_names_a_person(console: RunningConsole) -> None:
    words = plant(console, "named-7704")
    found: list[bytes] = []
    number = ask_erasure(console, "named-7704")
    found += everything(console)
    assert any(ERASE.encode() in each for each in found)
    with worker(console):

        def done() -> bool:
            found.extend(everything(console))
            return erased(console, number)

        until(done, within_s=180, what=lambda: console.log("worker")[-3000:])
    found += everything(console)
    assert [word for word in words if any(word.encode() in each for each in found)] == []


def test_a_message_that_did_would_be_noticed(console: RunningConsole) -> None:
    """`wake` refuses to send one: this one goes past it."""
    console.shell(
        "from console.celery_app import app\n"
        "app.send_task('tests.nobody', args=['canary-left'], argsrepr='', queue='training')\n"
        "answer = None"
    )
    assert any(b"canary-left" in each for each in everything(console))

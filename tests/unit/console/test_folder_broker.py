"""The folder that is a stack's broker: whoever takes a message while others put some finds it whole, and lives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from console import folder_broker

ROOT = Path(__file__).parents[3]
QUEUE = Queue("celery", Exchange("celery", type="direct"), routing_key="celery")
# Puts messages as quickly as it can, until nobody listens any more.
PUTS = """
import sys
from tests.unit.console.test_folder_broker import connected, put
from pathlib import Path

with connected(Path(sys.argv[1])) as connection:
    for number in range(int(sys.argv[2])):
        put(connection, number)
"""


def connected(folder: Path) -> Connection:
    folder_broker.register()
    folder_broker.Transport.global_state.clear()  # what kombu knows of a process's other folders
    for name in ("queue", "control"):
        (folder / name).mkdir(exist_ok=True)
    return Connection(
        "filesystem://",
        transport_options={
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
        },
    )


def put(connection: Connection, number: int) -> None:
    with connection.Producer() as producer:
        producer.publish({"number": number}, exchange=QUEUE.exchange, routing_key="celery", declare=[QUEUE])


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with connected(tmp_path) as connection:
        QUEUE(connection.default_channel).declare()
        yield connection


def taken(connection: Connection) -> list[Any]:
    """The numbers of the messages that are there."""
    channel, numbers = connection.default_channel, []
    while True:
        try:
            message = channel._get("celery")
        except Empty:
            return numbers
        numbers.append(channel.message_to_python(message).payload["number"])


def test_messages_are_taken_in_the_order_in_which_they_were_put(connection: Connection, tmp_path: Path) -> None:
    for number in range(5):
        put(connection, number)
    assert taken(connection) == list(range(5))
    assert list((tmp_path / "queue").iterdir()) == []


def test_none_is_taken_before_it_is_whole(connection: Connection, tmp_path: Path) -> None:
    puts = 400
    command = [sys.executable, "-c", PUTS, str(tmp_path), str(puts)]
    numbers: list[Any] = []
    with subprocess.Popen(command, cwd=ROOT) as process:
        while process.poll() is None:
            numbers += taken(connection)
    assert process.returncode == 0
    assert numbers + taken(connection) == list(range(puts))


def test_one_that_a_power_cut_emptied_is_left_out_and_the_next_one_taken(
    connection: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(connection, 1)
    (message,) = (tmp_path / "queue").iterdir()
    os.truncate(message, 0)
    put(connection, 2)
    assert taken(connection) == [2]
    assert "a message that cannot be read was left out" in caplog.text


def test_a_folder_that_takes_no_file_is_an_error_that_the_sender_expects(
    connection: Connection, tmp_path: Path
) -> None:
    put(connection, 1)
    (tmp_path / "queue").rename(tmp_path / "gone")
    with pytest.raises(connection.channel_errors, match="takes no message"):
        put(connection, 2)


def test_the_consoles_own_messages_go_this_way() -> None:
    from console.celery_app import app

    with app.connection_for_write("filesystem://") as connection:
        assert isinstance(connection.transport, folder_broker.Transport)

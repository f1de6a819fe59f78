"""A Redis and a RabbitMQ of a test's own, on ports of its own: stopped and started as the test likes.

What lies in the Redis is gone when it stops; the RabbitMQ keeps what it was given, as each does in operation.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.integration.console.running import until
from tests.ports import free_ports

START_S_MAX: Final = 180.0
_RABBITMQ: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one on the path may change its user


class OwnServer:
    """One process of a server, with its files in one folder."""

    def __init__(self, command: list[str], url: str, port: int, environment: dict[str, str], log: Path) -> None:
        self.url, self.port = url, port
        self._command, self._environment, self._log = command, environment, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it takes connections."""
        with self._log.open("ab") as log:
            # A session of its own: what it starts goes with it.
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(self._answers, within_s=START_S_MAX, what=lambda: self._log.read_text()[-2000:])

    def stop(self) -> None:
        """As its operator stops it; returns when it is gone. Harmless when it does not run."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(180)
            self._process = None

    def kill(self) -> None:
        """It forgets what it has not written. Harmless when it does not run."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(180)
            self._process = None

    def suspend(self) -> None:
        """It holds what it knows, and says nothing until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.settimeout(5)
                connection.sendall(b"PING\r\n" if self.url.startswith("redis") else b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))  # RabbitMQ listens before it has opened its queues, and says nothing
        except OSError:
            return False


def own_redis(folder: Path) -> OwnServer:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not on the path: apt-get install redis-server")
    (port,) = free_ports(1)
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "no"]
    return OwnServer([program, *options], f"redis://127.0.0.1:{port}/0", port, {}, folder / "redis.log")


def own_rabbitmq(folder: Path) -> OwnServer:
    if not _RABBITMQ.exists():
        pytest.skip(f"there is no {_RABBITMQ}: apt-get install rabbitmq-server")
    port, distribution = free_ports(2)
    settings = folder / "rabbitmq.conf"
    settings.write_text(f"listeners.tcp.local = 127.0.0.1:{port}\n")
    (folder / "plugins").write_text("[].\n")
    environment = {
        "HOME": str(folder),  # of the cookie that its nodes know each other by
        "RABBITMQ_NODENAME": f"amulet-test-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(settings),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    return OwnServer([str(_RABBITMQ)], url, port, environment, folder / "rabbitmq.out")

"""Starts, stops and asks the process of receiver.py."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.fault.receiver import TOKEN

REPOSITORY = Path(__file__).parents[2]


class ConsolePlace:
    """The place where the shipper looks for the console; empty until `start`."""

    token = TOKEN

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def applied(self) -> list[str]:
        """Event ids in the order in which they were first seen."""
        path = self._folder / "applied"
        return path.read_text().split() if path.exists() else []

    @property
    def batches(self) -> list[int]:
        """How many events each batch had."""
        return [int(line) for line in (self._folder / "batches").read_text().split()]

    @property
    def holds(self) -> bool:
        """Whether a batch has waited since it was told to hold."""
        return (self._folder / "held").exists()

    def behave(self, behaviour: str) -> None:
        aside = self._folder / "behaviour.aside"
        aside.write_text(behaviour)
        aside.rename(self._folder / "behaviour")

    def start(self) -> None:
        """Return when it listens; after a kill, on the same port."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.receiver", str(self._folder)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As `kill -9` does; also a stopped one. Returns when it is gone."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

"""Clients that predict without pause and remember what they hold an OK for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

from amulet_client import Client, Refused, Unreachable
from cli import supervision
from tests import tiny_archive
from tests.fault.processes import data_plane
from tests.machine import Stopwatch
from tests.stack import Stack

TIMEOUT_S = 5.0
PATIENCE_S = 30.0  # of callers of whom none may go without an answer, on a machine that others use as well
UNREACHABLE = "UNREACHABLE"
PAUSE_S = 0.05  # between two calls of one caller: half load, not saturation


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call of one caller, on the monotonic clock."""

    began_s: float
    ended_s: float
    prediction_id: str  # empty when there was no answer
    error: str  # empty when there was one; else a reason, or UNREACHABLE when no gateway answered in time

    @property
    def ok(self) -> bool:
        return bool(self.prediction_id)


def answering(stack: Stack) -> Stopwatch:
    """For what callers, the gateway and TorchServe have to do (decision 0095)."""
    supervisor = supervision.pid(stack.layout)
    assert supervisor is not None
    return Stopwatch([psutil.Process(), *data_plane(stack)], ours=[psutil.Process(supervisor)])


class Load:
    """Callers in threads of their own, each with its own channel, as other services would be."""

    def __init__(self, stack: Stack, *, callers: int = 4, timeout_s: float = TIMEOUT_S) -> None:
        key = stack.new_key("load")
        self._stack = stack
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._outcomes: list[Outcome] = []
        self._threads = [
            threading.Thread(target=self._call, args=(key, number), name=f"caller-{number}", daemon=True)
            for number in range(callers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let every call in flight end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def outcomes(self) -> list[Outcome]:
        with self._changed:
            return list(self._outcomes)

    def ok_ids(self) -> list[str]:
        """The predictions that a client holds an OK for."""
        return [outcome.prediction_id for outcome in self.outcomes if outcome.ok]

    def complaints(self, clock: Stopwatch) -> list[str]:
        """Calls that failed, or took longer than a caller waits for by itself and this machine can explain.

        clock: for the processes that answer, since the first call.
        """
        excused_s = TIMEOUT_S + clock.lost_s()
        found = [(outcome.error, outcome.ended_s - outcome.began_s) for outcome in self.outcomes]
        return [f"{error or 'late'} after {took_s:.1f} s" for error, took_s in found if error or took_s > excused_s]

    def wait_for(self, condition: Callable[[Outcome], bool], *, count: int = 1, within_s: float) -> bool:
        """Whether so many outcomes of this kind come in time, counted from now on."""
        deadline_s = time.monotonic() + within_s
        with self._changed:
            seen = len(self._outcomes)
            while count > 0:
                if not self._changed.wait(max(0.0, deadline_s - time.monotonic())):
                    return False
                count -= sum(map(condition, self._outcomes[seen:]))
                seen = len(self._outcomes)
        return True

    def _call(self, key: str, number: int) -> None:
        address, ca_file = self._stack.layout.gateway_address, self._stack.layout.tls / "ca.pem"
        photos = [tiny_archive.photo_of(colour, seed=number) for colour in (*tiny_archive.CLASSES, "grey")]
        with Client(address, api_key=key, ca_file=ca_file, timeout_s=self._timeout_s) as client:
            count = 0
            while not self._stop.wait(PAUSE_S):
                began_s, prediction_id, error = time.monotonic(), "", ""
                try:
                    prediction_id = client.predict([photos[count % len(photos)]]).prediction_id
                except Refused as refused:
                    error = refused.reason
                except Unreachable:
                    error = UNREACHABLE
                count += 1
                with self._changed:
                    self._outcomes.append(Outcome(began_s, time.monotonic(), prediction_id, error))
                    self._changed.notify_all()

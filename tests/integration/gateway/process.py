"""A gateway as its users start it: `python -m gateway`, with settings from the environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import psutil

from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from tests.unit.gateway.cast import SOMCHAI, ApiKey

ROOT = Path(__file__).resolve().parents[3]
START_S_MAX = 60.0


@dataclass
class GatewayProcess:
    """One process. `start` returns when it listens; leaving the context ends it."""

    environment: Mapping[str, str]
    out: Path
    program: Sequence[str] = ("-m", "gateway")
    process: subprocess.Popen[bytes] = field(init=False)
    grpc_port: int = 0
    ops_port: int = 0

    def start(self) -> Self:
        began_at = self.out.stat().st_size if self.out.exists() else 0
        with self.out.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, *self.program],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], **self.environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

        def listening() -> bool:
            assert self.process.poll() is None, self.out.read_text()[began_at:]
            for line in self.out.read_bytes()[began_at:].splitlines():
                if b'"listening"' in line:
                    said = json.loads(line)
                    self.grpc_port, self.ops_port = said["grpc_port"], said["ops_port"]
                    return True
            return False

        until(listening, s_max=START_S_MAX, what="the gateway listens")
        return self

    def lines(self) -> list[dict[str, Any]]:
        """What it logged."""
        return [json.loads(line) for line in self.out.read_text().splitlines() if line.startswith("{")]

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the operators' port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def readiness(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.page("/readyz")[1])
        return found

    def predict(
        self, *photos: bytes, key: ApiKey = SOMCHAI, deadline_s: float = 20.0, **fields: Any
    ) -> pb.PredictResponse:
        with grpc.insecure_channel(self.target) as channel:
            stub = prediction_pb2_grpc.PredictionServiceStub(channel)
            request = pb.PredictRequest(views=[pb.View(photo=photo) for photo in photos], **fields)
            return stub.Predict(request, metadata=key.metadata, timeout=deadline_s)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()


def until(condition: Callable[[], bool], *, s_max: float, what: str) -> float:
    """Wait for the condition; returns the seconds it took. Fails the test when it takes longer."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < s_max, f"not within {s_max} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began_s


@contextmanager
def memory_of(gateway: GatewayProcess) -> Iterator[Callable[[], float]]:
    """How many mebibytes gateway and decoders have grown by since, at most."""
    process, over = psutil.Process(gateway.process.pid), threading.Event()
    family = [process, *process.children()]
    before = largest = sum(each.memory_info().rss for each in family)

    def watch() -> None:
        nonlocal largest
        while not over.wait(0.002):
            largest = max(largest, sum(each.memory_info().rss for each in family))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: (largest - before) / 2**20
    finally:
        over.set()
        thread.join()

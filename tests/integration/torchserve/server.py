"""A real TorchServe for tests, started as the stack starts it.

with RunningTorchServe.start(tmp_path / "state", store) as server:
    server.register(archive.name)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import grpc
import psutil

from protos.torchserve import management_pb2, management_pb2_grpc
from tests.ports import free_offset

LAUNCHER: Final = Path(__file__).resolve().parents[3] / "deploy" / "torchserve" / "launch.py"
START_S_MAX: Final = 90.0
# These end a test that hangs: a busy machine must not reach them.
STOP_S_MAX: Final = 60.0
CALL_S_MAX: Final = 120.0  # one that starts a worker waits for it


def until(condition: Callable[[], bool], *, s_max: float, what: str) -> float:
    """Wait for the condition; returns the seconds it took. Fails the test when it takes longer than s_max."""
    begin_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begin_s < s_max, f"not within {s_max} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - begin_s


class RunningTorchServe:
    """One TorchServe with its own state folder. Kept by whoever started it; `stop` is safe to call twice."""

    program: ClassVar[tuple[str, ...]] = (str(LAUNCHER),)
    # Variables that must not get through, one of them in TorchServe's own namespace.
    outside: ClassVar[Mapping[str, str]] = {"AMULET_CANARY_SECRET": "canary", "TS_ALLOWED_URLS": ".*"}

    def __init__(self, state: Path, model_store: Path, port_offset: int, options: Mapping[str, object]) -> None:
        self.state = state
        self.model_store = model_store
        self.port_offset = port_offset
        self._options = options
        self.process: subprocess.Popen[bytes]
        self.start_s = 0.0  # from the launcher's start to the first answer of the management port

    @classmethod
    def start(cls, state: Path, model_store: Path, *, port_offset: int | None = None, **options: object) -> Self:
        """options: the launcher's, with underscores: `token_expiration_min=0.1`."""
        server = cls(state, model_store, free_offset() if port_offset is None else port_offset, options)
        server.begin()
        return server

    def begin(self) -> None:
        """Start the process and wait until it answers; also after `stop` or `kill`."""
        begin_s = time.monotonic()
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in self._options.items()]
        with (self.state.parent / f"{self.state.name}.out").open("ab") as out:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *self.program,
                    f"--state={self.state}",
                    f"--model-store={self.model_store}",
                    f"--port-offset={self.port_offset}",
                    *arguments,
                ],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.outside},
            )
        try:
            until(self._answers, s_max=START_S_MAX, what="TorchServe answers")
        except BaseException:
            self.stop()
            raise
        self.start_s = time.monotonic() - begin_s

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"TorchServe ended: {self.output()[-2000:]}"
        try:
            self.manage("ListModels", management_pb2.ListModelsRequest())
        except (grpc.RpcError, OSError, ValueError):
            return False
        return True

    @property
    def inference_target(self) -> str:
        return f"127.0.0.1:{7070 + self.port_offset}"

    @property
    def management_target(self) -> str:
        return f"127.0.0.1:{7071 + self.port_offset}"

    @property
    def management_url(self) -> str:
        return f"http://127.0.0.1:{8081 + self.port_offset}"

    @property
    def key_file(self) -> Path:
        return self.state / "key_file.json"

    def token(self, kind: str) -> str:
        """kind: management, inference or API."""
        return str(json.loads(self.key_file.read_bytes())[kind]["key"])

    def output(self) -> str:
        return (self.state.parent / f"{self.state.name}.out").read_text()

    def log(self) -> str:
        return (self.state / "logs" / "torchserve.log").read_text()

    def told(self) -> str:
        """What helps to see why no worker came up: its processes, and the end of its log."""
        lines = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (top := psutil.Process(self.process.pid), *top.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                    command = " ".join(process.cmdline())[-120:]
                    lines.append(f"{process.pid} {process.status()} {sum(process.cpu_times()[:2]):.2f} s  {command}")
        return "\n".join(["", *lines, f"load {os.getloadavg()}", self.log()[-6000:]])

    def manage(self, method: str, request: object, *, token: str | None = None) -> str:
        """Call the management API with its token, or another; returns the message. Raises grpc.RpcError."""
        bearer = self.token("management") if token is None else token
        with grpc.insecure_channel(self.management_target) as channel:
            call = getattr(management_pb2_grpc.ManagementAPIsServiceStub(channel), method)
            return str(call(request, metadata=(("authorization", f"Bearer {bearer}"),), timeout=CALL_S_MAX).msg)

    def register(self, url: str, *, workers: int = 1, batch_size: int = 8, batch_delay_ms: int = 5) -> str:
        """Register an archive of the model store by its bare name, and wait for its workers."""
        return self.manage(
            "RegisterModel",
            management_pb2.RegisterModelRequest(
                url=url,
                initial_workers=workers,
                batch_size=batch_size,
                max_batch_delay=batch_delay_ms,
                synchronous=True,
            ),
        )

    def scale(self, model: str, version: str, *, workers: int) -> str:
        return self.manage(
            "ScaleWorker",
            management_pb2.ScaleWorkerRequest(
                model_name=model, model_version=version, min_worker=workers, max_worker=workers, synchronous=True
            ),
        )

    def unregister(self, model: str, version: str) -> str:
        return self.manage(
            "UnregisterModel", management_pb2.UnregisterModelRequest(model_name=model, model_version=version)
        )

    def describe(self, model: str, version: str = "") -> dict[str, Any]:
        request = management_pb2.DescribeModelRequest(model_name=model, model_version=version)
        described: list[dict[str, Any]] = json.loads(self.manage("DescribeModel", request))
        return described[0]

    def workers(self) -> list[psutil.Process]:
        """The live worker processes of this TorchServe."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if _is_worker(child)]

    def worker(self) -> psutil.Process:
        """Its only worker."""
        [worker] = self.workers()
        return worker

    def kill(self) -> None:
        """kill -9 of the Java process."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_S_MAX)

    def stop(self) -> None:
        """TorchServe's own orderly stop."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "--sock-name" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

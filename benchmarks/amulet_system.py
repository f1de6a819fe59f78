"""Amulet with everything switched on: TLS, API key, rate limit, isolated decoding, stage-A checks,
the whole graph in TorchServe, a heat map, and an event that is durable before the answer leaves.

Only the console is a stand-in: it hands out the policy and takes the events, so that what is
measured is the data plane and not Django on the same cores.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import os
import shutil
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks.systems import HOST, ROOT, START_S_MAX, Bench, Contender, SystemFailed, free_offset, free_port
from cli.layout import Layout, Ports
from cli.provision import provision
from handlers import amulet_handler
from model_store import archive
from model_store.card import Card
from protos.amulet.events.v1 import events_pb2
from protos.amulet.graph.v1 import graph_pb2
from protos.amulet.policy.v1 import policy_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.torchserve import management_pb2, management_pb2_grpc

_BATCH_REQUESTS: Final = 1  # as the console registers a version
_CALLS_PER_MINUTE: Final = 10_000_000


class Amulet(Contender):
    """settings: variables of the gateway; torchserve: arguments of its launcher; registering: of the version.

    keyed: each call has an idempotency key of its own; redis: a Redis beside it counts calls and knows keys.
    """

    def __init__(
        self,
        name: str,
        bench: Bench,
        *,
        settings: dict[str, str] | None = None,
        torchserve: tuple[str, ...] = (),
        registering: dict[str, int] | None = None,
        keyed: bool = False,
        redis: bool = False,
    ) -> None:
        super().__init__(name, bench)
        self._settings, self._torchserve, self._registering = settings or {}, torchserve, registering or {}
        self._keyed, self._redis = keyed, redis
        self._layout = Layout(bench.work / name, Ports(free_offset()))
        self._console: ConsoleStandIn | None = None

    def _start(self) -> None:
        provision(self._layout)
        card = Card.parse((self.bench.run / "model.json").read_bytes())
        made = self._layout.models / "model.mar"
        archive.build(
            self.bench.run,
            made,
            handler=Path(amulet_handler.__file__),
            stub=Path(graph_pb2.__file__),
            sign_key=None,
        )
        self._key, entry = _new_key((self._layout.secrets / "key_secret").read_bytes())
        token = (self._layout.secrets / "control_token").read_text()
        self._console = ConsoleStandIn(_policy(self.bench.run, card, entry), token)
        self._console.start()
        environment = {**self._layout.environment(), "AMULET_CONSOLE_URL": self._console.url, **self._settings}
        out = self.spawn(
            [
                sys.executable, ROOT / "deploy" / "torchserve" / "launch.py", "--state", self._layout.torchserve,
                "--model-store", self._layout.models, "--port-offset", str(self._layout.ports.offset),
                *self._torchserve,
            ],
            {"AMULET_PIXELS_DIR": environment["AMULET_PIXELS_DIR"]},
        )  # fmt: skip
        self._register(made.name, out)
        if self._redis:
            environment["AMULET_CACHE_URL"] = self._start_redis()
        out = self.spawn([sys.executable, "-m", "gateway"], environment, cwd=ROOT)
        self._until_ready(out)

    def wish(self) -> dict[str, Any]:
        return {
            "target": self._layout.gateway_address,
            "key": self._key,
            "authority": str(self._layout.tls / "ca.pem"),
            "keyed": self._keyed,
        }

    def end(self) -> None:
        super().end()
        if self._console is not None:  # a start that failed may not have come to it
            self._console.stop()

    def _start_redis(self) -> str:
        program = shutil.which("redis-server")
        if program is None:
            raise SystemFailed("redis-server is not installed")
        port = free_port()
        self.spawn([program, "--bind", HOST, "--port", str(port), "--save", "", "--dir", self.bench.work], {})
        return f"redis://{HOST}:{port}/0"

    def _register(self, archive_name: str, out: Path) -> None:
        ends_s = time.monotonic() + START_S_MAX
        options = {
            "initial_workers": 1,
            "batch_size": _BATCH_REQUESTS,
            **self._registering,
        }
        request = management_pb2.RegisterModelRequest(url=archive_name, synchronous=True, **options)  # type: ignore[arg-type]  # by name
        target = f"{HOST}:{self._layout.ports.torchserve_grpc_management}"
        while True:
            with suppress(grpc.RpcError, OSError, ValueError), grpc.insecure_channel(target) as channel:
                token = json.loads((self._layout.torchserve / "key_file.json").read_bytes())["management"]["key"]
                stub = management_pb2_grpc.ManagementAPIsServiceStub(channel)
                stub.RegisterModel(request, metadata=(("authorization", f"Bearer {token}"),), timeout=60.0)
                return
            if time.monotonic() > ends_s:
                raise SystemFailed(f"TorchServe did not take the archive: {out.read_text()[-1500:]}")
            time.sleep(0.1)

    def _until_ready(self, out: Path) -> None:
        self.until_answers(f"{self._layout.gateway_ops_url}/readyz", out)


class ConsoleStandIn:
    """Hands out one policy and confirms every event, as the console would."""

    def __init__(self, policy: policy_pb2.Policy, token: str) -> None:
        content = policy.SerializeToString()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.headers["Authorization"] != f"Bearer {token}":
                    self._answer(401, b"", etag)
                elif self.headers.get("If-None-Match") == etag:
                    self._answer(304, b"", etag)
                else:
                    self._answer(200, content, etag)

            def do_POST(self) -> None:
                batch = events_pb2.EventBatch.FromString(
                    gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
                )
                self._answer(200, events_pb2.EventReceipt(applied=len(batch.events)).SerializeToString(), etag)

            def _answer(self, status: int, body: bytes, tag: str) -> None:
                self.send_response(status)
                self.send_header("ETag", tag)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return None

        class Standing(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A gateway that was put to sleep has hung up meanwhile."""

        self._server = Standing((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_port}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _new_key(secret: bytes) -> tuple[str, policy_pb2.Key]:
    key_id = os.urandom(6).hex()
    text = f"amk_{key_id}_{base64.urlsafe_b64encode(os.urandom(32)).rstrip(b'=').decode()}"
    return text, policy_pb2.Key(key_id=key_id, digest=hmac.digest(secret, text.encode(), hashlib.sha256))


def _policy(run: Path, card: Card, key: policy_pb2.Key) -> policy_pb2.Policy:
    limits = card.decision.limits
    version = policy_pb2.ServedVersion(
        backend_name=card.name,
        card=pb.Card(
            name=card.name,
            version=card.version,
            classes=[pb.Class(id=known.id, display_names=dict(known.names)) for known in card.classes],
            input_height_px=card.input.height_px,
            input_width_px=card.input.width_px,
            temperature=card.temperature,
            decision=pb.Decision(
                confidence_min=limits.confidence_min,
                margin_min=limits.margin_min,
                detectors=[
                    pb.DetectorLimits(name=one.name, typical=one.typical, unsure_at=one.unsure_at, out_at=one.out_at)
                    for one in limits.detectors
                ],
                set_coverage=limits.set_coverage,
                set_probability_min=limits.set_probability_min,
            ),
        ),
        golden=[
            policy_pb2.Golden(
                name=golden.file,
                photo=(run / golden.file).read_bytes(),
                probabilities=golden.probabilities,
                scores=dict(golden.scores),
            )
            for golden in card.golden
        ],
    )
    return policy_pb2.Policy(
        revision=1,
        clients=[policy_pb2.Client(client_id="bench", name="bench", keys=[key], calls_per_minute=_CALLS_PER_MINUTE)],
        models=[
            policy_pb2.ServedModel(
                name=card.name,
                versions=[version],
                routes=[policy_pb2.Route(version=card.version, weight_ratio=1.0)],
            )
        ],
        review_confidence_min=0.75,
        review_sampling_ratio=0.02,
    )

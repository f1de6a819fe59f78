"""One vocabulary for the gateway's tests: a client with a key, a console, a graph, a gateway that runs.

The gateway is the real one with real decoders, a real journal and a real gRPC port. Only
where other processes would be stand `Console` (HTTP, as the console speaks it) and `Graph`
(TorchServe's place: the tiny model's real graph in this process).
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
import numpy as np
import onnxruntime
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from numpy.typing import NDArray
from PIL import Image

from amulet_client.ending import StreamEnd
from gateway.errors import BackendUnavailable
from gateway.server import Listening, Serving, run
from gateway.serving.torchserve import NO_EXTRAS, Extras, GraphImage, GraphOutput, GraphResult, Neighbour
from gateway.settings import Settings
from model_store.card import Card
from model_store.projection import projected
from protos.amulet.events.v1 import events_pb2
from protos.amulet.policy.v1 import policy_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive

KEY_SECRET: Final = b"the secret under which keys are digested"
CONTROL_TOKEN: Final = b"the-control-token"
HASH_SECRET: Final = b"the secret under which photographs are hashed"
START_S_MAX: Final = 30.0


@dataclass(frozen=True)
class ApiKey:
    key_id: str
    text: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-api-key", self.text),)

    def entry(self, *, revoked: bool = False) -> policy_pb2.Key:
        digest = hmac.digest(KEY_SECRET, self.text.encode(), hashlib.sha256)
        return policy_pb2.Key(key_id=self.key_id, digest=digest, revoked=revoked)


def new_key() -> ApiKey:
    key_id = os.urandom(6).hex()
    secret = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
    return ApiKey(key_id, f"amk_{key_id}_{secret}")


SOMCHAI: Final = new_key()  # the caller of every test that needs just one


def photo(colour: str = "red", *, side_px: int = 96, seed: int = 0) -> bytes:
    """A PNG of one of the tiny model's classes, or of "grey", which none of them is."""
    return tiny_archive.photo_of(colour, side_px=side_px, seed=seed)


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@cache
def tiny_card(version: str = tiny_archive.VERSION) -> tuple[Card, MappingProxyType[str, bytes]]:
    """The tiny model's card and its golden photographs by file name."""
    with TemporaryDirectory() as folder:
        card = tiny_archive.write_run(Path(folder), version=version)
        files = {golden.file: Path(folder, golden.file).read_bytes() for golden in card.golden}
    return card, MappingProxyType(files)


def served_version(version: str = tiny_archive.VERSION, *, name: str = tiny_archive.NAME) -> policy_pb2.ServedVersion:
    card, files = tiny_card(version)
    limits = card.decision.limits
    return policy_pb2.ServedVersion(
        backend_name=name,
        alias="champion",
        card=pb.Card(
            name=name,
            version=version,
            classes=[pb.Class(id=known.id, display_names=dict(known.names)) for known in card.classes],
            input_height_px=card.input.height_px,
            input_width_px=card.input.width_px,
            temperature=card.temperature,
            decision=pb.Decision(
                confidence_min=limits.confidence_min,
                margin_min=limits.margin_min,
                detectors=[
                    pb.DetectorLimits(
                        name=limit.name, typical=limit.typical, unsure_at=limit.unsure_at, out_at=limit.out_at
                    )
                    for limit in limits.detectors
                ],
                set_coverage=limits.set_coverage,
                set_probability_min=limits.set_probability_min,
            ),
            explanations=[pb.Explain.METHOD_GRAD_CAM, pb.Explain.METHOD_GRAD_CAM_PLUS_PLUS],
        ),
        golden=[
            policy_pb2.Golden(
                name=golden.file,
                photo=files[golden.file],
                probabilities=golden.probabilities,
                scores=dict(golden.scores),
            )
            for golden in card.golden
        ],
    )


def served_model(*, name: str = tiny_archive.NAME) -> policy_pb2.ServedModel:
    """The tiny model with its one version in production."""
    return policy_pb2.ServedModel(
        name=name,
        versions=[served_version(name=name)],
        routes=[policy_pb2.Route(version=tiny_archive.VERSION, weight_ratio=1.0)],
    )


def policy(
    *,
    clients: Iterable[policy_pb2.Client] | None = None,
    models: Iterable[policy_pb2.ServedModel] | None = None,
    **fields: Any,
) -> policy_pb2.Policy:
    """Somchai may call the tiny model a hundred times a minute; nothing is sampled for review."""
    return policy_pb2.Policy(
        revision=fields.pop("revision", 1),
        clients=[client()] if clients is None else clients,
        models=[served_model()] if models is None else models,
        review_confidence_min=fields.pop("review_confidence_min", 0.5),
        **fields,
    )


def client(key: ApiKey = SOMCHAI, *, revoked: bool = False, **fields: Any) -> policy_pb2.Client:
    return policy_pb2.Client(
        client_id=fields.pop("client_id", "client-somchai"),
        name="Somchai's shop",
        calls_per_minute=fields.pop("calls_per_minute", 100),
        keys=[key.entry(revoked=revoked)],
        **fields,
    )


class Graph:
    """The tiny model's graph where TorchServe would be. Tests may make it slow, dead or wrong."""

    def __init__(self) -> None:
        self._session = onnxruntime.InferenceSession(tiny_archive.graph_bytes(), providers=["CPUExecutionProvider"])
        self._open = True
        self._held: list[asyncio.Event] = []  # calls, in the order in which they came
        self.renew()

    def renew(self) -> None:
        """Quick, alive, right and without a past."""
        self.seen: list[GraphImage] = []
        self.versions_asked: list[str] = []
        self.wait_s = 0.0
        self.slow: dict[str, float] = {}  # version -> further seconds
        self.failing: set[str] = set()  # versions
        self.dead = False
        self.not_ready: dict[str, str] = {}  # version -> why
        self.release()

    def hold(self) -> None:
        """Answer nothing until `release` or `renew`: where a test needs calls that are surely under way."""
        self._open = False

    @property
    def holds(self) -> int:
        """How many calls it has not answered and whose callers still wait."""
        return len(self._held)

    def release(self) -> None:
        self._open = True
        self.let_through(len(self._held))

    def let_through(self, calls: int) -> None:
        """Answer so many of those that are held, the oldest first."""
        for held in self._held[:calls]:
            held.set()
        del self._held[:calls]

    async def predict(
        self,
        backend_name: str,
        version: str,
        images: Sequence[GraphImage],
        *,
        extras: Extras = NO_EXTRAS,
        alone: bool = False,
        deadline_s: float,
    ) -> GraphResult:
        self.seen.extend(images)
        self.versions_asked.append(version)
        if not self._open:
            held = asyncio.Event()
            self._held.append(held)
            try:
                await held.wait()
            finally:
                if held in self._held:  # nobody waits for it any more
                    self._held.remove(held)
        wait_s = self.wait_s + self.slow.get(version, 0.0)
        if wait_s:
            await asyncio.sleep(wait_s)  # a slow backend, not a wait for something
        if self.dead or version in self.failing:
            raise BackendUnavailable("the model server cannot be reached")
        return await asyncio.to_thread(self._run, images, extras)

    def pixels_seen(self, index: int) -> NDArray[np.uint8]:
        pixels = self.seen[index].pixels
        assert pixels is not None
        return pixels

    def why_not(self, backend_name: str, version: str) -> str:
        return self.not_ready.get(version, "")

    def _run(self, images: Sequence[GraphImage], extras: Extras) -> GraphResult:
        feeds = {
            "image": np.stack([image.pixels for image in images if image.pixels is not None]),
            "target": np.array([image.target for image in images], dtype=np.int64),
        }
        names = [output.name for output in self._session.get_outputs()]
        found = dict(zip(names, self._session.run(names, feeds), strict=True))
        heat_map = "heatmap_plus_plus" if extras.plus_plus else "heatmap"
        return GraphResult(
            outputs=tuple(
                GraphOutput(
                    logits=tuple(found["logits"][index].tolist()),
                    probabilities=tuple(found["probabilities"][index].tolist()),
                    scores={name: float(found[f"score_{name}"][index]) for name in tiny_archive.DETECTORS},
                    embedding=None,
                    heat_map=found[heat_map][index] if extras.heat_map else None,
                    neighbours=tuple(
                        Neighbour(f"{reference:016x}", int(reference), words.SIDE_FRONT, float(cosine), b"jpeg")
                        for reference, cosine in zip(
                            found["nearest_index"][index], found["nearest_cosine"][index], strict=True
                        )
                    )[: extras.neighbours],
                    projection=tuple(projected(found["embedding"][[index]])[0].tolist()) if extras.projection else (),
                )
                for index in range(len(images))
            ),
            graph_ms=1.0,
            batch_images=len(images),
        )


class Console:
    """Speaks HTTP as the console does: hands out a policy, takes events. Stands on a free port."""

    def __init__(self, policy: policy_pb2.Policy | None) -> None:
        self._lock = threading.Lock()
        self._policy = b"" if policy is None else policy.SerializeToString()
        self._events: list[events_pb2.Event] = []
        self.away = policy is None
        self.asked_by = set[str]()  # which gateways
        console = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                console.asked_by |= set(parse_qs(urlsplit(self.path).query).get("gateway", [""]))
                content = console._policy
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                if console.away or self.headers["Authorization"] != f"Bearer {CONTROL_TOKEN.decode()}":
                    self._answer(503 if console.away else 401, b"")
                elif self.headers.get("If-None-Match") == etag:
                    self._answer(304, b"", ETag=etag)
                else:
                    self._answer(200, content, ETag=etag)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if console.away:
                    self._answer(503, b"")
                    return
                batch = events_pb2.EventBatch.FromString(gzip.decompress(body))
                with console._lock:
                    console._events.extend(batch.events)
                self._answer(200, events_pb2.EventReceipt(applied=len(batch.events)).SerializeToString())

            def _answer(self, status: int, content: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def issue(self, policy: policy_pb2.Policy) -> None:
        self._policy = policy.SerializeToString()
        self.away = False

    def events(self) -> list[events_pb2.Event]:
        with self._lock:
            return list(self._events)


@dataclass
class Gateway:
    """A gateway that runs, seen from outside."""

    settings: Settings
    listening: Listening
    graph: Graph
    console: Console
    channel: aio.Channel
    stub: prediction_pb2_grpc.PredictionServiceAsyncStub
    stop: asyncio.Event
    task: asyncio.Task[None]
    key: ApiKey = field(default=SOMCHAI)

    async def predict(
        self, *photos: bytes, metadata: Any = None, deadline_s: float = 20.0, **fields: Any
    ) -> pb.PredictResponse:
        request = pb.PredictRequest(views=[pb.View(photo=one) for one in photos], **fields)
        return await self.stub.Predict(
            request, metadata=self.key.metadata if metadata is None else metadata, timeout=deadline_s
        )

    async def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the operators' port."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.listening.ops_port}", trust_env=False) as client:
            answer = await client.get(path)
        return answer.status_code, answer.text

    async def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        _, page = await self.page("/metrics")
        (line,) = [line for line in page.splitlines() if line.startswith(f"{name} ")]
        return float(line.removeprefix(name))

    async def event_of(self, response: pb.PredictResponse) -> events_pb2.PredictionMade:
        """The one event of an answer, once it has reached the console."""
        await until(lambda: self.events_of(response) != [], what="the event reaches the console")
        (event,) = self.events_of(response)
        return event

    def events_of(self, response: pb.PredictResponse) -> list[events_pb2.PredictionMade]:
        return [
            event.prediction
            for event in self.console.events()
            if event.prediction.prediction_id == response.prediction_id
        ]


def secrets_in(folder: Path) -> None:
    secrets = folder / "secrets"
    secrets.mkdir(parents=True, exist_ok=True)
    (secrets / "key_secret").write_bytes(KEY_SECRET)
    (secrets / "control_token").write_bytes(CONTROL_TOKEN)
    (secrets / "input_hash_secret").write_bytes(HASH_SECRET)


def settings_for(folder: Path, console: Console, **fields: Any) -> Settings:
    secrets_in(folder)
    return Settings(
        **{
            "state_dir": folder,
            "console_url": console.url,
            "gateway_listen": "127.0.0.1:0",
            "gateway_ops_listen": "127.0.0.1:0",
            "gateway_id": "gateway-1",
            "insecure": True,
            "decoder_workers": 2,
            "journal_free_mib_min": 1,
            "messages_mib_max": 4096,  # its callers live in the same process
            **fields,
        }
    )


def environment_for(folder: Path, console: Console) -> dict[str, str]:
    """The same as environment variables, for a gateway in a process of its own."""
    secrets_in(folder)
    return {
        "AMULET_STATE_DIR": str(folder),
        "AMULET_CONSOLE_URL": console.url,
        "AMULET_GATEWAY_LISTEN": "127.0.0.1:0",
        "AMULET_GATEWAY_OPS_LISTEN": "127.0.0.1:0",
        "AMULET_GATEWAY_ID": "gateway-1",
        "AMULET_INSECURE": "1",
        "AMULET_DECODER_WORKERS": "2",
        "AMULET_JOURNAL_FREE_MIB_MIN": "1",
    }


@asynccontextmanager
async def running_gateway(
    folder: Path, *, policy: policy_pb2.Policy | None, graph: Graph | None = None, **fields: Any
) -> AsyncIterator[Gateway]:
    """policy None: a console that is away.  fields: settings."""
    graph = graph or Graph()
    started: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()

    async def connect(settings: Settings, down: AsyncExitStack) -> Serving:
        return Serving(graph, lambda _: None, graph.why_not, ())

    with Console(policy) as console:
        settings = settings_for(folder, console, **fields)
        stop = asyncio.Event()
        task = asyncio.create_task(run(settings, stop=stop, on_listening=started.set_result, connect=connect))
        async with asyncio.timeout(START_S_MAX):
            while not started.done():
                await asyncio.wait([task], timeout=0.02)
                if task.done():
                    await task  # raises why it could not start
            listening = started.result()
        target = f"127.0.0.1:{listening.grpc_port}"
        async with aio.insecure_channel(target, options=(("grpc.max_receive_message_length", 64 * 2**20),)) as channel:
            stub = prediction_pb2_grpc.PredictionServiceStub(channel)
            gateway = Gateway(settings, listening, graph, console, channel, stub, stop, task)
            try:
                if policy is not None:
                    await until_policy(gateway)
                yield gateway
            finally:
                stop.set()
                async with asyncio.timeout(START_S_MAX):
                    await task


def kept_revision(gateway: Gateway) -> int:
    """The policy that the gateway has taken up: it keeps what is in force, a moment later. 0: none yet."""
    kept = gateway.settings.state_dir / "gateway" / "policy.pb"
    return policy_pb2.Policy.FromString(kept.read_bytes()).revision if kept.exists() else 0


async def until_policy(gateway: Gateway) -> None:
    async def heard() -> bool:
        try:
            await gateway.stub.ListModels(pb.ListModelsRequest(), metadata=(("x-api-key", "nobody"),))
        except aio.AioRpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE
        return True

    ends_s = time.monotonic() + START_S_MAX
    while not await heard():
        assert time.monotonic() < ends_s, "the policy was not heard"


async def until(condition: Callable[[], bool | Awaitable[bool]], *, what: str, s_max: float = 30.0) -> None:
    """Wait for a condition; fails the test when it takes longer. The bound is generous: it ends a test that
    hangs, and a busy machine must not reach it."""
    ends_s = time.monotonic() + s_max
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < ends_s, f"not within {s_max} s: {what}"
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Refused:
    """What a caller learns from an error."""

    code: grpc.StatusCode
    reason: words.Reason.ValueType
    message: str
    field: str
    retry_after_s: float | None
    localized: str
    request_id: str


async def refusal_of(call: Any) -> Refused:
    """The refusal that awaiting the call ends with; fails the test when it is answered."""
    try:
        answer = await call
    except aio.AioRpcError as error:
        return refused(error)
    raise AssertionError(f"answered: {answer}")


async def stream_refusal_of(stream: Any) -> Refused:
    """The refusal that a stream just begun ends with; fails the test when it ends well."""
    end = StreamEnd(stream)
    try:
        _ = [_ async for _ in stream]
    except aio.AioRpcError as reported:
        error = await end.error(reported)
        assert error is not None, "the stream ended well"
        return refused(error)
    raise AssertionError("the stream ended well")


def refused(error: aio.AioRpcError) -> Refused:
    trailers = dict(error.trailing_metadata() or ())
    details = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    info, bad, retry, local = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.LocalizedMessage(),
    )
    found = {
        type(part): detail.Unpack(part)
        for detail in details.details
        for part in (info, bad, retry, local)
        if detail.Is(part.DESCRIPTOR)
    }
    return Refused(
        code=error.code(),
        reason=words.Reason.Value(info.reason) if info.reason else words.REASON_UNSPECIFIED,
        message=error.details() or "",
        field=bad.field_violations[0].field if bad.field_violations else "",
        retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9 if type(retry) in found else None,
        localized=local.message,
        request_id=info.metadata.get("request_id", ""),
    )

"""TorchServe as a backend: one request to one model version, typed in and typed out.

Protobuf and gRPC end here. Whatever goes wrong comes out as one of the gateway's refusals:
`ModelNotReady` (TorchServe does not hold the version), `BackendUnavailable` (it is down, or
its worker died under the request), `Overloaded` (the version's queue is full),
`DeadlineExceeded`; or as `BackendFaulty`, which no right set-up gives and is our own fault.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self

import grpc
import numpy as np
import structlog
from google.protobuf.message import DecodeError
from grpc import aio
from numpy.typing import NDArray

from gateway.errors import BackendUnavailable, DeadlineExceeded, ModelNotReady, Overloaded, Refusal
from gateway.serving.board import Board, Placed
from gateway.serving.tokens import Tokens
from protos.amulet.graph.v1 import graph_pb2
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.torchserve import inference_pb2, inference_pb2_grpc

_log = structlog.get_logger(__name__)
# A token can be replaced under a call by whoever else renews it, a connection can be found
# broken only by using it. Asking again is safe: a prediction changes nothing in TorchServe.
TOKEN_TRIES: Final = 3
CONNECTION_TRIES: Final = 2
# A worker that dies takes a batch of callers along; another one, or its successor, can answer them.
# Not more than twice: should a request be what kills, it kills no third.
WORKER_TRIES: Final = 2
MESSAGE_BYTES_MAX: Final = 32 * 1024 * 1024
# What TorchServe is asked to hold at once. It keeps three copies of a request in a small heap,
# and ends when that is full; 48 MiB are 320 single photographs at 224 x 224.
IN_FLIGHT_BYTES_MAX: Final = 48 * 1024 * 1024
SIDES: Final = MappingProxyType({name.removeprefix("SIDE_").lower(): side for name, side in words.Side.items()})
_OPTIONS: Final = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # TorchServe restarts within seconds: look for it often, never wait two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long it may take to greet whoever connects: on a busy machine more than the tenth of a second of gRPC's least.
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # TorchServe is where the settings say, and its token travels in plain text.
    ("grpc.enable_http_proxy", 0),
)


class BackendFaulty(RuntimeError):
    """TorchServe or the handler answered what a right set-up never gives: our own fault, for the log."""


@dataclass(frozen=True, slots=True)
class GraphImage:
    """One image for the graph: `pixels` at the model's size, or an `encoded` photograph that the handler scales."""

    pixels: NDArray[np.uint8] | None = None  # [height, width, 3], RGB
    encoded: bytes | None = None
    target: int = -1  # index of the class to explain; -1: the best one

    def __post_init__(self) -> None:
        if (self.pixels is None) == (self.encoded is None):
            raise ValueError("an image is either pixels or an encoded photograph")


@dataclass(frozen=True, slots=True)
class Extras:
    """What an answer carries besides probabilities and scores."""

    heat_map: bool = False
    plus_plus: bool = False  # the heat map by Grad-CAM++
    embedding: bool = False
    neighbours: int = 0  # so many references, nearest first
    projection: bool = False  # of the embedding


NO_EXTRAS: Final = Extras()


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A reference photograph of the version, near to an image."""

    example_id: str
    class_index: int
    side: words.Side.ValueType
    cosine: float  # -1 to 1
    thumbnail_jpeg: bytes  # empty: not to be shown


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """What the graph said about one image."""

    logits: tuple[float, ...]  # one per class
    probabilities: tuple[float, ...]  # one per class, calibrated, summing to 1
    scores: Mapping[str, float]  # detector -> score; higher is further out
    embedding: NDArray[np.float32] | None  # [size]; None: not asked for
    heat_map: NDArray[np.float32] | None  # [rows, columns], at least 0; None: not asked for
    neighbours: tuple[Neighbour, ...] = ()  # nearest first; empty: not asked for, or the version names none
    projection: tuple[float, ...] = ()  # of the embedding; empty: not asked for, or the version's handler knows none


@dataclass(frozen=True, slots=True)
class HandlerSteps:
    """When the handler did what: seconds since it was given the batch."""

    began_unix_ns: int  # by the clock of its machine
    prepared_s: float
    graph_from_s: float
    graph_to_s: float
    answered_s: float


@dataclass(frozen=True, slots=True)
class GraphResult:
    outputs: tuple[GraphOutput, ...]  # one per image, in order
    graph_ms: float  # the graph's run, which a batch shares
    batch_images: int  # how many images shared it
    steps: HandlerSteps | None = None  # None: the version's handler is older than they are


class Backend(Protocol):
    """What runs the graph."""

    async def predict(
        self,
        backend_name: str,
        version: str,
        images: Sequence[GraphImage],
        *,
        extras: Extras = NO_EXTRAS,
        alone: bool = False,
        deadline_s: float,
    ) -> GraphResult: ...


class TorchServe:
    """A connection to TorchServe's inference port. Use it as an async context, or `close` it."""

    def __init__(self, target: str, tokens: Tokens, board: Board | None = None) -> None:
        """board: for versions whose worker says that it can read it; None: pixels are sent."""
        self._tokens = tokens
        self._board = board
        self._reads_board: set[tuple[str, str]] = set()
        self._channel = aio.insecure_channel(target, options=_OPTIONS)
        self._stub = inference_pb2_grpc.InferenceAPIsServiceStub(self._channel)
        self._answered_at_s: dict[tuple[str, str], float] = {}
        self._in_flight_bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self._channel.close()

    def answered_at_s(self, backend_name: str, version: str) -> float | None:
        """When this version last answered anybody, on the monotonic clock; None: never yet."""
        return self._answered_at_s.get((backend_name, version))

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
        """Run the version's graph once over one to eight images.

        alone: nobody else asks, so that one image may have all the worker's threads.
        deadline_s: seconds from now; everything, a new token and a second try included, ends by then.
        Raises ModelNotReady, BackendUnavailable, Overloaded, DeadlineExceeded, BackendFaulty.
        Cancelling it cancels the call.
        """
        if deadline_s <= 0.0:
            raise DeadlineExceeded("no time is left for the model to answer")
        ends_at_s = time.monotonic() + deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                request = _request_of(images, extras, self._board.name if self._board else "")
                request.alone = alone
                answer = await self._answer(backend_name, version, images, request, ends_at_s)
        except TimeoutError:
            raise DeadlineExceeded(f"the model did not answer within {deadline_s:.3g} s") from None
        result = _result_of(answer, backend_name, version, images=len(images))
        self._answered_at_s[backend_name, version] = time.monotonic()
        return result

    async def _answer(
        self,
        backend_name: str,
        version: str,
        images: Sequence[GraphImage],
        request: graph_pb2.GraphRequest,
        ends_at_s: float,
    ) -> graph_pb2.GraphAnswer:
        """The handler's answer, with pixels on the board where it can read them, else sent."""
        key = (backend_name, version)
        if self._board and key in self._reads_board:
            # All are looked at before the first is placed: no place is lost to a mistake of ours.
            placed = self._board.place([_checked(image.pixels) for image in images if image.pixels is not None])
            try:
                answer = await self._send(backend_name, version, _with_places(request, images, placed), ends_at_s)
            finally:
                self._board.take_away(placed)
            if not _lost_place(answer):
                return answer
            self._reads_board.discard(key)  # another worker may be without that folder: it says so below
            _log.warning("board_lost", model=backend_name, version=version)
        answer = await self._send(backend_name, version, _with_pixels(request, images), ends_at_s)
        if answer.board_open and key not in self._reads_board:
            self._reads_board.add(key)
            _log.info("pixels_are_shared", model=backend_name, version=version)
        return answer

    async def _send(
        self, backend_name: str, version: str, request: graph_pb2.GraphRequest, ends_at_s: float
    ) -> graph_pb2.GraphAnswer:
        body = request.SerializeToString()
        if self._in_flight_bytes + len(body) > IN_FLIGHT_BYTES_MAX:
            raise Overloaded("the model is busy with as many photographs as it can hold")
        self._in_flight_bytes += len(body)
        try:
            response = await self._ask(
                inference_pb2.PredictionsRequest(
                    model_name=backend_name, model_version=version, input={"request": body}
                ),
                ends_at_s=ends_at_s,
            )
        finally:
            self._in_flight_bytes -= len(body)
        return _parsed(response.prediction, backend_name, version)

    async def _ask(
        self, request: inference_pb2.PredictionsRequest, *, ends_at_s: float
    ) -> inference_pb2.PredictionResponse:
        tokens_left, connections_left, workers_left = TOKEN_TRIES - 1, CONNECTION_TRIES - 1, WORKER_TRIES - 1
        while True:
            token = await self._tokens.inference()
            try:
                return await self._stub.Predictions(
                    request,
                    timeout=max(0.0, ends_at_s - time.monotonic()),
                    metadata=(("authorization", f"Bearer {token}"),),
                )
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.PERMISSION_DENIED and tokens_left:
                    tokens_left -= 1
                    await self._tokens.replace(token)
                elif _connection_broke(error) and connections_left:
                    connections_left -= 1
                elif _worker_died(error) and workers_left:
                    workers_left -= 1
                else:
                    raise _refusal_of(error, request.model_name, request.model_version) from None


def _request_of(images: Sequence[GraphImage], extras: Extras, board: str) -> graph_pb2.GraphRequest:
    """All of a request but its pixels."""
    return graph_pb2.GraphRequest(
        images=[graph_pb2.Image(encoded=image.encoded or b"", target=image.target) for image in images],
        heat_map=extras.heat_map,
        grad_cam_plus_plus=extras.plus_plus,
        embedding=extras.embedding,
        neighbours=extras.neighbours,
        projection=extras.projection,
        board=board,
    )


def _with_pixels(request: graph_pb2.GraphRequest, images: Sequence[GraphImage]) -> graph_pb2.GraphRequest:
    for entry, image in zip(request.images, images, strict=True):
        if image.pixels is not None:
            entry.pixels = _checked(image.pixels).tobytes()
    return request


def _with_places(
    request: graph_pb2.GraphRequest, images: Sequence[GraphImage], placed: Sequence[Placed]
) -> graph_pb2.GraphRequest:
    if not placed:  # a full board
        return _with_pixels(request, images)
    places = iter(placed)
    for entry, image in zip(request.images, images, strict=True):
        if image.pixels is not None:
            place = next(places)
            entry.place.offset, entry.place.turn, entry.place.size = place.offset, place.turn, place.size
    return request


def _checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels are uint8 [height, width, 3], not {pixels.dtype} {list(pixels.shape)}")
    return pixels


def _parsed(prediction: bytes, backend_name: str, version: str) -> graph_pb2.GraphAnswer:
    try:
        return graph_pb2.GraphAnswer.FromString(prediction)
    except DecodeError:
        raise BackendFaulty(f"{backend_name} {version} answered something else than a GraphAnswer") from None


def _lost_place(answer: graph_pb2.GraphAnswer) -> bool:
    """Whether the handler did not find on the board what it was told to."""
    return answer.fault.field.endswith(".place")


def _result_of(answer: graph_pb2.GraphAnswer, backend_name: str, version: str, *, images: int) -> GraphResult:
    if (answer.model, answer.version) != (backend_name, version):
        raise BackendFaulty(f"{answer.model} {answer.version} answered in place of {backend_name} {version}")
    if answer.HasField("fault"):
        fault = answer.fault
        reason = next((name for name, number in words.Reason.items() if number == fault.reason), str(fault.reason))
        raise BackendFaulty(
            f"{backend_name} {version} refused what the gateway sent: {reason}, {fault.field}: {fault.message}"
        )
    if len(answer.outputs) != images:
        raise BackendFaulty(f"{backend_name} {version} gave {len(answer.outputs)} outputs for {images} images")
    steps = _steps_of(answer.steps) if answer.HasField("steps") else None
    outputs = tuple(_output_of(output) for output in answer.outputs)
    return GraphResult(outputs, answer.graph_ms, answer.batch_images, steps)


def _steps_of(steps: graph_pb2.Steps) -> HandlerSteps:
    return HandlerSteps(
        began_unix_ns=steps.began_unix_ns,
        prepared_s=steps.prepared_ms / 1000,
        graph_from_s=steps.graph_from_ms / 1000,
        graph_to_s=steps.graph_to_ms / 1000,
        answered_s=steps.answered_ms / 1000,
    )


def _output_of(output: graph_pb2.Output) -> GraphOutput:
    heat_map = None
    if output.heat_map:
        grid = (output.heat_map_rows, output.heat_map_columns)
        if len(output.heat_map) != grid[0] * grid[1]:
            raise BackendFaulty(f"a heat map of {grid[0]} x {grid[1]} came with {len(output.heat_map)} values")
        heat_map = np.array(output.heat_map, dtype=np.float32).reshape(grid)
    return GraphOutput(
        logits=tuple(output.logits),
        probabilities=tuple(output.probabilities),
        scores=MappingProxyType(dict(output.scores)),
        embedding=np.array(output.embedding, dtype=np.float32) if output.embedding else None,
        heat_map=heat_map,
        neighbours=tuple(map(_neighbour_of, output.neighbours)),
        projection=tuple(output.projection),
    )


def _neighbour_of(neighbour: graph_pb2.Neighbour) -> Neighbour:
    side = SIDES.get(neighbour.side, words.SIDE_UNSPECIFIED)
    return Neighbour(neighbour.example_id, neighbour.class_index, side, neighbour.cosine, neighbour.thumbnail_jpeg)


def _said(error: aio.AioRpcError) -> str:
    """The first line of TorchServe's message; its class of exception follows on the second."""
    return (error.details() or "").partition("\n")[0]


def _connection_broke(error: aio.AioRpcError) -> bool:
    """The status is gRPC's own. TorchServe uses the same ones, but always names a class of exception."""
    kinds = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED)
    return error.code() in kinds and "Exception" not in (error.details() or "")


def _worker_died(error: aio.AioRpcError) -> bool:
    return (error.details() or "").startswith(("Worker died", "Worker scaled down"))


def _refusal_of(error: aio.AioRpcError, backend_name: str, version: str) -> Refusal | BackendFaulty:
    """What TorchServe's status and words mean. It has no error codes of its own: the words are all there is."""
    code, details = error.code(), error.details() or ""
    if "ModelNotFoundException" in details or "ModelVersionNotFoundException" in details:
        return ModelNotReady(f"{backend_name} {version} is not loaded")
    if _worker_died(error):
        return BackendUnavailable("the model's worker died and is being started again")
    if "has no worker to serve inference request" in details:  # also said when the queue is full
        return Overloaded("too many requests wait for the model")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("the model did not answer in time")
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return BackendUnavailable("the model server does not accept the gateway's token")
    if _connection_broke(error) or details.startswith("Out of resources"):
        return BackendUnavailable("the model server cannot be reached")
    return BackendFaulty(f"{backend_name} {version}: TorchServe answered {code.name}: {_said(error)[:200]}")

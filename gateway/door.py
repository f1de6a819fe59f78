"""The door of the gRPC server: every call of ours comes and goes through it.

Coming in: key, overload and rate limit are asked before a byte of the message is read, so
that a stranger cannot make us hold twenty photographs, and the message has a time in which to
come. To the wire a call with one message is a stream of one, hence every method is served as
one that reads for itself. Going out: a refusal becomes its
status with details; anything else is our own fault, logged once with its trace, and the
caller gets INTERNAL with a request id and no text of ours. Either way one log line, one count.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import grpc
import structlog
from google.rpc import status_pb2
from grpc import aio

from gateway import errors
from gateway.admission import keys
from gateway.admission.arrivals import Arrivals
from gateway.admission.fullness import Fullness
from gateway.admission.limits import RateLimiter
from gateway.admission.shedding import Shedder
from gateway.admission.spacing import Spacing
from gateway.admission.streams import Streams
from gateway.call import Call, current_call, metadata_of
from gateway.messages import Taking, taker_of
from gateway.policy import PolicyKeeper
from gateway.reading import Reading
from gateway.snapshot import Key
from gateway.telemetry import Metrics
from gateway.tracing import Traces
from gateway.wording import language_of, words_for
from protos.amulet.v1 import vocabulary_pb2 as words

_log = structlog.get_logger(__name__)
_OURS: Final = frozenset({"/amulet.v1.PredictionService", "/inference.GRPCInferenceService"})
# What grpc.health.v1 tells anybody, in the words of the Open Inference Protocol.
_OPEN: Final = frozenset({"ServerLive", "ServerReady", "ModelReady", "ServerMetadata"})
# What is counted against the limit, and where. A stream counts its requests itself.
_KIND_OF: Final = {
    "Predict": "predictions",
    "ModelInfer": "predictions",
    "SubmitFeedback": "feedback",
    "ListModels": "readings",
    "GetModel": "readings",
    "ModelMetadata": "readings",
}
# Nobody has come for so long: they have heard that this gateway is not serving. Who does not listen is not waited for.
_QUIET_S: Final = 0.25
_LEAVE_S_MAX: Final = 2.0
# gRPC's own bound on it holds once our settings are acknowledged: what came before is held for as long as its call is.
METADATA_BYTES_MAX: Final = 16 * 1024
_FIELD_BYTES: Final = 32  # beside its name and value, as HTTP/2 counts
_Context = aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a call ends that is not answered."""

    code: grpc.StatusCode
    message: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


class Admission:
    """Who may come in now. One for all calls and all requests of streams."""

    def __init__(
        self,
        policy: PolicyKeeper,
        limiter: RateLimiter,
        shedder: Shedder,
        feedback: Shedder,
        arrivals: Arrivals,
        spacing: Spacing,
        *,
        key_secret: bytes,
    ) -> None:
        """shedder: of predictions.  feedback: it takes microseconds and then waits for the disk, apart from them."""
        self.policy, self.limiter, self.arrivals = policy, limiter, arrivals
        self.shedder, self.feedback, self.spacing = shedder, feedback, spacing
        self._key_secret = key_secret

    def identify(self, metadata: dict[str, str]) -> Key:
        """Raises KeyMissing, KeyUnknown, KeyRevoked or PolicyMissing."""
        key = keys.key_in(metadata)
        return keys.owner_of(key, keys=self.policy.current.keys, secret=self._key_secret)

    async def count(self, call: Call, kind: str, *, calls: int = 1) -> None:
        """Count a call, a request of a stream, or what a batch is beyond the call that brought it: all or none.

        Raises RateLimited.
        """
        hit = await self.limiter.admit(
            call.client.client_id,
            kind=kind,
            calls_per_minute=call.client.calls_per_minute,
            calls=calls,
            counted=sum(before.calls for before in call.counted),
        )
        call.counted += (hit,)

    async def uncount(self, call: Call, error: Exception) -> None:
        """A call that was sent away for later does not count; one that was wrong, or failed, does."""
        if isinstance(error, errors.RateLimited | errors.Overloaded | errors.ShuttingDown):
            for hit in call.counted:
                await self.limiter.take_back(hit)

    def hold_s(self, call: Call, error: Exception, peer: str) -> float:
        """How long the caller waits for this refusal once it is told of in the log."""
        held_s = self.spacing.hold_s(call.key.client.client_id if call.key else _host_of(peer), error)
        if held_s:
            call.facts["held_ms"] = round(held_s * 1000, 1)
        return held_s


@dataclass(frozen=True, slots=True)
class Strangers:
    """What those have open who need no key, by the address that they come from."""

    arrivals: Arrivals
    streams: Streams


class Door(aio.ServerInterceptor):
    def __init__(
        self, admission: Admission, metrics: Metrics, traces: Traces, strangers: Strangers, fullness: Fullness
    ) -> None:
        self._admission, self._metrics, self._traces, self._strangers = admission, metrics, traces, strangers
        self._fullness, self._reading, self._taking = fullness, Reading(), Taking()
        self._closed = False
        self._came_s = float("-inf")  # when the newest call with a key did

    def close(self) -> None:
        """From now on whoever comes is told that this gateway is shutting down."""
        self._closed = True
        self._admission.arrivals.close()
        self._strangers.arrivals.close()
        self._strangers.streams.close()

    async def until_nobody_comes(self) -> None:
        """Returns when no call has come for a moment, or they go on too long. A call that comes while the port
        closes is ended by gRPC as CANCELLED, which nobody tries again; until then it is refused in words."""
        ends_s = monotonic() + _LEAVE_S_MAX
        while (quiet_s := monotonic() - self._came_s) < _QUIET_S and monotonic() < ends_s:  # noqa: ASYNC110 - for time
            await asyncio.sleep(_QUIET_S - quiet_s)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        details = handler_call_details
        handler = await continuation(details)
        service, _, method = details.method.rpartition("/")
        if handler is None:
            return None
        metadata_bytes = _size_of(details.invocation_metadata)
        if metadata_bytes > METADATA_BYTES_MAX:
            why = f"the metadata has {metadata_bytes} bytes"
            wanted = f"at most {METADATA_BYTES_MAX} are allowed"
            return self._refusing(Call(method), errors.FieldInvalid(why, field="metadata", wanted=wanted))
        metadata = dict(metadata_of(details.invocation_metadata))
        if service not in _OURS or method in _OPEN:  # health and reflection tell nothing that needs a key
            language = language_of(metadata.get("accept-language", ""))
            return self._open(Call(method, language), handler)
        self._came_s = monotonic()
        call = Call(
            method,
            language_of(metadata.get("accept-language", "")),
            trace=self._traces.begin(details.method, metadata),
            is_stream=handler.request_streaming,
        )
        try:
            await self._admit(call, metadata)
        except Exception as error:
            return self._refusing(call, error)
        current_call.set(call)
        return self._watched(call, handler)

    async def _admit(self, call: Call, metadata: dict[str, str]) -> None:
        if self._closed:
            raise errors.ShuttingDown("this gateway is shutting down")
        call.key = self._admission.identify(metadata)
        self._fullness.check(call.client.client_id)
        kind = _KIND_OF.get(call.method)
        if kind == "predictions":
            self._admission.shedder.check(call.client.client_id)  # the place is taken once the message is here
        if kind is not None:
            await self._admission.count(call, kind)

    def _refusing(self, call: Call, error: Exception) -> grpc.RpcMethodHandler[Any, Any]:
        """Answers with the error and reads nothing: to the wire every method is a stream."""

        async def refuse(_: object, context: _Context) -> None:
            await self._end(call, error, context)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _open(self, call: Call, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """What anybody may call is held by whoever its connection comes from; a stream for as long as it is open."""
        inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_stream
        take = taker_of(handler.request_deserializer)

        async def message(context: _Context) -> Any:
            host = _host_of(context.peer())
            self._fullness.check(host)
            source = _Messages(self._reading, self._taking, host, context, take)
            return await self._strangers.arrivals.message(host, source.only)

        async def messages(context: _Context) -> AsyncIterator[Any]:
            """Each is waited for as one alone is: of a message that never ends gRPC holds what came."""
            host = _host_of(context.peer())
            source = _Messages(self._reading, self._taking, host, context, take)
            while (request := await self._strangers.arrivals.message(host, source.next)) is not aio.EOF:
                yield request

        async def one(_: object, context: _Context) -> Any:
            try:
                request = await message(context)
            except errors.Refusal as refusal:
                await self._end(call, refusal, context)
                return None
            return await inner(request, context)

        async def many(_: object, context: _Context) -> None:
            try:
                async with self._strangers.streams.place(_host_of(context.peer()), last=_moment):
                    asked = messages(context) if handler.request_streaming else await message(context)
                    if not inspect.isasyncgenfunction(inner):
                        await inner(asked, context)
                        return
                    async for response in inner(asked, context):
                        await context.write(response)
            except errors.Overloaded as refusal:
                watch = call.method == "Watch"
                await self._end(call, errors.WatchesTaken.for_now(refusal.message) if watch else refusal, context)
            except errors.Refusal as refusal:
                await self._end(call, refusal, context)

        return _reading(many if handler.response_streaming else one, handler)

    def _watched(self, call: Call, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        inner: Any = handler.unary_unary or handler.stream_stream  # coroutine functions, both
        take = taker_of(handler.request_deserializer)

        async def watched(_: object, context: _Context) -> Any:
            source = _Messages(self._reading, self._taking, call.client.client_id, context, take)
            try:
                # Bound to no name: what is inside lets go of a message as soon as its photographs are taken out.
                if handler.request_streaming:
                    response = await inner(source, context)
                else:
                    response = await inner(await self._message(call, source), context)
            except asyncio.CancelledError:
                self.tell(call, grpc.StatusCode.CANCELLED)
                raise
            except aio.AbortError:
                raise
            except Exception as error:
                await self._admission.uncount(call, error)
                await self._end(call, error, context)
                return None  # to the wire no message follows a status that is not OK
            self.tell(call, grpc.StatusCode.OK)
            context.set_trailing_metadata((("x-request-id", call.request_id),))
            return response

        return _reading(watched, handler)

    async def _message(self, call: Call, source: _Messages) -> Any:
        """The one message of this call. Its key may have been revoked while it was on its way."""
        message = await self._admission.arrivals.message(call.client.client_id, source.only)
        call.key = keys.still_valid(call.owner, self._admission.policy.current.keys)
        return message

    async def _end(self, call: Call, error: Exception, context: _Context) -> None:
        """What `abort` does, which raises through the library: a quarter of what a refusal costs under overload. And
        the library keeps what it raised in a circle, with our frames and the photographs in them: gigabytes, until
        the garbage is collected."""
        held_s = self._admission.hold_s(call, error, context.peer())
        ending = self._ending(call, error)
        if held_s:
            error.__traceback__ = None  # its frames hold the photographs
            await asyncio.sleep(held_s)
        context.set_code(ending.code)
        context.set_details(ending.message)
        context.set_trailing_metadata(ending.trailing_metadata)

    def _ending(self, call: Call, error: Exception) -> _Ending:
        """Tell of the call that ends with this error, and what its caller gets."""
        status = self.status_of(call, error)
        code = errors.grpc_code(status.code)
        self.tell(call, code, reason=error.reason if isinstance(error, errors.Refusal) else words.REASON_INTERNAL)
        details = ("grpc-status-details-bin", status.SerializeToString())
        return _Ending(code, status.message, (details, ("x-request-id", call.request_id)))

    def status_of(self, call: Call, error: Exception) -> status_pb2.Status:
        """What the caller hears of an error. Logs the ones that are ours, once."""
        if isinstance(error, errors.Refusal):
            text = words_for(error.reason, call.language)
            return errors.status_of(
                error, request_id=call.request_id, language=call.language, text=f"{text.message} {text.advice}"
            )
        _log.error("internal_error", request_id=call.request_id, method=call.method, exc_info=error)
        return errors.internal_status(call.request_id)

    def tell(self, call: Call, code: grpc.StatusCode, *, reason: words.Reason.ValueType | None = None) -> None:
        """One log line, one count and the end of its trace for a call, a stream, or one request of a stream."""
        took_s = monotonic() - call.began_s
        name = "" if reason is None else words.Reason.Name(reason)
        if call.is_stream:
            self._metrics.streams_ended.labels(code.name, name).inc()
        else:
            self._metrics.calls.labels(call.method, code.name, name).inc()
            self._metrics.call_seconds.labels(call.method).observe(took_s)
        _log.info(
            "call",
            method=call.method,
            request_id=call.request_id,
            client_id=call.key.client.client_id if call.key else "",
            code=code.name,
            reason=name,
            took_ms=round(took_s * 1000, 1),
            **({"trace_id": call.trace.trace_id} if call.trace.trace_id else {}),
            **call.facts,
        )
        call.trace.end(code, name, {"request_id": call.request_id, **call.facts})


class _Messages:
    """Those of a call. A generator would hold each until the next one comes, which may take days."""

    def __init__(
        self, reading: Reading, taking: Taking, owner: str, context: _Context, take: Callable[[bytes], Any]
    ) -> None:
        self._reading, self._taking = reading, taking
        self._owner, self._context, self._take = owner, context, take

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        message = await self.next()
        if message is aio.EOF:
            raise StopAsyncIteration
        return message

    async def next(self) -> Any:
        """aio.EOF: there is none. Raises FieldInvalid."""
        content = await self._reading.next(self._owner, self._context)
        if content is aio.EOF:
            return content
        try:
            return await self._taking.taken(self._take, content)
        except errors.Refusal as refusal:
            del content  # its frames and this one hold the message, and a group of tasks holds them
            raise refusal.with_traceback(None) from None

    async def only(self) -> Any:
        """Raises FieldInvalid when the call ends without one."""
        message = await self.next()
        if message is aio.EOF:
            raise errors.FieldInvalid("the call ended without a message", wanted="send one")
        return message


def _reading(
    serve: Callable[[object, _Context], Awaitable[Any]], like: grpc.RpcMethodHandler[Any, Any]
) -> grpc.RpcMethodHandler[Any, Any]:
    """This handler's method, served by what reads its messages itself, as bytes."""
    kind = grpc.stream_stream_rpc_method_handler if like.response_streaming else grpc.stream_unary_rpc_method_handler
    return kind(serve, response_serializer=like.response_serializer)


def _size_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> int:
    return sum(len(name) + len(value) + _FIELD_BYTES for name, value in metadata or ())


async def _moment() -> None:
    """A watch hears of the gateway's end by itself, as a status: it is given the time to read it."""
    await asyncio.sleep(0.2)


def _host_of(peer: str) -> str:
    """A connection's far end without its port: "ipv4:10.0.0.7:51012" is "ipv4:10.0.0.7"."""
    return peer.rpartition(":")[0] or peer

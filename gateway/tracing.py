"""Traces: one span a call, with the stages of its answer below it, sent to a collector over OTLP.

What TorchServe's handler did stands below "inference", as a service of its own: the handler says
with its answer when it did what, and we draw it, so that TorchServe needs no OpenTelemetry.

A caller that sends `traceparent` (W3C Trace Context) finds the call below its own span; whether
a call without one is traced is drawn. A span says what the log line says and no more: no key,
no subject, no text of the caller's. Sending happens in a thread of OpenTelemetry's, in batches,
and what a collector does not take is dropped: nobody waits for a trace.

OpenTelemetry is imported where a collector is named, and costs nothing elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc

from gateway.serving.torchserve import HandlerSteps
from protos.amulet.v1 import prediction_pb2 as pb

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_SEND_S_MAX: Final = 5
_NS: Final = 1_000_000_000
# Faults of ours, by the conventions for gRPC servers; another code is the caller's affair, and no error of the span.
_OUR_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class _Tracers(NamedTuple):
    """One for each service that we draw the spans of."""

    gateway: Tracer
    torchserve: Tracer


class Trace:
    """One call, or one request of a stream, as the collector will see it."""

    __slots__ = ("_began_ns", "_began_s", "_span", "_tracers")

    def __init__(self, tracers: _Tracers | None, span: Span | None, began_ns: int = 0) -> None:
        """span: that begins now; began_ns: its begin by the wall clock, as it says it."""
        self._tracers, self._span = tracers, span
        self._began_ns, self._began_s = began_ns, time.monotonic()

    @property
    def trace_id(self) -> str:
        """32 hex digits for the log line; empty where nothing is traced."""
        return "" if self._span is None else f"{self._span.get_span_context().trace_id:032x}"

    @property
    def traceparent(self) -> str:
        """What goes on below this call, in another process, names it by (W3C Trace Context); empty: nothing does."""
        if self._span is None or not self._span.is_recording():
            return ""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def below(self, method: str) -> Trace:
        """The trace of one request of this stream."""
        if self._tracers is None or self._span is None:
            return NO_TRACE
        from opentelemetry.trace import set_span_in_context

        began_ns = time.time_ns()
        span = self._tracers.gateway.start_span(method, set_span_in_context(self._span), start_time=began_ns)
        return Trace(self._tracers, span, began_ns)

    def _now_ns(self) -> int:
        """As long after the begin as passed since: no call ends before it began, whoever sets the wall clock."""
        return self._began_ns + round((time.monotonic() - self._began_s) * _NS)

    def answered(self, response: pb.PredictResponse, steps: HandlerSteps | None) -> None:
        """Draw the stages of an answer that was made just now. steps: of the handler that had a part in it."""
        if self._tracers is None or self._span is None or not self._span.is_recording():
            return
        from opentelemetry.trace import set_span_in_context

        ended_ns = self._now_ns()
        timings = response.timings
        began_ns = ended_ns - timings.total.ToNanoseconds()
        decoded_ns = began_ns + timings.decode.ToNanoseconds()
        inferred_ns = decoded_ns + timings.inference.ToNanoseconds()
        context = set_span_in_context(self._span)
        for name, from_ns, to_ns in (
            ("decode", began_ns, decoded_ns),
            ("inference", decoded_ns, inferred_ns),
            ("journal", ended_ns - timings.journal.ToNanoseconds(), ended_ns),
        ):
            span = self._tracers.gateway.start_span(name, context, start_time=from_ns)
            if name == "inference" and steps is not None:
                _draw_handler(self._tracers.torchserve, span, steps, from_ns=from_ns, to_ns=to_ns)
            span.end(to_ns)

    def end(self, code: grpc.StatusCode, reason: str, facts: Mapping[str, str | float | int]) -> None:
        """facts: those of the log line."""
        if self._span is None:
            return
        if self._span.is_recording():
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("rpc.grpc.status_code", code.value[0])
            if reason:
                self._span.set_attribute("amulet.reason", reason)
            self._span.set_attributes({f"amulet.{name}": value for name, value in facts.items()})
            if code in _OUR_FAULTS:
                self._span.set_status(StatusCode.ERROR)
        self._span.end(self._now_ns())


NO_TRACE: Final = Trace(None, None)


def _draw_handler(tracer: Tracer, above: Span, steps: HandlerSteps, *, from_ns: int, to_ns: int) -> None:
    """The handler's work within the time in which we waited for it, whatever its machine's clock says."""
    from opentelemetry.trace import set_span_in_context

    latest_ns = to_ns - round(steps.answered_s * _NS)
    began_ns = max(from_ns, min(steps.began_unix_ns, latest_ns))

    def at(offset_s: float) -> int:
        return min(to_ns, began_ns + round(offset_s * _NS))

    handler = tracer.start_span("handler", set_span_in_context(above), start_time=began_ns)
    context = set_span_in_context(handler)
    for name, begins_s, ends_s in (
        ("prepare", 0.0, steps.prepared_s),
        ("graph", steps.graph_from_s, steps.graph_to_s),
        ("answer", steps.graph_to_s, steps.answered_s),
    ):
        tracer.start_span(name, context, start_time=at(begins_s)).end(at(ends_s))
    handler.end(at(steps.answered_s))


class Traces:
    """Begins the trace of every call. Close it: what is not sent yet is sent then."""

    def __init__(self, endpoint: str, *, ratio: float, gateway_id: str) -> None:
        """endpoint: http:// or https:// and HOST:PORT of a collector (OTLP over gRPC); empty: nothing is traced.

        ratio: share of the calls without a `traceparent` that are traced, 0 to 1.
        """
        self._providers: tuple[TracerProvider, ...] = ()
        if not endpoint:
            return
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        exporter = OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=_SEND_S_MAX)
        sending = BatchSpanProcessor(exporter)

        def provider(service: str) -> TracerProvider:
            made = TracerProvider(
                sampler=ParentBased(TraceIdRatioBased(ratio)),
                resource=Resource({"service.name": service, "service.instance.id": gateway_id}),
                shutdown_on_exit=False,  # `close` does it
            )
            made.add_span_processor(sending)
            return made

        gateway, torchserve = provider("amulet-gateway"), provider("amulet-torchserve")
        self._providers = (gateway, torchserve)
        self._tracers = _Tracers(gateway.get_tracer("amulet.gateway"), torchserve.get_tracer("amulet.gateway"))
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, method: str, metadata: Mapping[str, str]) -> Trace:
        """method: as gRPC names it, "/amulet.v1.PredictionService/Predict"."""
        if not self._providers:
            return NO_TRACE
        from opentelemetry.trace import SpanKind

        service, _, name = method.removeprefix("/").rpartition("/")
        attributes: Mapping[str, Any] = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        began_ns = time.time_ns()
        span = self._tracers.gateway.start_span(
            f"{service}/{name}",
            self._propagator.extract({"traceparent": metadata.get("traceparent", "")}),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=began_ns,
        )
        return Trace(self._tracers, span, began_ns)

    async def close(self) -> None:
        for provider in self._providers:
            await asyncio.to_thread(provider.shutdown)

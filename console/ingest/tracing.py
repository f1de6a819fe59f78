"""What a collector is told of an event: that it was applied, below the call that it comes from.

The gateway sends the call's `traceparent` along with the event where the call is traced, so the
console draws nothing by itself: without one there is no span. A span names the event and its
prediction and nothing else. OpenTelemetry is imported where a collector is named, and costs
nothing elsewhere; it sends in a thread of its own, and nobody waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.conf import settings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_SEND_S_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Traced:
    """An event that came of a traced call."""

    traceparent: str  # of the call, as W3C Trace Context writes it
    event_id: UUID
    prediction_id: UUID


def trace_id_of(traceparent: str) -> str:
    """32 hex digits; empty where nothing is traced."""
    return traceparent[3:35]


def tell(traced: Sequence[Traced], *, from_ns: int, from_s: float) -> None:
    """One span for each event: applied, with its batch, from then until now.

    from_ns: nanoseconds since 1970; from_s: the same moment on the monotonic clock.
    """
    endpoint = settings.AMULET.otlp_endpoint
    if not endpoint:
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer, propagator = _tracer(endpoint), TraceContextTextMapPropagator()
    to_ns = from_ns + round((time.monotonic() - from_s) * 1e9)
    for each in traced:
        tracer.start_span(
            "ingest",
            propagator.extract({"traceparent": each.traceparent}),
            kind=SpanKind.CONSUMER,
            attributes={"amulet.event_id": str(each.event_id), "amulet.prediction_id": str(each.prediction_id)},
            start_time=from_ns,
        ).end(to_ns)


@cache
def _tracer(endpoint: str) -> Tracer:
    """Of this process, made by whoever needs it first: its thread would not live through a fork."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=Resource({"service.name": "amulet-console"}))
    exporter = OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=_SEND_S_MAX)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider.get_tracer("amulet.console")

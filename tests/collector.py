"""A collector for tests: a real server that speaks OTLP over gRPC and keeps what it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(otlp_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.requests: list[otlp.ExportTraceServiceRequest] = []

    def Export(  # noqa: N802  # the name of the RPC
        self, request: otlp.ExportTraceServiceRequest, context: Any
    ) -> otlp.ExportTraceServiceResponse:
        self.requests.append(request)
        return otlp.ExportTraceServiceResponse()

    @property
    def spans_of(self) -> dict[str, list[Span]]:
        """Service -> its spans, in the order in which they came."""
        found: dict[str, list[Span]] = {}
        for of in [each for request in self.requests for each in request.resource_spans]:
            service = next(each.value.string_value for each in of.resource.attributes if each.key == "service.name")
            found.setdefault(service, []).extend(span for scope in of.scope_spans for span in scope.spans)
        return found

    def spans_of_trace(self, trace_id: str) -> dict[str, list[Span]]:
        """The same of one trace, by its id in hexadecimal digits."""
        of = {
            service: [each for each in spans if each.trace_id.hex() == trace_id]
            for service, spans in self.spans_of.items()
        }
        return {service: spans for service, spans in of.items() if spans}

    @property
    def sent(self) -> bytes:
        """Everything, as it came: what must not be told is looked for here."""
        return b"".join(request.SerializeToString() for request in self.requests)

    @property
    def spans(self) -> list[Span]:
        scopes = [scope for request in self.requests for of in request.resource_spans for scope in of.scope_spans]
        return [span for scope in scopes for span in scope.spans]


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(1))
    otlp_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def facts(span: Span) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}

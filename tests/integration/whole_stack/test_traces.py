"""One call seen by a collector: its caller, the gateway, TorchServe's handler and the console, in one trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from amulet_client import Client, View
from tests import tiny_archive
from tests.collector import facts
from tests.integration.whole_stack.conftest import Traced
from tests.stack import until

pytestmark = pytest.mark.stack
CALL: Final = "amulet.v1.PredictionService/Predict"
# Span -> the one above it.
BELOW_THE_CALL: Final = {
    **dict.fromkeys(("decode", "inference", "journal", "ingest"), CALL),
    "handler": "inference",
    **dict.fromkeys(("prepare", "graph", "answer"), "handler"),
}
PSEUDONYM, CONSENT, REQUEST = "khun-lek-0815", "consent-form-4711", "the-caller-s-own-id"


def names_in(spans: Mapping[str, Sequence[Span]]) -> set[str]:
    """spans: of each program."""
    return {span.name for of in spans.values() for span in of}


def test_a_call_is_one_trace_through_its_caller_the_gateway_torchserve_and_the_console(traced: Traced) -> None:
    stack, collector = traced.stack, traced.collector
    stack.key = stack.key or stack.new_key("traced")
    caller = TracerProvider(resource=Resource({"service.name": "a-shop"}))
    caller.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(traced.endpoint, insecure=True)))
    tracer = caller.get_tracer("a shop")
    photo = tiny_archive.photo_of("red", side_px=256)
    with Client(stack.layout.gateway_address, api_key=stack.key, ca_file=stack.layout.tls / "ca.pem") as client:
        with tracer.start_as_current_span("what is this?") as asking:
            answer = client.predict([View(photo)], request_id=REQUEST, subject=PSEUDONYM, consent=CONSENT, keep=True)
        client.predict([View(photo)])  # nobody asked for its trace
        with tracer.start_as_current_span("and this?") as later:
            client.predict([View(photo)])
    caller.shutdown()
    trace_id, later_id = (trace.format_trace_id(span.get_span_context().trace_id) for span in (asking, later))
    for each in (trace_id, later_id):  # spans of what came between would have come with the later ones
        # Each program tells of itself when it likes.
        until(lambda each=each: names_in(collector.spans_of_trace(each)) >= {CALL, *BELOW_THE_CALL})  # type: ignore[misc]  # bound

    spans = collector.spans_of_trace(trace_id)
    assert set(spans) == {"a-shop", "amulet-gateway", "amulet-torchserve", "amulet-console"}
    own = [span for service, of in collector.spans_of.items() if service != "amulet-console" for span in of]
    begun = {span.trace_id.hex() for span in own if span.start_time_unix_nano >= (asking.start_time or 0)}  # type: ignore[attr-defined]  # of the SDK
    assert begun == {trace_id, later_id}
    parents = {span.span_id: span for of in spans.values() for span in of}
    above = {span.name: parents[span.parent_span_id].name for span in parents.values() if span.parent_span_id}
    assert above == {CALL: "what is this?", **BELOW_THE_CALL}
    for span in spans["amulet-torchserve"]:
        within = parents[span.parent_span_id]
        assert within.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= within.end_time_unix_nano
    [ingest] = spans["amulet-console"]
    assert facts(ingest)["amulet.prediction_id"] == answer.prediction_id
    for secret in (PSEUDONYM, CONSENT, REQUEST, stack.key):
        assert secret.encode() not in collector.sent
    assert photo[100:164] not in collector.sent

    found = stack.console("auditor").call("GET", f"predictions/{answer.prediction_id}/")
    assert found["detail"]["trace_id"] == trace_id

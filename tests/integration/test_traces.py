"""One call seen by a collector: its caller, the gateway, TorchServe's handler and the console, in one trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from amulet_client import Client, View
from model_store import signing
from tests import tiny_archive
from tests.collector import Collector, collecting, facts
from tests.stack import Stack, until

pytestmark = pytest.mark.stack
PSEUDONYM, CONSENT, REQUEST = "khun-lek-0815", "consent-form-4711", "the-caller-s-own-id"


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    with collecting() as (collector, endpoint):
        yield collector, endpoint


@pytest.fixture
def stack(tmp_path: Path, collector: tuple[Collector, str]) -> Iterator[Stack]:
    signing.generate_key(tmp_path / "release.key")
    archive = tmp_path / "tiny.mar"
    tiny_archive.write_archive(tmp_path / "run", archive, key=tmp_path / "release.key")
    variables = {"AMULET_OTLP_ENDPOINT": collector[1], "AMULET_TRACES_RATIO": "0"}
    running = Stack.start(tmp_path / "state", variables=variables)
    try:
        running.trust(tmp_path / "release.key.pub")
        running.serve(archive)
        running.key = running.new_key("traced")
        yield running
    finally:
        running.stop()


def test_a_call_is_one_trace_through_its_caller_the_gateway_torchserve_and_the_console(
    stack: Stack, collector: tuple[Collector, str]
) -> None:
    caller = TracerProvider(resource=Resource({"service.name": "a-shop"}))
    caller.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(collector[1], insecure=True)))
    tracer = caller.get_tracer("a shop")
    photo = tiny_archive.photo_of("red", side_px=256)
    with Client(stack.layout.gateway_address, api_key=stack.key, ca_file=stack.layout.tls / "ca.pem") as client:
        with tracer.start_as_current_span("what is this?") as asking:
            answer = client.predict([View(photo)], request_id=REQUEST, subject=PSEUDONYM, consent=CONSENT, keep=True)
        client.predict([View(photo)])  # nobody asked for its trace
    caller.shutdown()
    until(lambda: "amulet-console" in collector[0].spans_of)
    trace_id = trace.format_trace_id(asking.get_span_context().trace_id)

    spans = collector[0].spans_of
    assert set(spans) == {"a-shop", "amulet-gateway", "amulet-torchserve", "amulet-console"}
    assert {span.trace_id.hex() for of in spans.values() for span in of} == {trace_id}
    parents = {span.span_id: span for of in spans.values() for span in of}
    above = {span.name: parents[span.parent_span_id].name for span in parents.values() if span.parent_span_id}
    call = "amulet.v1.PredictionService/Predict"
    assert above == {
        call: "what is this?",
        **dict.fromkeys(("decode", "inference", "journal", "ingest"), call),
        "handler": "inference",
        **dict.fromkeys(("prepare", "graph", "answer"), "handler"),
    }
    for span in spans["amulet-torchserve"]:
        within = parents[span.parent_span_id]
        assert within.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= within.end_time_unix_nano
    [ingest] = spans["amulet-console"]
    assert facts(ingest)["amulet.prediction_id"] == answer.prediction_id
    for secret in (PSEUDONYM, CONSENT, REQUEST, stack.key):
        assert secret.encode() not in collector[0].sent
    assert photo[100:164] not in collector[0].sent

    found = stack.console("auditor").call("GET", f"predictions/{answer.prediction_id}/")
    assert found["detail"]["trace_id"] == trace_id

"""What a collector is told of a call: a real one, that speaks OTLP over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway.settings import SettingsWrong, read_settings
from protos.amulet.v1 import prediction_pb2 as pb
from tests.unit.gateway.cast import SOMCHAI, photo, policy, refusal_of, running_gateway

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Collector(otlp_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.requests: list[otlp.ExportTraceServiceRequest] = []

    def Export(  # noqa: N802  # the name of the RPC
        self, request: otlp.ExportTraceServiceRequest, context: Any
    ) -> otlp.ExportTraceServiceResponse:
        self.requests.append(request)
        return otlp.ExportTraceServiceResponse()

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


def asked_by(trace: str, *, sampled: bool = True) -> tuple[tuple[str, str], ...]:
    return (*SOMCHAI.metadata, ("traceparent", f"00-{trace}-{CALLER}-{sampled:02d}"))


def facts(span: Span) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


async def test_a_call_stands_below_its_caller_and_its_stages_below_it(tmp_path: Path) -> None:
    with collecting() as (collector, endpoint):
        async with running_gateway(tmp_path, policy=policy(), otlp_endpoint=endpoint, traces_ratio=0.0) as gateway:
            response = await gateway.predict(
                photo(), metadata=asked_by(TRACE), subject=pb.Subject(pseudonym="khun-lek-0815")
            )
            await gateway.predict(photo())  # not traced: nobody asked for it

        spans = {span.name: span for span in collector.spans}
    assert len(collector.spans) == len(spans)
    call = spans.pop("amulet.v1.PredictionService/Predict")
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, CALLER)
    told = facts(call)
    assert told["rpc.grpc.status_code"] == 0
    assert told["amulet.prediction_id"] == response.prediction_id
    assert told["amulet.verdict"] == "VERDICT_IN_DOMAIN"
    assert list(spans) == ["decode", "inference", "journal"]
    for stage in spans.values():
        assert (stage.trace_id, stage.parent_span_id) == (call.trace_id, call.span_id)
        assert call.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= call.end_time_unix_nano
    sent = b"".join(request.SerializeToString() for request in collector.requests)
    assert b"khun-lek-0815" not in sent
    assert SOMCHAI.text.encode() not in sent


async def test_each_request_of_a_stream_has_its_span_and_a_refusal_its_reason(tmp_path: Path) -> None:
    async def requests() -> AsyncIterator[pb.PredictRequest]:
        for content in (photo(), b"no photograph"):
            yield pb.PredictRequest(views=[pb.View(photo=content)])

    with collecting() as (collector, endpoint):
        async with running_gateway(tmp_path, policy=policy(), otlp_endpoint=endpoint) as gateway:
            results = [each async for each in gateway.stub.PredictStream(requests(), metadata=asked_by(TRACE))]
            await refusal_of(gateway.predict(photo(), metadata=(("x-api-key", "amk_wrong"),)))

        spans = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    assert len(results) == 2
    (stream,) = [span for span in spans if span.name.endswith("/PredictStream")]
    of_requests = [span for span in spans if span.name == "request"]
    assert {span.parent_span_id for span in of_requests} == {stream.span_id}
    reasons = {facts(span).get("amulet.reason", "") for span in of_requests}
    assert reasons == {"", "REASON_PHOTO_FORMAT_NOT_ALLOWED"}
    assert all(span.status.code != Status.STATUS_CODE_ERROR for span in spans)  # a bad photograph is no fault of ours


async def test_a_caller_who_traces_nothing_is_not_traced_and_a_strange_parent_is_none(tmp_path: Path) -> None:
    with collecting() as (collector, endpoint):
        async with running_gateway(tmp_path, policy=policy(), otlp_endpoint=endpoint, traces_ratio=1.0) as gateway:
            await gateway.predict(photo(), metadata=asked_by(TRACE, sampled=False))
            await gateway.predict(photo(), metadata=(*SOMCHAI.metadata, ("traceparent", "nonsense")))

    calls = [span for span in collector.spans if span.name.endswith("/Predict")]
    assert len(calls) == 1
    assert not calls[0].parent_span_id


async def test_a_collector_that_is_away_costs_no_call_anything(tmp_path: Path) -> None:
    async with running_gateway(
        tmp_path, policy=policy(), otlp_endpoint="http://127.0.0.1:9", traces_ratio=1.0
    ) as gateway:
        answers = await asyncio.gather(*(gateway.predict(photo(seed=seed)) for seed in range(4)))

    assert len({answer.prediction_id for answer in answers}) == 4


@pytest.mark.parametrize("wrong", ["127.0.0.1:4317", "http://collector", "ftp://collector:21"])
def test_an_endpoint_without_scheme_or_port_is_told(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    environment = {"AMULET_INSECURE": "1", "AMULET_OTLP_ENDPOINT": wrong}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsWrong, match="AMULET_OTLP_ENDPOINT"):
        read_settings(environment)

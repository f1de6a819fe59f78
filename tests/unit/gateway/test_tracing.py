"""What a collector is told of a call: a real one, that speaks OTLP over gRPC."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway import tracing
from gateway.serving.torchserve import HandlerSteps
from gateway.settings import SettingsWrong, read_settings
from gateway.tracing import Traces
from protos.amulet.v1 import prediction_pb2 as pb
from tests.collector import collecting, facts
from tests.unit.gateway.cast import SOMCHAI, photo, policy, refusal_of, running_gateway

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture(scope="module", autouse=True)
def _no_tracer_is_left() -> Iterator[None]:
    """One that is, starts threads in whatever another test of this process forks (decision 0311)."""
    yield
    gc.collect()


def asked_by(trace: str, *, sampled: bool = True) -> tuple[tuple[str, str], ...]:
    return (*SOMCHAI.metadata, ("traceparent", f"00-{trace}-{CALLER}-{sampled:02d}"))


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
    assert b"khun-lek-0815" not in collector.sent
    assert SOMCHAI.text.encode() not in collector.sent


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


async def test_a_call_during_which_the_clock_is_set_back_does_not_end_before_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead_s = [0]
    set_clock = SimpleNamespace(time_ns=lambda: time.time_ns() + ahead_s[0] * 1_000_000_000, monotonic=time.monotonic)
    monkeypatch.setattr(tracing, "time", set_clock)
    answer = pb.PredictResponse()
    answer.timings.total.FromMilliseconds(1)
    with collecting() as (collector, endpoint):
        traces = Traces(endpoint, ratio=1.0, gateway_id="g")
        for ahead_s[0], later_s in ((0, -86_400), (0, 86_400)):
            trace = traces.begin("/amulet.v1.PredictionService/Predict", {})
            below = trace.below("request")
            ahead_s[0] = later_s
            below.answered(answer, None)
            below.end(grpc.StatusCode.OK, "", {})
            trace.end(grpc.StatusCode.OK, "", {})
        await traces.close()

    took_s = [(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 for span in collector.spans]
    assert len(took_s) == 10
    assert 0 <= min(took_s) <= max(took_s) < 60
    begins_s = [span.start_time_unix_nano / 1e9 for span in collector.spans]
    assert max(begins_s) - min(begins_s) < 60


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


@pytest.mark.parametrize("off_ns", [-(10**15), -4_000_000, 0, 10**15])
async def test_a_handler_stands_within_the_inference_whatever_its_clock_says(off_ns: int) -> None:
    timings = {"total": 0.1, "decode": 0.01, "inference": 0.05, "journal": 0.01}
    response = pb.PredictResponse()
    for name, took_s in timings.items():
        getattr(response.timings, name).FromNanoseconds(round(took_s * 1e9))
    steps = HandlerSteps(time.time_ns() - 80_000_000 + off_ns, 0.001, 0.002, 0.018, 0.02)
    with collecting() as (collector, endpoint):
        traces = Traces(endpoint, ratio=1.0, gateway_id="here")
        trace = traces.begin("/amulet.v1.PredictionService/Predict", {})
        trace.answered(response, steps)
        trace.answered(response, None)  # a handler that is older than its steps
        trace.end(grpc.StatusCode.OK, "", {})
        await traces.close()

    of_handler = {span.name: span for span in collector.spans_of["amulet-torchserve"]}
    assert sorted(of_handler) == ["answer", "graph", "handler", "prepare"]
    handler = of_handler["handler"]
    inference = next(span for span in collector.spans if span.span_id == handler.parent_span_id)
    assert inference.name == "inference"
    for span, within in (
        (handler, inference),
        *((of_handler[name], handler) for name in ("prepare", "graph", "answer")),
    ):
        assert span.parent_span_id == within.span_id
        assert within.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= within.end_time_unix_nano
    assert took_ns(handler) == pytest.approx(20_000_000, abs=1000)
    assert took_ns(of_handler["graph"]) == pytest.approx(16_000_000, abs=1000)


def took_ns(span: Span) -> int:
    return span.end_time_unix_nano - span.start_time_unix_nano


@pytest.mark.parametrize("wrong", ["127.0.0.1:4317", "http://collector", "ftp://collector:21"])
def test_an_endpoint_without_scheme_or_port_is_told(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    environment = {"AMULET_INSECURE": "1", "AMULET_OTLP_ENDPOINT": wrong}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsWrong, match="AMULET_OTLP_ENDPOINT"):
        read_settings(environment)

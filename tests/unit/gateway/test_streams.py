"""Bulk work: many requests on one stream, answered as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import pytest
from google.rpc import code_pb2
from grpc import aio

from gateway.admission.spacing import APART_S
from gateway.service import STREAM_REQUESTS_MAX
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.gateway.cast import (
    SOMCHAI,
    Gateway,
    client,
    kept_revision,
    photo,
    policy,
    refused,
    running_gateway,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def request(request_id: str, content: bytes | None = None) -> pb.PredictRequest:
    return pb.PredictRequest(request_id=request_id, views=[pb.View(photo=photo() if content is None else content)])


async def results(gateway: Gateway, requests: Iterable[pb.PredictRequest]) -> dict[str, pb.StreamResult]:
    stream = gateway.stub.PredictStream(iter(list(requests)), metadata=SOMCHAI.metadata)
    return {result.request_id: result async for result in stream}


async def test_every_request_is_answered_under_its_own_id(gateway: Gateway) -> None:
    colours = {f"{colour}-{seed}": photo(colour, seed=seed) for colour in ("red", "green", "blue") for seed in range(7)}

    found = await results(gateway, (request(name, content) for name, content in colours.items()))

    assert found.keys() == colours.keys()
    for name, result in found.items():
        assert result.response.candidates[0].class_id == name.partition("-")[0]
        await gateway.event_of(result.response)


async def test_a_refused_request_does_not_end_the_stream(gateway: Gateway) -> None:
    found = await results(gateway, [request("bad", b"%PDF"), request("good"), pb.PredictRequest(request_id="none")])

    assert found["good"].response.prediction_id
    assert (found["bad"].error.code, found["bad"].error.reason, found["bad"].error.field) == (
        code_pb2.INVALID_ARGUMENT,
        words.REASON_PHOTO_FORMAT_NOT_ALLOWED,
        "views[0].photo",
    )
    assert found["none"].error.reason == words.REASON_PHOTO_MISSING


async def test_our_own_fault_ends_one_request_alone(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    answering = gateway.graph.predict

    async def broken_once(*arguments: object, **named: object) -> object:
        monkeypatch.setattr(gateway.graph, "predict", answering)
        raise RuntimeError("secret internals")

    monkeypatch.setattr(gateway.graph, "predict", broken_once)

    found = await results(gateway, (request(f"r-{number}") for number in range(3)))

    (error,) = [result.error for result in found.values() if result.HasField("error")]
    assert (error.code, error.reason) == (code_pb2.INTERNAL, words.REASON_INTERNAL)
    assert "secret" not in error.message


async def test_each_request_counts_against_the_limit(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(clients=[client(calls_per_minute=5)])) as gateway:
        found = await results(gateway, (request(f"r-{number}") for number in range(8)))

    refusals = [result.error for result in found.values() if result.HasField("error")]
    assert len(refusals) == 3
    assert {error.reason for error in refusals} == {words.REASON_RATE_LIMITED}
    assert all(0 < error.retry_after.ToNanoseconds() <= 60e9 for error in refusals)


async def test_a_stream_of_refused_requests_goes_at_the_pace_of_refusals(tmp_path: Path) -> None:
    requests = [request(f"r-{number}") for number in range(3 * STREAM_REQUESTS_MAX + 1)]
    async with running_gateway(tmp_path, policy=policy(clients=[client(calls_per_minute=1)])) as gateway:
        began_s = time.monotonic()
        found = await results(gateway, requests)
        took_s = time.monotonic() - began_s

    assert sum(result.HasField("error") for result in found.values()) == len(requests) - 1
    assert took_s >= 1.9 * APART_S


class Slowly:
    """A stream whose requests the test sends one by one."""

    def __init__(self, gateway: Gateway) -> None:
        self._call = gateway.stub.PredictStream(metadata=SOMCHAI.metadata)

    async def send(self, message: pb.PredictRequest) -> None:
        await self._call.write(message)

    async def read(self) -> pb.StreamResult:
        answer = await self._call.read()
        assert isinstance(answer, pb.StreamResult), "the stream has ended"
        return answer

    async def end(self) -> aio.AioRpcError:
        """The error that the stream ends with."""
        try:
            while await self._call.read() is not aio.EOF:
                pass
        except aio.AioRpcError as error:
            return error
        raise AssertionError("the stream ended well")

    def cancel(self) -> None:
        self._call.cancel()


async def test_a_revoked_key_ends_an_open_stream_at_its_next_request(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        stream = Slowly(gateway)
        await stream.send(request("before"))
        assert (await stream.read()).request_id == "before"
        gateway.console.issue(policy(revision=2, clients=[client(revoked=True)]))
        await until(lambda: kept_revision(gateway) == 2, what="the new policy is in force")

        await stream.send(request("after"))
        found = refused(await stream.end())

    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, words.REASON_KEY_REVOKED)


async def test_a_stream_whose_key_nobody_looks_at_again_goes_on_and_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the test above."""
    monkeypatch.setattr("gateway.service.still_valid", lambda key, _: key)
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        stream = Slowly(gateway)
        await stream.send(request("before"))
        assert (await stream.read()).request_id == "before"
        gateway.console.issue(policy(revision=2, clients=[client(revoked=True)]))
        await until(lambda: kept_revision(gateway) == 2, what="the new policy is in force")

        await stream.send(request("after"))
        assert (await stream.read()).request_id == "after"
        stream.cancel()


async def test_a_caller_that_does_not_read_is_not_read_from(gateway: Gateway) -> None:
    sent = 0

    async def endless() -> AsyncIterator[pb.PredictRequest]:
        nonlocal sent
        while True:
            sent += 1
            yield request(f"r-{sent}", photo(side_px=64))

    gateway.graph.hold()
    stream = gateway.stub.PredictStream(endless(), metadata=SOMCHAI.metadata)
    await until(lambda: len(gateway.graph.versions_asked) >= STREAM_REQUESTS_MAX, what="the stream is worked on")
    for _ in range(20):  # time enough for the gateway to read on, if it did
        await gateway.page("/healthz")

    assert len(gateway.graph.versions_asked) == STREAM_REQUESTS_MAX
    stream.cancel()


async def test_a_caller_killed_in_mid_stream_leaves_nothing_behind(gateway: Gateway) -> None:
    gateway.graph.hold()
    stream = Slowly(gateway)
    for number in range(4):
        await stream.send(request(f"r-{number}"))
    await until(lambda: len(gateway.graph.versions_asked) == 4, what="the requests are worked on")

    stream.cancel()

    gateway.graph.renew()
    assert await gateway.predict(photo())

    async def idle() -> bool:
        return await gateway.metric("amulet_calls_in_flight") == 0

    await until(idle, what="the places are given back")


async def test_a_stream_that_is_open_at_the_end_gets_its_answers_and_a_reason(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        gateway.graph.hold()
        stream = Slowly(gateway)
        await stream.send(request("begun"))
        await until(lambda: bool(gateway.graph.versions_asked), what="the request is worked on")

        gateway.stop.set()
        gateway.graph.release()

        assert (await stream.read()).response.candidates[0].class_id == "red"
        found = refused(await stream.end())
        async with asyncio.timeout(30):
            await gateway.task

    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_SHUTTING_DOWN)

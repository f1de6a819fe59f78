"""Calls under a key whose sync outlasts their deadline: what became durable is found, what did not frees its key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.gateway.cast import SOMCHAI, Gateway, client, photo, policy, refusal_of, running_gateway, until
from tests.unit.gateway.journal.disk import held_disk
from tests.unit.gateway.test_service import feedback_on

pytestmark = pytest.mark.asyncio(loop_scope="module")
IN_TIME_S = 3.0  # a deadline that an answer reaches its sync in, on a busy machine as well


async def test_an_answer_whose_sync_outlasts_the_deadline_is_found_under_its_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        await gateway.predict(photo())
        with held_disk() as disk:
            found = await refusal_of(gateway.predict(photo(), idempotency_key="late", deadline_s=IN_TIME_S))
            assert disk.asked.is_set()
            again = asyncio.create_task(gateway.predict(photo(), idempotency_key="late"))
            await until(lambda: calls_inside(gateway, 2), what="the second call is here while the first one waits")
            disk.go_on()
            answer = await again
        await gateway.event_of(answer)
        await gateway.event_of(await gateway.predict(photo("blue")))  # events arrive in order
        keyed = [one for one in gateway.console.events() if one.prediction.idempotency_key_digest]

    assert (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, words.REASON_DEADLINE_EXCEEDED)
    assert answer.replayed
    assert len(keyed) == 1


async def test_an_answer_whose_late_sync_fails_leaves_its_key_free(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        await gateway.predict(photo())
        with held_disk() as disk:
            await refusal_of(gateway.predict(photo(), idempotency_key="late", deadline_s=IN_TIME_S))
            assert disk.asked.is_set()
            disk.go_on(failing=True)
            await until(lambda: admits_again(gateway), what="the journal has opened another segment")

        answer = await gateway.predict(photo(), idempotency_key="late")
        await gateway.event_of(answer)
        keyed = [one for one in gateway.console.events() if one.prediction.idempotency_key_digest]

    assert not answer.replayed
    assert len(keyed) == 1


async def test_a_gateway_that_stops_waits_for_the_sync_that_a_caller_did_not_wait_for(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        await gateway.predict(photo())
        with held_disk() as disk:
            await refusal_of(gateway.predict(photo(), idempotency_key="late", deadline_s=IN_TIME_S))
            assert disk.asked.is_set()
            gateway.stop.set()
            await until(lambda: is_gone(gateway), what="nobody is answered any more")
            assert not gateway.task.done()
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        answer = await gateway.predict(photo(), idempotency_key="late")

    assert answer.replayed


async def test_feedback_whose_sync_outlasts_the_deadline_leaves_one_event_for_its_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        answer = await gateway.predict(photo())
        with held_disk() as disk:
            call = gateway.stub.SubmitFeedback(feedback_on(answer), metadata=SOMCHAI.metadata, timeout=IN_TIME_S)
            found = await refusal_of(call)
            assert disk.asked.is_set()
        given = await gateway.stub.SubmitFeedback(feedback_on(answer), metadata=SOMCHAI.metadata)
        await gateway.event_of(await gateway.predict(photo()))  # events arrive in order
        kept = [event.feedback.feedback_id for event in gateway.console.events() if event.HasField("feedback")]

    assert (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, words.REASON_DEADLINE_EXCEEDED)
    assert kept == [given.feedback_id]


async def test_feedback_that_waits_for_the_disk_is_bounded_and_keeps_its_place_when_its_caller_leaves(
    tmp_path: Path,
) -> None:
    rules = policy(clients=[client(SOMCHAI, calls_per_minute=10_000)])

    def tell(number: int, deadline_s: float) -> Any:
        request = feedback_on(answer)
        request.idempotency_key = f"key {number}"
        return gateway.stub.SubmitFeedback(request, metadata=SOMCHAI.metadata, timeout=deadline_s)

    async with running_gateway(tmp_path, policy=rules, calls_in_flight_max=4) as gateway:
        answer = await gateway.predict(photo())
        with held_disk() as disk:
            given_up = await asyncio.gather(*(refusal_of(tell(number, 1.0)) for number in range(4)))
            assert disk.asked.is_set()
            refused = [await refusal_of(tell(number, 20.0)) for number in range(4, 8)]
            predicting = asyncio.create_task(gateway.predict(photo("blue")))  # its places are its own
            await until(lambda: calls_inside(gateway, 1), what="a prediction is let in meanwhile")
            disk.go_on()
        await predicting
        for number in range(8):
            await tell(number, 20.0)
        await gateway.event_of(await gateway.predict(photo()))  # events arrive in order
        kept = [event.feedback.feedback_id for event in gateway.console.events() if event.HasField("feedback")]

    assert {found.code for found in given_up} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert {(found.code, found.reason) for found in refused} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, words.REASON_OVERLOADED)
    }
    assert len(kept) == len(set(kept)) == 8


async def calls_inside(gateway: Gateway, calls: int) -> bool:
    return await gateway.metric("amulet_calls_in_flight") == calls


async def admits_again(gateway: Gateway) -> bool:
    failed, admitting = [await gateway.metric(f"amulet_journal_{name}") for name in ("failures_total", "admitting")]
    return bool(failed and admitting)


async def is_gone(gateway: Gateway) -> bool:
    """Its pages go after its calls, and before the journal."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.listening.ops_port)
    except OSError:
        return True
    writer.close()
    return False

"""Batches under a key at several gateways: one version answers all of one, whichever gateways its tries come to."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from gateway.ask import Ask
from gateway.batch import taken_up
from gateway.replays import Replays
from gateway.snapshot import ServedModel, Snapshot
from protos.amulet.policy.v1 import policy_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.inference import open_inference_pb2 as oip
from tests.unit.gateway.admission.test_limits import REDIS_URL, redis_answers
from tests.unit.gateway.cast import Gateway, new_key, photo, policy, running_gateway, served_version
from tests.unit.gateway.test_batch import ASKS, GONE, NEW, OLD
from tests.unit.gateway.test_open_inference import (
    SECOND,
    VERSION,
    ids_of,
    infer,
    interrupted,
    predictions,
    request,
    roll_out,
    two_versions,
)
from tests.unit.gateway.test_replays import LATER
from tests.unit.gateway.test_shared_answers import gateways, patience, redises

__all__ = ["gateways", "patience", "redises"]
pytestmark = pytest.mark.servers


def serving(routed: str) -> ServedModel:
    """Both versions, and the one that a gateway's policy gives calls to."""
    model = policy_pb2.ServedModel(
        name="tiny",
        versions=[served_version(OLD), served_version(NEW)],
        routes=[policy_pb2.Route(version=routed, weight_ratio=1.0)],
    )
    return Snapshot.parse(policy(models=[model]).SerializeToString()).models["tiny"]


BEFORE: Final = serving(OLD)
AFTER: Final = serving(NEW)


def batch() -> list[Ask]:
    """Under a key that no other run of a test has used."""
    key = uuid.uuid4().hex
    return [replace(ask, idempotency_key=f"{key}#{index}", batch_id=key) for index, ask in enumerate(ASKS)]


async def version_for(replays: Replays, asks: Sequence[Ask], model: ServedModel, *, dead: Sequence[str] = ()) -> str:
    """The one that is asked for all of the batch that comes to this gateway."""
    found = await taken_up(
        asks,
        "somchai",
        model=model,
        replays=replays,
        why_not_ready=lambda served: "dead" if served.version in dead else None,
    )
    ((version,),) = {ask.rather for ask in found}
    return version


async def answer(replays: Replays, ask: Ask, version: str) -> str:
    """The version whose answer a photograph has, which is this one's unless another has answered."""

    async def work() -> bytes:
        await replays.about_to_record("somchai", ask.idempotency_key, ask.digest())
        return pb.PredictResponse(version=version).SerializeToString()

    content, _ = await replays.once("somchai", ask.idempotency_key, ask.digest(), work, deadline=LATER)
    return pb.PredictResponse.FromString(content).version


async def test_tries_side_by_side_ask_one_version_though_their_gateways_have_other_policies(
    gateways: tuple[Replays, Replays],
) -> None:
    (first, second), asks = gateways, batch()

    asked = await asyncio.gather(version_for(first, asks, BEFORE), version_for(second, asks, AFTER))

    assert len(set(asked)) == 1
    assert await version_for(first, batch(), BEFORE) == OLD  # another batch is another choice
    assert await version_for(second, batch(), AFTER) == NEW


async def test_a_version_that_one_gateway_cannot_ask_is_replaced_for_all(gateways: tuple[Replays, Replays]) -> None:
    (first, second), asks = gateways, batch()
    assert await version_for(first, asks, BEFORE) == OLD
    assert await answer(first, asks[0], OLD) == OLD

    assert await version_for(second, asks, AFTER, dead=(OLD,)) == NEW
    assert await version_for(first, asks, BEFORE) == NEW
    assert [await answer(first, ask, NEW) for ask in asks] == [NEW] * 3
    assert [await answer(second, ask, OLD) for ask in asks] == [NEW] * 3


async def test_halves_that_two_versions_answered_without_knowing_of_each_other_become_one(
    gateways: tuple[Replays, Replays],
) -> None:
    """As when a version is taken away at one gateway while another one's try is in flight with it."""
    (first, second), asks = gateways, batch()
    assert [await answer(first, asks[0], OLD), await answer(second, asks[1], NEW)] == [OLD, NEW]

    version = await version_for(second, asks, AFTER)

    assert {await answer(second, ask, version) for ask in asks} == {version}
    await taken_up(asks, "somchai", model=BEFORE, replays=first, why_not_ready=lambda _: None)
    assert {await answer(first, ask, GONE) for ask in asks} == {version}


async def test_a_batch_that_is_all_answered_elsewhere_needs_no_version_that_can_be_asked(
    gateways: tuple[Replays, Replays],
) -> None:
    (first, second), asks = gateways, batch()
    for ask in asks:
        await answer(first, ask, OLD)

    found = await taken_up(asks, "somchai", model=AFTER, replays=second, why_not_ready=lambda _: "dead")

    assert [await answer(second, ask, NEW) for ask in found] == [OLD] * 3


@asynccontextmanager
async def before_and_after(folder: Path, second: policy_pb2.ServedModel) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways: the first one's policy routes the first version."""
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    turn = new_key().key_id  # the Redis is everybody's, and two tests may run at once
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(
                running_gateway(
                    folder / name, policy=policy(models=[model]), cache_url=REDIS_URL, gateway_id=f"{name}-{turn}"
                )
            )
            for name, model in (("gateway-1", two_versions(VERSION)), ("gateway-2", second))
        ]
        yield one, other


def keyed() -> oip.ModelInferRequest:
    return request(photo("red"), photo("blue"), raw=False, idempotency_key=uuid.uuid4().hex)


async def test_a_batch_that_one_gateway_began_is_completed_by_its_version_at_another(tmp_path: Path) -> None:
    asked = keyed()
    async with before_and_after(tmp_path, two_versions(SECOND)) as (first, second):
        begun = await interrupted(first, asked)

        answer = await infer(second, asked)
        await roll_out(first, two_versions(SECOND))
        again = await infer(first, asked)

    assert answer.model_version == VERSION
    assert begun.prediction_id in ids_of(answer)
    assert ids_of(again) == ids_of(answer)
    assert len(predictions(first) + predictions(second)) == 2


async def test_a_batch_whose_version_another_gateway_does_not_have_is_answered_anew_by_one_version(
    tmp_path: Path,
) -> None:
    asked = keyed()
    async with before_and_after(tmp_path, two_versions(SECOND, only=SECOND)) as (first, second):
        begun = await interrupted(first, asked)

        answer = await infer(second, asked)
        again = await infer(first, asked)

    assert answer.model_version == SECOND
    assert begun.prediction_id not in ids_of(answer)
    assert ids_of(again) == ids_of(answer)

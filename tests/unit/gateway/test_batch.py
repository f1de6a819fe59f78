"""A batch that comes again under its key: which version is asked, and what is forgotten for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from gateway import errors
from gateway.ask import Ask, AskedSubject, AskedView
from gateway.batch import taken_up
from gateway.replays import Remembered, Replays, place_of
from gateway.snapshot import Snapshot
from protos.amulet.policy.v1 import policy_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.gateway.cast import policy, served_version

OLD, NEW, GONE = "v20260101_tiny_1.000", "v20260102_tiny_1.000", "v20250101_tiny_1.000"
MODEL: Final = policy_pb2.ServedModel(
    name="tiny",
    versions=[served_version(OLD), served_version(NEW)],
    routes=[policy_pb2.Route(version=NEW, weight_ratio=1.0)],
)
SERVED: Final = Snapshot.parse(policy(models=[MODEL]).SerializeToString()).models["tiny"]
ASKS: Final = [
    Ask(
        request_id="r",
        views=(AskedView(f"photo {index}".encode(), words.SIDE_UNSPECIFIED),),
        model="tiny",
        version="",
        top_k=5,
        explanation=None,
        idempotency_key=f"k#{index}",
        subject=AskedSubject("", "", pb.RETENTION_UNSPECIFIED),
        batch_id="k",
    )
    for index in range(3)
]


def answered_by(*versions: str) -> Replays:
    """The answers to the batch's photographs in turn; empty: none."""
    replays = Replays()
    replays.recall(
        Remembered(
            place_of("somchai", ask.idempotency_key),
            ask.digest(),
            pb.PredictResponse(version=version).SerializeToString(),
            0.0,
        )
        for ask, version in zip(ASKS, versions, strict=True)
        if version
    )
    return replays


def still_kept(replays: Replays) -> list[str]:
    kept = [replays.kept("somchai", ask.idempotency_key) for ask in ASKS]
    return ["" if one is None else pb.PredictResponse.FromString(one.answer).version for one in kept]


async def again(replays: Replays, asks: Sequence[Ask] = ASKS, *, dead: Sequence[str] = ()) -> Sequence[Ask]:
    return await taken_up(
        asks,
        "somchai",
        model=SERVED,
        replays=replays,
        why_not_ready=lambda served: "dead" if served.version in dead else None,
    )


async def test_a_batch_that_one_version_has_answered_is_asked_as_it_is() -> None:
    replays = answered_by(GONE, GONE, GONE)

    assert await again(replays) == ASKS
    assert still_kept(replays) == [GONE, GONE, GONE]


@pytest.mark.parametrize(
    ("versions", "dead", "asked", "kept"),
    [
        (("", "", ""), (), NEW, ("", "", "")),
        ((OLD, "", ""), (), OLD, (OLD, "", "")),
        ((OLD, NEW, NEW), (), NEW, ("", NEW, NEW)),
        ((OLD, OLD, NEW), (), OLD, (OLD, OLD, "")),
        ((GONE, GONE, OLD), (), OLD, ("", "", OLD)),
        ((OLD, OLD, ""), (OLD,), NEW, ("", "", "")),
        ((GONE, "", ""), (), NEW, ("", "", "")),
    ],
)
async def test_what_is_missing_is_asked_of_the_version_that_answered_most_and_can_still_be_asked(
    versions: tuple[str, ...], dead: tuple[str, ...], asked: str, kept: tuple[str, ...]
) -> None:
    replays = answered_by(*versions)

    found = await again(replays, dead=dead)

    assert {ask.rather for ask in found} == {(asked,)}
    assert still_kept(replays) == list(kept)
    assert [ask.digest() for ask in found] == [ask.digest() for ask in ASKS]


async def test_where_no_version_can_be_asked_nothing_is_forgotten() -> None:
    replays = answered_by(OLD, NEW, "")

    with pytest.raises(errors.ModelNotReady):
        await again(replays, dead=(OLD, NEW))

    assert still_kept(replays) == [OLD, NEW, ""]


async def test_a_batch_whose_version_is_named_is_asked_as_it_is() -> None:
    named = [replace(ask, version=OLD) for ask in ASKS]
    replays = Replays()
    replays.recall(
        [
            Remembered(
                place_of("somchai", "k#0"), named[0].digest(), pb.PredictResponse(version=OLD).SerializeToString(), 0.0
            )
        ]
    )

    assert await again(replays, named, dead=(OLD,)) == named


async def test_a_key_that_stands_for_another_photograph_is_a_conflict_before_another_key_is_used_up() -> None:
    replays = answered_by(OLD, "", "")

    with pytest.raises(errors.IdempotencyConflict):
        await again(replays, [replace(ASKS[0], views=ASKS[1].views), *ASKS[1:]])

    assert still_kept(replays) == [OLD, "", ""]

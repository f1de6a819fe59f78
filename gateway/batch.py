"""A batch that comes again under its key, when a part of it was answered and it as a whole was not.

One version answers all of a batch. What has answered a part goes on with the rest while it can be asked, so that
nothing is recorded twice. Where it cannot, what it answered is of no more use to the batch (decision 0169).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from gateway.ask import Ask
from gateway.prediction import digest_of
from gateway.replays import Remembered, Replays, check_same
from gateway.routing.router import WhyNotReady, destination
from gateway.snapshot import ServedModel
from protos.amulet.v1 import prediction_pb2 as pb


async def taken_up(
    asks: Sequence[Ask], client_id: str, *, model: ServedModel, replays: Replays, why_not_ready: WhyNotReady
) -> Sequence[Ask]:
    """The photographs of a batch, each under its key, asked so that one version answers what is missing.

    What other versions answered is forgotten: those photographs are answered anew. Raises IdempotencyConflict where
    a key stands for another photograph, so that no other key of the batch is used up for it, and ModelNotReady where
    no version can be asked; then nothing is forgotten.
    """
    kept = [replays.kept(client_id, ask.idempotency_key) for ask in asks]
    answered = Counter(_version_of(one) for one in kept if one is not None)
    if not answered or (len(answered) == 1 and None not in kept):
        return asks
    for one, ask in zip(kept, asks, strict=True):
        if one is not None:
            check_same(one.digest, await digest_of(ask))
    if asks[0].version:  # named, so that no other one has answered
        return asks
    going = destination(
        model,
        version="",
        sticky_key=asks[0].sticky_key(""),
        why_not_ready=why_not_ready,
        rather=[version for version, _ in answered.most_common()],
    )
    version = going.version.version
    for one in kept:
        if one is not None and _version_of(one) != version:
            replays.forget(one)
    return [replace(ask, rather=(version,)) for ask in asks]


def _version_of(kept: Remembered) -> str:
    return pb.PredictResponse.FromString(kept.answer).version

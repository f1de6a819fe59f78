"""A batch under a key: one version answers all of it, whichever gateways its tries come to.

The first try names its version to all gateways that share a Redis, and every other one goes on with that while it can
be asked, so that nothing is recorded twice. Where it cannot, another one takes its place for all of them, and what it
answered is of no more use to the batch (decisions 0169 and 0218).
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
    here = [replays.kept(client_id, ask.idempotency_key) for ask in asks]
    elsewhere = await replays.kept_elsewhere(client_id, [ask.idempotency_key for ask in asks])
    answers = [[one for one in both if one is not None] for both in zip(here, elsewhere, strict=True)]
    answered = Counter(version for known in answers for version in {_version_of(one) for one in known})
    if list(answered.values()) == [len(asks)]:
        return asks
    for known, ask in zip(answers, asks, strict=True):
        for one in known:
            check_same(one.digest, await digest_of(ask))
    if asks[0].version:  # named, so that no other one has answered
        return asks
    likeliest = [version for version, _ in answered.most_common()]
    if likeliest and answered[likeliest[0]] == len(asks):  # nothing is left to ask
        version = likeliest[0]
    else:
        version = await _agreed(asks[0], client_id, likeliest, model, replays, why_not_ready)
    for old in here:
        if old is not None and _version_of(old) != version:
            replays.forget(old)
    for old in elsewhere:
        if old is not None and _version_of(old) != version:
            await replays.forget_elsewhere(old)
    return [replace(ask, rather=(version,)) for ask in asks]


async def _agreed(
    ask: Ask,
    client_id: str,
    likeliest: Sequence[str],
    model: ServedModel,
    replays: Replays,
    why_not_ready: WhyNotReady,
) -> str:
    """The version that all gateways use for this batch, or from now on: this one has to be able to ask it.

    likeliest: those that have answered a part of it, the first that can be asked before what the weights give.
    """
    going = destination(model, version="", sticky_key=ask.sticky_key(""), why_not_ready=why_not_ready, rather=likeliest)
    ours, instead_of = going.version.version, ""
    while True:
        agreed = await replays.agree(client_id, f"{model.name}\0{ask.batch_id}", ours, instead_of=instead_of)
        known = model.versions.get(agreed)
        if agreed == ours or (known is not None and why_not_ready(known) is None):
            return agreed
        instead_of = agreed


def _version_of(kept: Remembered) -> str:
    return pb.PredictResponse.FromString(kept.answer).version

"""The policy: pulled, kept, and never replaced by a worse one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway import errors
from gateway.policy import PolicyKeeper, PolicySettings
from gateway.snapshot import PolicyInvalid, Snapshot
from protos.amulet.policy.v1 import policy_pb2
from tests.unit.gateway.cast import (
    CONTROL_TOKEN,
    SOMCHAI,
    Console,
    client,
    new_key,
    policy,
    served_model,
    served_version,
    until,
)


@asynccontextmanager
async def keeping(console_url: str, folder: Path) -> AsyncIterator[tuple[PolicyKeeper, list[int]]]:
    revisions: list[int] = []
    keeper = PolicyKeeper(
        PolicySettings(console_url, CONTROL_TOKEN.decode(), folder / "gateway" / "policy.pb", interval_s=0.05),
        on_change=lambda snapshot: revisions.append(snapshot.revision),
    )
    await keeper.load_cached()
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper, revisions
    finally:
        task.cancel()


async def test_a_policy_is_pulled_once_and_again_when_it_changes(tmp_path: Path) -> None:
    with Console(policy(revision=1)) as console:
        async with keeping(console.url, tmp_path) as (keeper, revisions):
            await until(lambda: keeper.known, what="the first policy")
            console.issue(policy(revision=2))
            await until(lambda: keeper.current.revision == 2, what="the second policy")

            assert revisions == [1, 2]


async def test_a_gateway_that_never_heard_a_policy_has_none(tmp_path: Path) -> None:
    with Console(None) as console:
        async with keeping(console.url, tmp_path) as (keeper, _):
            await until(lambda: keeper.trouble is not None, what="the console is found silent")

            assert not keeper.known
            with pytest.raises(errors.PolicyMissing):
                _ = keeper.current


async def test_the_last_good_one_survives_a_restart_without_a_console(tmp_path: Path) -> None:
    with Console(policy(revision=7)) as console:
        async with keeping(console.url, tmp_path) as (keeper, _):
            await until((tmp_path / "gateway" / "policy.pb").exists, what="the policy is kept")
    with Console(None) as console:
        async with keeping(console.url, tmp_path) as (keeper, revisions):
            assert (keeper.current.revision, revisions) == (7, [7])


@pytest.mark.parametrize("content", [b"", b"\xff\xff not a policy"])
async def test_a_damaged_cache_is_no_policy(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "gateway" / "policy.pb"
    file.parent.mkdir()
    file.write_bytes(content)
    with Console(None) as console:
        async with keeping(console.url, tmp_path) as (keeper, _):
            assert keeper.known == (content == b"")  # an empty message is a policy with nobody in it


def break_route(bad: policy_pb2.Policy) -> None:
    bad.models[0].routes[0].version = "v9"


def break_twice(bad: policy_pb2.Policy) -> None:
    bad.models.append(served_model())


def break_key(bad: policy_pb2.Policy) -> None:
    bad.clients.append(client(SOMCHAI))


def break_seal(bad: policy_pb2.Policy) -> None:
    bad.photo_seal_public_key = b"short"


def break_limits(bad: policy_pb2.Policy) -> None:
    bad.models[0].versions[0].card.decision.detectors[0].out_at = -5


def break_size(bad: policy_pb2.Policy) -> None:
    bad.models[0].versions[0].card.input_width_px = 0


BROKEN: list[tuple[Callable[[policy_pb2.Policy], None], str]] = [
    (break_route, "routes to v9"),
    (break_twice, "listed twice"),
    (break_key, "listed twice"),
    (break_seal, "32"),
    (break_limits, "must rise"),
    (break_size, "input size"),
]


@pytest.mark.parametrize(("spoil", "why"), BROKEN)
def test_a_policy_that_contradicts_itself_is_refused(spoil: Callable[[policy_pb2.Policy], None], why: str) -> None:
    bad = policy()
    spoil(bad)

    with pytest.raises(PolicyInvalid, match=why):
        Snapshot.parse(bad.SerializeToString())


async def test_a_bad_policy_leaves_the_good_one_in_force(tmp_path: Path) -> None:
    bad = policy(revision=2)
    break_route(bad)
    with Console(policy(revision=1)) as console:
        async with keeping(console.url, tmp_path) as (keeper, revisions):
            await until(lambda: keeper.known, what="the good policy")
            console.issue(bad)
            await until(lambda: keeper.trouble is not None, what="the bad policy is noticed")

            assert revisions == [1]
            assert "v9" in (keeper.trouble or "")


def test_a_snapshot_has_routes_shadows_and_keys() -> None:
    key = new_key()
    model = policy_pb2.ServedModel(
        name="tiny",
        versions=[served_version("v20260101_tiny_1.000"), served_version("v20260102_tiny_1.000")],
        routes=[
            policy_pb2.Route(version="v20260101_tiny_1.000", weight_ratio=1),
            policy_pb2.Route(version="v20260102_tiny_1.000", shadow=True),
        ],
    )
    found = Snapshot.parse(policy(clients=[client(key, models=["tiny"])], models=[model]).SerializeToString())

    served = found.models["tiny"]
    assert [route.version.version for route in served.routes] == ["v20260101_tiny_1.000"]
    assert [shadow.version for shadow in served.shadows] == ["v20260102_tiny_1.000"]
    assert found.keys[key.key_id].client.may_use("tiny")
    assert not found.keys[key.key_id].client.may_use("other")

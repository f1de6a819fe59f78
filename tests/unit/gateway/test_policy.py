"""The policy: pulled, kept, and never replaced by a worse one."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway import errors
from gateway.policy import PolicyKeeper, PolicySettings
from gateway.routing.handover import HANDOVER_S_MAX, Handovers
from gateway.snapshot import CALLS_PER_MINUTE, PolicyInvalid, ServedVersion, Snapshot
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
        why_not_ready=lambda _: None,
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


async def test_without_a_console_a_policy_is_as_old_as_its_cache_and_young_once_it_is_confirmed(tmp_path: Path) -> None:
    file = tmp_path / "gateway" / "policy.pb"
    file.parent.mkdir()
    file.write_bytes(policy().SerializeToString())
    hour_ago_s = time.time() - 3600
    os.utime(file, (hour_ago_s, hour_ago_s))
    with Console(None) as console:
        async with keeping(console.url, tmp_path) as (keeper, _):
            await until(lambda: keeper.trouble is not None, what="the console is found silent")

            assert keeper.age_s >= 3600

            console.issue(policy())
            await until(lambda: keeper.age_s < 3600, what="the policy is confirmed")


async def test_the_console_hears_which_gateway_asks(tmp_path: Path) -> None:
    name = "ประตู 1&2"
    with Console(policy()) as console:
        settings = PolicySettings(console.url, CONTROL_TOKEN.decode(), tmp_path / "policy.pb", gateway_id=name)
        keeper = PolicyKeeper(settings, on_change=lambda _: None, why_not_ready=lambda _: None)
        task = asyncio.create_task(keeper.run())
        await until(lambda: keeper.known, what="the policy")
        task.cancel()
    assert console.asked_by == {name}


async def test_a_gateway_without_any_policy_counts_from_its_start(tmp_path: Path) -> None:
    now_s = 1000.0
    keeper = PolicyKeeper(
        PolicySettings("http://127.0.0.1:1", "", tmp_path / "policy.pb"),
        on_change=lambda _: None,
        why_not_ready=lambda _: None,
        clock=lambda: now_s,
    )
    await keeper.load_cached()
    now_s += 70.0

    assert keeper.age_s == 70.0


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


def break_seal_point(bad: policy_pb2.Policy) -> None:
    bad.photo_seal_public_key = bytes(32)


def break_limits(bad: policy_pb2.Policy) -> None:
    bad.models[0].versions[0].card.decision.detectors[0].out_at = -5


def break_size(bad: policy_pb2.Policy) -> None:
    bad.models[0].versions[0].card.input_width_px = 0


BROKEN: list[tuple[Callable[[policy_pb2.Policy], None], str]] = [
    (break_route, "routes to v9"),
    (break_twice, "listed twice"),
    (break_key, "listed twice"),
    (break_seal, "32"),
    (break_seal_point, "low order"),
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


@pytest.mark.parametrize(("said", "meant"), [(7, 7), (1000, 1000), (0, CALLS_PER_MINUTE)])
def test_a_client_has_the_limit_that_its_policy_names_or_the_usual_one(said: int, meant: int) -> None:
    key = new_key()
    found = Snapshot.parse(policy(clients=[client(key, calls_per_minute=said)]).SerializeToString())
    assert found.keys[key.key_id].client.calls_per_minute == meant


OLD, NEW = "v20260101_tiny_1.000", "v20260102_tiny_1.000"


def routed_to(version: str, *, revision: int) -> policy_pb2.Policy:
    routes = [policy_pb2.Route(version=version, weight_ratio=1)]
    model = policy_pb2.ServedModel(name="tiny", versions=[served_version(version)], routes=routes)
    return policy(revision=revision, models=[model])


def answering(keeper: PolicyKeeper) -> list[str]:
    return [route.version.version for route in keeper.current.models["tiny"].routes]


class Handover:
    """A keeper whose clock and whose versions' readiness the test sets."""

    def __init__(self, folder: Path) -> None:
        self.ready, self.now_s = {OLD}, 0.0
        self.watched: list[set[str]] = []
        self.keeper = PolicyKeeper(
            PolicySettings("http://127.0.0.1:1", "token", folder / "policy.pb"),
            on_change=lambda snapshot: self.watched.append(set(snapshot.models["tiny"].versions)),
            why_not_ready=lambda version: None if version.version in self.ready else "not yet",
            clock=lambda: self.now_s,
        )

    def issue(self, version: str, *, revision: int) -> None:
        self.keeper._come_into_force(Snapshot.parse(routed_to(version, revision=revision).SerializeToString()))

    @property
    def answering(self) -> list[str]:
        """After the keeper has looked again."""
        self.keeper._hand_over()
        return answering(self.keeper)


def test_the_old_version_answers_until_the_new_one_can(tmp_path: Path) -> None:
    handover = Handover(tmp_path)
    handover.issue(OLD, revision=1)
    handover.issue(NEW, revision=2)

    assert (handover.answering, handover.keeper.current.revision) == ([OLD], 2)  # all else is in force at once
    assert handover.watched[-1] == {OLD, NEW}
    handover.ready.add(NEW)
    assert handover.answering == [NEW]
    assert handover.watched[-1] == {NEW}


async def test_a_running_keeper_looks_by_itself(tmp_path: Path) -> None:
    ready = {OLD}
    with Console(routed_to(OLD, revision=1)) as console:
        keeper = PolicyKeeper(
            PolicySettings(console.url, CONTROL_TOKEN.decode(), tmp_path / "policy.pb", interval_s=0.5),
            on_change=lambda _: None,
            why_not_ready=lambda version: None if version.version in ready else "not yet",
        )
        task = asyncio.create_task(keeper.run())
        await until(lambda: keeper.known, what="the first policy")
        console.issue(routed_to(NEW, revision=2))
        await until(lambda: keeper.current.revision == 2, what="the second policy")
        assert answering(keeper) == [OLD]
        ready.add(NEW)
        await until(lambda: answering(keeper) == [NEW], what="the new version answers")
        task.cancel()


def test_a_new_version_that_never_can_is_refused_as_the_console_wants_it(tmp_path: Path) -> None:
    handover = Handover(tmp_path)
    handover.issue(OLD, revision=1)
    handover.issue(NEW, revision=2)
    handover.now_s = HANDOVER_S_MAX

    assert handover.answering == [NEW]


def test_an_old_version_that_fails_meanwhile_holds_nobody_up(tmp_path: Path) -> None:
    handover = Handover(tmp_path)
    handover.issue(OLD, revision=1)
    handover.issue(NEW, revision=2)
    handover.ready.clear()

    assert handover.answering == [NEW]


def test_a_third_version_during_a_handover_is_what_is_waited_for(tmp_path: Path) -> None:
    handover, third = Handover(tmp_path), "v20260103_tiny_1.000"
    handover.issue(OLD, revision=1)
    handover.issue(NEW, revision=2)
    handover.issue(third, revision=3)
    handover.ready.add(NEW)

    assert handover.answering == [OLD]
    handover.ready.add(third)
    assert handover.answering == [third]


def test_policies_that_come_meanwhile_do_not_keep_the_old_version_answering(tmp_path: Path) -> None:
    """As where keys or weights change every few seconds."""
    handover = Handover(tmp_path)
    handover.issue(OLD, revision=1)
    for revision in range(2, 6):
        handover.issue(NEW, revision=revision)
        assert handover.answering == [OLD]
        handover.now_s += HANDOVER_S_MAX / 4

    assert handover.answering == [NEW]
    handover.issue(NEW, revision=6)
    assert handover.answering == [NEW]


def test_a_third_version_does_not_keep_the_old_one_answering_either(tmp_path: Path) -> None:
    """The console has it unloaded some time after it lost its route."""
    handover = Handover(tmp_path)
    handover.issue(OLD, revision=1)
    handover.issue(NEW, revision=2)
    handover.now_s = HANDOVER_S_MAX * 0.9
    handover.issue("v20260103_tiny_1.000", revision=3)
    assert handover.answering == [OLD]

    handover.now_s = HANDOVER_S_MAX

    assert handover.answering == ["v20260103_tiny_1.000"]


def test_a_handover_that_has_ended_leaves_the_next_its_whole_time(tmp_path: Path) -> None:
    handover = Handover(tmp_path)
    handover.issue(OLD, revision=1)
    handover.issue(NEW, revision=2)
    handover.now_s = HANDOVER_S_MAX
    assert handover.answering == [NEW]
    handover.ready = {NEW}

    handover.issue(OLD, revision=3)

    assert handover.answering == [NEW]


def test_a_handover_that_was_called_off_leaves_the_next_its_whole_time(tmp_path: Path) -> None:
    handover = Handover(tmp_path)
    for revision, version in enumerate((OLD, NEW, OLD), start=1):
        handover.issue(version, revision=revision)
    handover.now_s = HANDOVER_S_MAX

    handover.issue(NEW, revision=4)

    assert handover.answering == [OLD]


BOTH = {OLD: 0.5, NEW: 0.5}


def of_models(**routes: dict[str, float]) -> Snapshot:
    """Models with the weights of their versions, all of which are listed."""
    models = [
        policy_pb2.ServedModel(
            name=name,
            versions=[served_version(version, name=name) for version in (OLD, NEW)],
            routes=[policy_pb2.Route(version=version, weight_ratio=weight) for version, weight in weights.items()],
        )
        for name, weights in routes.items()
    ]
    return Snapshot.parse(policy(models=models).SerializeToString())


def weights(snapshot: Snapshot) -> dict[str, dict[str, float]]:
    return {
        name: {route.version.version: route.weight_ratio for route in model.routes}
        for name, model in snapshot.models.items()
    }


def only_old(version: ServedVersion) -> str | None:
    return None if version.version == OLD else "not yet"


def nothing(_: ServedVersion) -> str:
    return "not yet"


def test_a_model_that_is_new_waits_for_nothing_and_the_others_stay() -> None:
    current = of_models(first={OLD: 1.0})
    wanted = of_models(first={OLD: 1.0}, second={NEW: 1.0})

    assert Handovers(only_old).follow(wanted, current) is wanted


def test_a_model_that_is_taken_out_of_production_is_out_at_once() -> None:
    wanted = of_models(first={})

    assert Handovers(only_old).follow(wanted, of_models(first={OLD: 1.0})) is wanted


def test_one_route_that_answers_is_enough_to_follow_the_new_ones() -> None:
    wanted = of_models(first=BOTH)

    assert Handovers(only_old).follow(wanted, of_models(first={OLD: 1.0})) is wanted


def test_old_routes_of_which_one_answers_stay_until_then() -> None:
    found = Handovers(only_old).follow(of_models(first={NEW: 1.0}), of_models(first=BOTH))

    assert weights(found) == {"first": BOTH}
    assert set(found.models["first"].versions) == {OLD, NEW}


def test_while_old_routes_stay_all_else_of_the_model_is_as_the_new_policy_has_it() -> None:
    policy_now = routed_to(NEW, revision=2)
    policy_now.models[0].versions.append(served_version(OLD))
    policy_now.models[0].versions[1].alias = "leaving"
    policy_now.models[0].routes.append(policy_pb2.Route(version=OLD, shadow=True))
    wanted, current = (Snapshot.parse(each.SerializeToString()) for each in (policy_now, routed_to(OLD, revision=1)))

    model = Handovers(only_old).follow(wanted, current).models["tiny"]

    assert [route.version.version for route in model.routes] == [OLD]
    assert [shadow.version for shadow in model.shadows] == [OLD]
    assert model.versions[OLD].alias == "leaving"


def test_only_the_model_that_cannot_follow_keeps_its_routes() -> None:
    current = of_models(first={OLD: 1.0}, second={NEW: 1.0})
    wanted = of_models(first={NEW: 1.0}, second={OLD: 1.0}, third={NEW: 1.0})

    found = Handovers(only_old).follow(wanted, current)

    assert weights(found) == {"first": {OLD: 1.0}, "second": {OLD: 1.0}, "third": {NEW: 1.0}}
    assert weights(wanted)["first"] == {NEW: 1.0}
    assert Handovers(nothing).follow(wanted, current) is wanted
    assert Handovers(only_old).follow(wanted, None) is wanted


def test_each_model_is_waited_for_from_when_it_was_to_change() -> None:
    now_s = 0.0
    handovers = Handovers(only_old, clock=lambda: now_s)
    both = of_models(first={OLD: 1.0}, second={OLD: 1.0})
    one = handovers.follow(of_models(first={NEW: 1.0}, second={OLD: 1.0}), both)
    now_s = HANDOVER_S_MAX / 2
    wanted = of_models(first={NEW: 1.0}, second={NEW: 1.0})
    assert weights(two := handovers.follow(wanted, one)) == {"first": {OLD: 1.0}, "second": {OLD: 1.0}}
    now_s = HANDOVER_S_MAX

    assert weights(three := handovers.follow(wanted, two)) == {"first": {NEW: 1.0}, "second": {OLD: 1.0}}

    now_s = HANDOVER_S_MAX * 1.5
    assert handovers.follow(wanted, three) is wanted

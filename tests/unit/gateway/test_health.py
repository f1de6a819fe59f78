"""What health checks are told of a gateway, its models and their versions, and what its operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # ships without stubs

from gateway.health import SERVICE, Health
from gateway.journal.journal import Journal
from gateway.journal.writer import JournalSettings
from gateway.policy import PolicyKeeper, PolicySettings
from gateway.snapshot import ServedVersion
from protos.amulet.policy.v1 import policy_pb2
from tests.unit.gateway.cast import policy, served_version, until

OLD, NEW = "v20260101_tiny_1.000", "v20260102_tiny_1.000"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class Told:
    """A gateway's health, and what it is made of as the test says it."""

    health: Health
    not_ready: dict[str, str] = field(default_factory=dict)  # version -> why
    namesake: str | None = None

    async def statuses(self) -> Mapping[str, int]:
        """As `List` says them, which nobody has asked to look before."""
        answer = await self.health.servicer.List(health_pb2.HealthListRequest(), None)  # type: ignore[arg-type]  # not looked at
        return {name: status.status for name, status in answer.statuses.items()}


@asynccontextmanager
async def told_of(folder: Path, content: policy_pb2.Policy | None) -> AsyncIterator[Told]:
    if content is not None:
        (folder / "policy.pb").write_bytes(content.SerializeToString())
    found: Told

    def why_not_ready(version: ServedVersion) -> str | None:
        return found.not_ready.get(version.version)

    keeper = PolicyKeeper(
        PolicySettings("http://127.0.0.1:1", "token", folder / "policy.pb"), lambda _: None, why_not_ready
    )
    await keeper.load_cached()
    journal = await Journal.open(JournalSettings(folder / "journal", free_bytes_min=0))
    found = Told(Health(keeper, journal, why_not_ready, lambda: found.namesake))
    try:
        yield found
    finally:
        await journal.close()


def models(**routes: dict[str, float]) -> policy_pb2.Policy:
    """Models with two versions each, and the weights of those that answer."""
    return policy(
        models=[
            policy_pb2.ServedModel(
                name=name,
                versions=[served_version(version, name=name) for version in (OLD, NEW)],
                routes=[policy_pb2.Route(version=version, weight_ratio=weight) for version, weight in weights.items()],
            )
            for name, weights in routes.items()
        ]
    )


async def test_a_model_serves_while_one_of_its_routes_can_and_says_why_when_none_does(tmp_path: Path) -> None:
    async with told_of(tmp_path, models(tiny={OLD: 0.9, NEW: 0.1})) as told:
        told.not_ready[OLD] = "a wrong answer"
        assert await told.statuses() == {
            "": SERVING,
            SERVICE: SERVING,
            "model:tiny": SERVING,
            f"model:tiny/{OLD}": NOT_SERVING,
            f"model:tiny/{NEW}": SERVING,
        }
        assert told.health.problems() == {}

        told.not_ready[NEW] = "no worker"
        assert await told.statuses() == {
            "": SERVING,
            SERVICE: NOT_SERVING,
            "model:tiny": NOT_SERVING,
            f"model:tiny/{OLD}": NOT_SERVING,
            f"model:tiny/{NEW}": NOT_SERVING,
        }
        assert told.health.problems() == {"model:tiny": "a wrong answer"}


async def test_a_model_that_is_not_in_production_serves_nobody_and_is_no_problem(tmp_path: Path) -> None:
    async with told_of(tmp_path, models(tiny={OLD: 1.0}, other={})) as told:
        statuses = await told.statuses()

        assert (statuses[SERVICE], statuses["model:other"], statuses[f"model:other/{OLD}"]) == (
            SERVING,
            NOT_SERVING,
            SERVING,
        )
        assert told.health.problems() == {}


async def test_what_is_ready_is_a_known_model_or_a_known_version_of_it(tmp_path: Path) -> None:
    async with told_of(tmp_path, models(tiny={OLD: 1.0}, other={})) as told:
        told.not_ready[NEW] = "no worker"
        asked = [("tiny", ""), ("tiny", OLD), ("tiny", NEW), ("tiny", "v9"), ("other", ""), ("other", OLD), ("no", "")]

        assert [told.health.ready(*each) for each in asked] == [True, True, False, False, False, True, False]


async def test_with_a_namesake_nothing_serves_and_whoever_shuts_down_says_that_instead(tmp_path: Path) -> None:
    async with told_of(tmp_path, models(tiny={OLD: 1.0})) as told:
        told.namesake = "another gateway answers"
        assert set((await told.statuses()).values()) == {NOT_SERVING}
        assert told.health.problems() == {"gateway": "another gateway answers"}

        told.health.stop()

        assert told.health.problems() == {"gateway": "this gateway is shutting down"}


async def test_without_a_policy_what_is_wrong_is_the_policy_and_nothing_is_remarked(tmp_path: Path) -> None:
    async with told_of(tmp_path, None) as told:
        assert told.health.problems() == {"policy": "no policy was heard from the console yet"}
        told.health._policy.trouble = "the console does not answer (ConnectError)"

        assert told.health.problems() == {"policy": "the console does not answer (ConnectError)"}
        assert told.health.remarks() == {}
        assert await told.statuses() == {"": NOT_SERVING, SERVICE: NOT_SERVING}


class Watcher:
    """Who watches: the far end of a call."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.ended = False

    async def write(self, answer: Any) -> None:
        self.told.append(answer.status)

    async def abort(self, *_: object) -> None:
        self.ended = True
        raise asyncio.CancelledError


async def test_who_watches_is_told_what_changes_for_it_alone_and_let_go_at_the_end(tmp_path: Path) -> None:
    async with told_of(tmp_path, models(tiny={OLD: 0.5, NEW: 0.5})) as told:
        told.health.update()
        watcher, other = Watcher(), Watcher()
        watches = [
            asyncio.create_task(told.health.servicer.Watch(health_pb2.HealthCheckRequest(service=service), each))  # type: ignore[arg-type]  # as much of it as is used
            for service, each in ((f"model:tiny/{OLD}", watcher), (f"model:tiny/{NEW}", other))
        ]
        await until(lambda: watcher.told == other.told == [SERVING], what="both are told how things stand")
        for not_ready in ({OLD: "no worker"}, {}):
            told.not_ready = not_ready
            told.health.update()
            wanted = NOT_SERVING if not_ready else SERVING
            await until(lambda wanted=wanted: watcher.told[-1] == wanted, what="it is told what changed")  # type: ignore[misc]  # the loop's variable, bound

        told.health.stop()
        await asyncio.wait(watches)

    assert (watcher.told, other.told) == ([SERVING, NOT_SERVING, SERVING, NOT_SERVING], [SERVING, NOT_SERVING])
    assert watcher.ended
    assert other.ended


@pytest.mark.parametrize("why", ["no worker", None])
async def test_a_check_says_how_things_stand_now(why: str | None, tmp_path: Path) -> None:
    async with told_of(tmp_path, models(tiny={OLD: 1.0})) as told:
        told.health.update()
        if why:
            told.not_ready[OLD] = why
        request = health_pb2.HealthCheckRequest(service="model:tiny")

        answer = await told.health.servicer.Check(request, None)  # type: ignore[arg-type]  # not looked at

        assert answer.status == (NOT_SERVING if why else SERVING)

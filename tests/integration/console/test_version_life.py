"""A version's life through the console's own doors, with a real TorchServe and every process real."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from model_store.archive import ArchiveSummary
from protos.amulet.events.v1 import events_pb2
from protos.amulet.policy.v1 import policy_pb2
from tests.console_events import failure_event, prediction_event
from tests.integration.console.conftest import Signed
from tests.integration.console.running import RunningConsole, until
from tests.integration.torchserve.server import RunningTorchServe

pytestmark = [pytest.mark.torchserve, pytest.mark.servers]
FIRST = "v20260101_tiny_1.000"
SECOND = "v20260102_tiny_1.000"


def push(console: RunningConsole, file: Path, *, pieces: int = 3, note: str = "") -> dict[str, Any]:
    """Upload an archive in pieces and finish it; the version as the console answers then."""
    content = file.read_bytes()
    announced = {
        "filename": file.name,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "note": note,
    }
    upload = console.call("POST", "uploads/", role="model-engineer", json=announced)
    step = -(-len(content) // pieces)
    for offset in range(upload["offset"], len(content), step):
        sent = console.ask(
            "PATCH", f"uploads/{upload['id']}/", role="model-engineer", content=content[offset : offset + step],
            headers={"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"},
        )  # fmt: skip
        assert sent.status_code == 204
        assert sent.headers["Upload-Offset"] == str(min(offset + step, len(content)))
    finished: dict[str, Any] = console.call("POST", f"uploads/{upload['id']}/finish/", role="model-engineer")
    return finished


def settled(console: RunningConsole, version: dict[str, Any]) -> dict[str, Any]:
    """The version when its smoke test is over."""

    def look() -> dict[str, Any] | None:
        now: dict[str, Any] = console.call("GET", f"versions/{version['id']}/", role="viewer")
        return None if now["state"] in ("uploaded", "verified") else now

    return until(look, within_s=150, what=lambda: console.log("worker")[-3000:])


def policy(console: RunningConsole) -> policy_pb2.Policy:
    answer = console.internal("GET", "policy")
    assert answer.status_code == 200
    return policy_pb2.Policy.FromString(answer.content)


def in_production(console: RunningConsole) -> str | None:
    routes = [route for model in policy(console).models for route in model.routes if route.weight_ratio == 1.0]
    return routes[0].version if routes else None


def held(torchserve: RunningTorchServe, version: str) -> bool:
    """Whether TorchServe holds this version with a worker that is ready."""
    try:
        described = torchserve.describe("tiny", version)
    except Exception:
        return False
    return any(worker["status"] == "READY" for worker in described["workers"])


@pytest.fixture(scope="module")
def first(signed: Signed) -> ArchiveSummary:
    return signed.archive(FIRST)


@pytest.fixture(scope="module")
def second(signed: Signed) -> ArchiveSummary:
    return signed.archive(SECOND)


def test_from_upload_to_production_and_back(
    console: RunningConsole, torchserve: RunningTorchServe, first: ArchiveSummary, second: ArchiveSummary
) -> None:
    versions = {}
    for archive in (first, second):
        verified = push(console, archive.path, note="why not")
        assert verified["state"] == "verified"
        assert all(rule["passed"] for rule in verified["rules"])
        tested = settled(console, verified)
        assert tested["state"] == "smoke_tested", f"{tested['smoke_report']}{torchserve.told()}"
        assert all(photo["probability_distance"] < 1e-5 for photo in tested["smoke_report"]["photos"])
        versions[archive.version] = tested

    approval = f"versions/{versions[FIRST]['id']}/approve/"
    own = console.ask("POST", approval, role="model-engineer", json={"reason": "mine"})
    assert (own.status_code, own.json()["reason"]) == (403, "not_allowed")
    for version in versions.values():
        console.call("POST", f"versions/{version['id']}/approve/", role="approver", json={"reason": "looked at it"})

    assert in_production(console) is None
    for name in (FIRST, SECOND):
        rolled = console.call(
            "POST", f"versions/{versions[name]['id']}/rollout/", role="approver",
            json={"mode": "production", "weight_ratio": 1.0, "reason": "better"},
        )  # fmt: skip
        assert rolled["weight_ratio"] == 1.0
        assert in_production(console) == name
        assert held(torchserve, name)

    [model] = policy(console).models
    assert [version.card.version for version in model.versions] == [SECOND]
    assert model.versions[0].alias == "production"
    assert model.versions[0].backend_name == "tiny"
    assert [golden.name for golden in model.versions[0].golden] == ["golden_0.png", "golden_1.png"]
    assert held(torchserve, FIRST)  # kept for the way back

    back = console.call("POST", "models/tiny/rollback/", role="approver", json={"reason": "worse after all"})
    assert back["version"] == FIRST
    assert in_production(console) == FIRST


def test_a_canary_that_fails_its_calls_is_ended_within_a_minute_and_nobody_was_asked(console: RunningConsole) -> None:
    assert in_production(console) == FIRST
    [version] = console.call("GET", f"versions/?version={SECOND}", role="viewer")["results"]
    console.call(
        "POST", f"versions/{version['id']}/rollout/", role="approver",
        json={"mode": "canary", "weight_ratio": 0.2, "reason": "a fifth"},
    )  # fmt: skip
    answered = [prediction_event(model="tiny", version=FIRST) for _ in range(100)]
    failed = failure_event(model="tiny", version=SECOND, calls=60)
    batch = events_pb2.EventBatch(events=[*answered, failed]).SerializeToString()
    sent = console.internal("POST", "events", content=batch)
    assert sent.status_code == 200, sent.text

    def fired() -> dict[str, Any] | None:
        found: list[dict[str, Any]] = console.call("GET", "guardrails/", role="viewer")["results"]
        return found[0] if found else None

    firing = until(fired, within_s=150, what=lambda: console.log("worker")[-3000:])
    assert (firing["rule"], firing["version"], firing["mode"]) == ("errors", SECOND, "canary")
    assert in_production(console) == FIRST


def test_torchserve_comes_back_with_what_has_a_route(
    console: RunningConsole, torchserve: RunningTorchServe, first: ArchiveSummary
) -> None:
    assert in_production(console) == FIRST
    # Not even the worker is needed for this.
    console.end("worker", kill=True)
    torchserve.kill()
    torchserve.begin()
    until(lambda: held(torchserve, FIRST), within_s=10, what=lambda: console.log("keeper")[-3000:])
    console.begin("worker")


def test_a_lost_smoke_test_is_found_again(
    console: RunningConsole, torchserve: RunningTorchServe, signed: Signed
) -> None:
    console.end("worker", kill=True)
    verified = push(console, signed.archive("v20260103_tiny_1.000").path)
    assert verified["state"] == "verified"
    console.begin("worker")
    assert settled(console, verified)["state"] == "smoke_tested", torchserve.told()

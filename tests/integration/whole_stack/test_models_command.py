"""`amulet models` as an engineer scripts it, against a whole stack."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

import pytest

from cli import supervision
from tests import tiny_archive
from tests.integration.console.running import ROOT
from tests.integration.whole_stack.conftest import Traced
from tests.stack import CommandFailed, Stack

pytestmark = pytest.mark.stack

FIRST: Final = tiny_archive.VERSION
SECOND: Final = "v20260102_tiny_1.000"
THIRD: Final = "v20260103_tiny_1.000"


@pytest.fixture(scope="module")
def stack(traced: Traced, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack with the first version in production, a second that is approved and a third that is not.

    The tests leave the first one alone in production, as they found it.
    """
    folder, stack = tmp_path_factory.mktemp("models"), traced.stack
    stack.hire("model-engineer", "approver", "viewer")
    for version in (SECOND, THIRD):
        archive = folder / f"{version}.mar"
        tiny_archive.write_archive(folder / version, archive, key=traced.release_key, version=version)
        stack.amulet("models", "push", str(archive), role="model-engineer")
    stack.amulet("models", "approve", SECOND, "--reason", "test", role="approver")
    return stack


def models(stack: Stack, *arguments: str, role: str = "model-engineer") -> Any:
    return json.loads(stack.amulet("models", *arguments, "--json", role=role))


def test_the_best_version_is_named_for_a_script(stack: Stack) -> None:
    ranked = models(stack, "best", "--metric", "macro_f1")
    assert [each["version"] for each in ranked] == [THIRD, SECOND, FIRST]
    assert stack.amulet("models", "best", "--metric", "macro_f1", "--name-only", role="viewer") == f"{THIRD}\n"
    with pytest.raises(CommandFailed, match="one of: macro_f1"):
        stack.amulet("models", "best", "--metric", "beauty", role="viewer")


def test_two_versions_stand_side_by_side(stack: Stack) -> None:
    assert models(stack, "compare", FIRST, SECOND)["metrics"][0]["better"] == "could be luck"
    told = stack.amulet("models", "compare", FIRST, SECOND, role="viewer")
    assert told.splitlines()[0].split() == [
        "macro_f1", "1.000", "[1.000,", "1.000]", "1.000", "[1.000,", "1.000]", "could", "be", "luck"
    ]  # fmt: skip


def test_an_experiment_is_started_looked_at_and_stopped(stack: Stack) -> None:
    question = (
        "--hypothesis",
        "Surer of worn pieces.",
        "--measure",
        "in_domain",
        "--baseline",
        "0.8",
        "--effect",
        "0.1",
    )
    begin = ("experiment", "start", SECOND, *question, "--share", "0.5", "--reason", "worn pieces")
    with pytest.raises(CommandFailed, match="and 10 were allowed"):
        models(stack, *begin, "--answers-max", "10")
    started = models(stack, *begin)
    assert (started["version"], started["outcome"]) == (SECOND, "running")
    assert models(stack, "experiment", "status", SECOND, role="viewer") == started
    assert [each["id"] for each in models(stack, "experiment", "status", role="viewer")] == [started["id"]]
    assert "Surer of worn pieces." in stack.amulet("models", "experiment", "status", SECOND, role="viewer")
    stopped = models(stack, "experiment", "stop", SECOND, "--reason", "enough seen")
    assert stopped["id"] == started["id"]
    routes = stack.console("viewer").call("GET", "routes/")["results"]
    assert [route["version"] for route in routes] == [FIRST]
    with pytest.raises(CommandFailed, match="no experiment with"):
        models(stack, "experiment", "stop", FIRST, "--reason", "none there")


def test_a_rollback_says_what_it_ends_and_needs_a_yes(stack: Stack) -> None:
    models(stack, "rollout", SECOND, "--mode", "canary", "--weight", "0.5", "--reason", "half of the calls")
    with pytest.raises(CommandFailed, match="--yes rolls back without"):
        models(stack, "rollback", "tiny", "--reason", "worse")
    assert len(stack.console("viewer").call("GET", "routes/")["results"]) == 2
    assert models(stack, "rollback", "tiny", "--reason", "worse", "--yes")["version"] == FIRST
    with pytest.raises(CommandFailed, match="no earlier production version"):
        models(stack, "rollback", "tiny", "--reason", "worse", "--yes")


def test_a_version_that_failed_is_tried_again_and_one_of_no_use_retired(stack: Stack) -> None:
    with pytest.raises(CommandFailed, match="it would have to be"):
        models(stack, "retry", THIRD)
    fail(stack, THIRD)
    assert models(stack, "retry", THIRD)["state"] == "smoke_tested"
    with pytest.raises(CommandFailed, match="still has a route"):
        models(stack, "retire", FIRST, "--reason", "old", role="approver")
    assert models(stack, "retire", SECOND, "--reason", "no better", role="approver")["state"] == "retired"


def fail(stack: Stack, version: str) -> None:
    """As a smoke test leaves it that found TorchServe at fault."""
    code = (
        "from console.registry.models import ModelVersion, State; "
        f"ModelVersion.objects.filter(version={version!r}).update(state=State.FAILED)"
    )
    subprocess.run(
        [sys.executable, "-m", "console.manage", "shell", "-c", code],
        env=supervision.environment(stack.layout, stack.variables),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )

"""A console for each broker, without a worker: tests start one when they want it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.layout import Layout
from model_store import signing
from tests.console_ready import new_state
from tests.integration.console.running import ROOT, SETS, RunningConsole, servers
from tests.ports import free_offset
from tests.unit.console.retraining import pretended_amulet


def settings(state: Path) -> dict[str, str]:
    """Variables of a console that asks for trainings over its broker, and of the worker that carries them out.

    The key is one that the console trusts, and the program is one that trains within a second. No photograph waits for
    a second expert: which do is drawn, and of two, both would once in a hundred times, and leave nothing to train on.
    """
    trusted, key, program = Layout.of(new_state(state)).trusted, state.parent / "release.key", state.parent / "amulet"
    signing.generate_key(key)
    (trusted / "release.pem").write_bytes(signing.public_pem(key))
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {pretended_amulet.__file__} "$@"\n')
    program.chmod(0o700)
    return {
        "AMULET_TRAINING_WANTED_FILE": "",
        "AMULET_TRAINING_COMMAND": str(program),
        "AMULET_TRAINING_KEY_FILE": str(key),
        "AMULET_TRAINING_DIR": str(state.parent / "training"),
        "AMULET_REVIEW_DOUBLE_RATIO": "0",
    }


@pytest.fixture(scope="session", params=SETS)
def console(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    state = tmp_path_factory.mktemp("console") / "state"
    with servers(request.param) as variables:
        everything = {**variables, **settings(state)}
        with RunningConsole.start(state, everything, offset=free_offset()) as running:
            running.hire("privacy-officer", "model-engineer", "viewer")
            yield running

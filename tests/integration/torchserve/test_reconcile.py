"""The console's reconciler before a real TorchServe that has lost what it should hold, or cannot start it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.torchserve.management import BackendVersion, Loaded, Management
from console.torchserve.reconcile import Patience, reconcile
from console.torchserve.tokens import Tokens
from tests.integration.torchserve.conftest import ARCHIVE
from tests.integration.torchserve.server import RunningTorchServe, until
from tests.tiny_archive import NAME, VERSION

pytestmark = [pytest.mark.torchserve, pytest.mark.fault]

TINY = BackendVersion(NAME, VERSION, ARCHIVE)
WAIT_S = 60.0
PATIENCE_S = 3.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[RunningTorchServe]:
    """One of its own: what is unpacked there is broken, and everything unregistered."""
    with RunningTorchServe.start(tmp_path_factory.mktemp("torchserve") / "state", model_store) as running:
        running.register(ARCHIVE)
        yield running


@pytest.fixture
def management(server: RunningTorchServe) -> Iterator[Management]:
    tokens = Tokens(key_file=server.key_file, management_url=server.management_url)
    management = Management(address=server.management_target, tokens=tokens)
    yield management
    management.close()


def ready(management: Management) -> bool:
    match management.describe(NAME, VERSION):
        case Loaded(workers_ready=count):
            return count > 0
        case _:
            return False


def test_a_version_whose_worker_cannot_come_up_is_unpacked_and_started_anew(
    server: RunningTorchServe, management: Management
) -> None:
    [graph] = (server.state / "tmp" / "models").glob("*/model.onnx")
    graph.write_bytes(b"half a graph")
    server.worker().kill()
    until(lambda: not ready(management), s_max=WAIT_S, what="TorchServe sees that its worker is gone")
    until(lambda: "has the SHA-256" in server.log(), s_max=WAIT_S, what="the next one says what is wrong")
    patience, began_s = Patience(limit_s=PATIENCE_S), time.monotonic()
    looks = []

    def renewed() -> bool:
        looks.append(reconcile(management, lambda: {TINY}, patience))
        return bool(looks[-1].renewed)

    until(renewed, s_max=WAIT_S, what="the version is registered anew")

    assert time.monotonic() - began_s > PATIENCE_S
    assert looks[-1].renewed == (TINY,)
    until(lambda: ready(management), s_max=WAIT_S, what="its worker is ready")
    assert reconcile(management, lambda: {TINY}, patience).renewed == ()


def test_what_was_lost_comes_back_and_what_is_not_wanted_goes(management: Management) -> None:
    assert reconcile(management, set).unregistered == (TINY,)
    assert management.loaded() == []
    assert reconcile(management, lambda: {TINY}).registered == (TINY,)
    until(lambda: ready(management), s_max=WAIT_S, what="its worker is ready")

"""A real TorchServe, a gateway process before it, and a console's place behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.gateway.process import GatewayProcess, until
from tests.integration.torchserve.conftest import model_store, server
from tests.integration.torchserve.server import RunningTorchServe
from tests.unit.gateway.cast import Console, environment_for, policy

__all__ = ["console", "gateway", "model_store", "server"]


@pytest.fixture
def console() -> Iterator[Console]:
    with Console(policy()) as standing:
        yield standing


def environment(folder: Path, server: RunningTorchServe, console: Console) -> dict[str, str]:
    return {
        **environment_for(folder, console),
        "AMULET_TORCHSERVE_GRPC": server.inference_target,
        "AMULET_TORCHSERVE_MANAGEMENT_URL": server.management_url,
        "AMULET_TORCHSERVE_KEY_FILE": str(server.key_file),
    }


@pytest.fixture
def gateway(tmp_path: Path, server: RunningTorchServe, console: Console) -> Iterator[GatewayProcess]:
    """Ready: its model gave the right answer to a golden photograph through the real worker."""
    with GatewayProcess(environment(tmp_path, server, console), tmp_path / "gateway.log") as running:
        until(lambda: running.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")
        yield running

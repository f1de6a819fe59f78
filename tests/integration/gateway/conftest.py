"""A real TorchServe, a gateway process before it, and a console's place behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.gateway.process import GatewayProcess, until
from tests.integration.torchserve.conftest import model_store, server
from tests.integration.torchserve.server import RunningTorchServe
from tests.unit.gateway.cast import CONTROL_TOKEN, KEY_SECRET, Console, policy

__all__ = ["console", "gateway", "model_store", "server"]


@pytest.fixture
def console() -> Iterator[Console]:
    with Console(policy()) as standing:
        yield standing


def environment(folder: Path, server: RunningTorchServe, console: Console) -> dict[str, str]:
    secrets = folder / "secrets"
    secrets.mkdir(parents=True, exist_ok=True)
    (secrets / "key_secret").write_bytes(KEY_SECRET)
    (secrets / "control_token").write_bytes(CONTROL_TOKEN)
    (secrets / "input_hash_secret").write_bytes(b"the secret under which photographs are hashed")
    return {
        "AMULET_STATE_DIR": str(folder),
        "AMULET_INSECURE": "1",
        "AMULET_GATEWAY_LISTEN": "127.0.0.1:0",
        "AMULET_GATEWAY_OPS_LISTEN": "127.0.0.1:0",
        "AMULET_GATEWAY_ID": "gateway-1",
        "AMULET_CONSOLE_URL": console.url,
        "AMULET_TORCHSERVE_GRPC": server.inference_target,
        "AMULET_TORCHSERVE_MANAGEMENT_URL": server.management_url,
        "AMULET_TORCHSERVE_KEY_FILE": str(server.key_file),
        "AMULET_JOURNAL_FREE_MIB_MIN": "1",
        "AMULET_DECODER_WORKERS": "2",
    }


@pytest.fixture
def gateway(tmp_path: Path, server: RunningTorchServe, console: Console) -> Iterator[GatewayProcess]:
    """Ready: its model gave the right answer to a golden photograph through the real worker."""
    with GatewayProcess(environment(tmp_path, server, console), tmp_path / "gateway.log") as running:
        until(lambda: running.page("/readyz")[0] == 200, s_max=30, what="the gateway is ready")
        yield running

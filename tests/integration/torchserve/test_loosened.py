"""Controls of test_lockdown.py: with its locks taken away TorchServe does what the attacks want, and it is noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

import grpc
import httpx
import pytest

from tests.integration.torchserve.conftest import ARCHIVE
from tests.integration.torchserve.server import RunningTorchServe
from tests.integration.torchserve.test_lockdown import ATTACKS, Scene, attack_fails, listening, open_to_others, scene_of

pytestmark = pytest.mark.torchserve

ANY_ADDRESS: Final = "(file|https?)://.*"  # what TorchServe itself allows where nobody says
LAST: Final = "unregistering with the inference token"  # takes away what the others are about
# What fails for another reason than our settings. TorchServe refuses a path that leads out of its store, and it has
# neither the store nor the runtime. Where no token is needed none is given out; the one with the right key is, as the
# scene of test_lockdown.py shows. Metrics have a port of their own.
FAIL_ANYWAY: Final = frozenset(
    {
        "a model by its absolute path",
        "a model by s3",
        "a model from the folder above",
        "a model through ..",
        "a model through an encoded ..",
        "a new management token with the inference token",
        "a new management token without any",
        "a workflow by its bare name",
        "a workflow from an absolute folder",
        "another runtime",
        "metrics on the management port",
    }
)


class Loosened(RunningTorchServe):
    program: ClassVar[tuple[str, ...]] = ("-m", "tests.integration.torchserve.loosened")
    outside: ClassVar[Mapping[str, str]] = {**RunningTorchServe.outside, "TS_ALLOWED_URLS": ANY_ADDRESS}

    def token(self, kind: str) -> str:
        """None is asked for."""
        return ""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Scene]:
    with Loosened.start(tmp_path_factory.mktemp("loosened") / "state", model_store) as server:
        server.register(ARCHIVE)
        with scene_of(server, tmp_path_factory.mktemp("evil"), old_management_token="") as made:
            yield made


def test_a_further_port_a_readable_file_and_a_setting_from_outside_are_noticed(scene: Scene) -> None:
    server = scene.server
    assert listening(server) - {("127.0.0.1", port) for port in (7070, 7071, 8081)}
    metrics = httpx.get(f"http://127.0.0.1:{8082 + server.port_offset}/metrics", timeout=30, trust_env=False)
    assert metrics.status_code == 200
    assert server.state in open_to_others(server)
    assert f"Allowed Urls: [{ANY_ADDRESS}]" in server.log()
    assert list((server.state / "logs").rglob("*.cfg"))  # a snapshot, from which a model would come back
    assert {worker.environ().get("AMULET_CANARY_SECRET") for worker in server.workers()} == {"canary"}


def test_what_is_closed_by_our_settings_is_open_without_them(scene: Scene) -> None:
    attacks = [*(attack for attack in ATTACKS if attack != LAST), LAST]

    failed = set()
    for attack in attacks:
        if attack_fails(scene, attack):
            failed.add(attack)
        with suppress(grpc.RpcError):  # of one name there is one: the next attack's would be refused for this one's
            scene.server.unregister("hostile", "1")

    assert failed - FAIL_ANYWAY == set()
    assert len(ATTACKS.keys() - FAIL_ANYWAY) >= 20

"""What TorchServe must not do for anyone: attacks on every opening of reliability.md, and what listens."""

from __future__ import annotations

import json
import shutil
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from zipfile import ZipFile

import grpc
import httpx
import psutil
import pytest

from protos.torchserve import inference_pb2, inference_pb2_grpc, management_pb2
from tests.integration.torchserve.conftest import ARCHIVE
from tests.integration.torchserve.server import RunningTorchServe
from tests.tiny_archive import NAME, VERSION

pytestmark = pytest.mark.torchserve


@dataclass(frozen=True)
class Scene:
    """A server, a trap that counts who asks it for an archive, and hostile code outside the model store."""

    server: RunningTorchServe
    old_management_token: str
    trap_url: str
    asked: list[int]  # the ports from which somebody came
    evil: Path  # a folder that would be a model, were it in the store
    canary: Path  # made by the hostile code when it runs


@pytest.fixture(scope="module")
def scene(server: RunningTorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    old = server.token("management")
    renewed = httpx.get(
        f"{server.management_url}/token", params={"type": "management"}, headers=bearer(server.token("API"))
    )
    assert renewed.status_code == 200
    assert server.token("management") != old
    with scene_of(server, tmp_path_factory.mktemp("evil"), old_management_token=old) as made:
        yield made


@contextmanager
def scene_of(server: RunningTorchServe, folder: Path, *, old_management_token: str) -> Iterator[Scene]:
    asked: list[int] = []

    class Trap(HTTPServer):
        def verify_request(self, request: object, client_address: tuple[str, int]) -> bool:  # type: ignore[override]
            asked.append(client_address[1])  # also whoever only begins to speak, as by https
            return False

    trap = Trap(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=trap.serve_forever)
    thread.start()
    evil, canary = hostile_model(folder)
    try:
        yield Scene(server, old_management_token, f"127.0.0.1:{trap.server_port}", asked, evil, canary)
    finally:
        trap.shutdown()
        thread.join()
        trap.server_close()


def hostile_model(folder: Path) -> tuple[Path, Path]:
    """A folder and an archive of the same content, whose code makes the canary wherever it is run from."""
    model, canary = folder / "model", folder / "canary"
    code = f"open({str(canary)!r}, 'w').close()\n"
    (model / "MAR-INF").mkdir(parents=True)
    (model / "hostile.py").write_text(code + "def handle(data, context):\n    return [b'']\n")
    for shadowed in ("sitecustomize", "numpy"):
        (model / f"{shadowed}.py").write_text(code)
    manifest = {
        "createdOn": "2026-01-01",
        "runtime": "python",
        "model": {"modelName": "hostile", "modelVersion": "1", "serializedFile": "hostile.py", "handler": "hostile.py"},
        "archiverVersion": "0.12.0",
    }
    (model / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    (model / "model-config.yaml").write_text("useVenv: true\n")
    with ZipFile(folder / "hostile.mar", "w") as archive:
        for path in sorted(model.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(model))
    return model, canary


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def http_fails(url: str, *, method: str = "POST", token: str = "") -> bool:
    answer = httpx.request(method, url, headers=bearer(token) if token else {}, timeout=30.0, trust_env=False)
    return answer.status_code >= 400


def register_fails(
    scene: Scene, url: str, *, token: str | None = None, handler: str = "", runtime: str = "", name: str = ""
) -> bool:
    """Whether registering and starting a worker fails, by gRPC, with the management token unless another is given."""
    request = management_pb2.RegisterModelRequest(
        url=url, initial_workers=1, synchronous=True, handler=handler, runtime=runtime, model_name=name
    )
    try:
        scene.server.manage("RegisterModel", request, token=token)
    except grpc.RpcError:
        return True
    return False


def denied(scene: Scene, method: str, request: object, token: str) -> bool:
    try:
        scene.server.manage(method, request, token=token)
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.PERMISSION_DENIED
    return False


def inference_denied(scene: Scene, token: str) -> bool:
    with grpc.insecure_channel(scene.server.inference_target) as channel:
        request = inference_pb2.PredictionsRequest(model_name=NAME, model_version=VERSION, input={"request": b""})
        try:
            inference_pb2_grpc.InferenceAPIsServiceStub(channel).Predictions(
                request, metadata=(("authorization", f"Bearer {token}"),), timeout=10
            )
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.PERMISSION_DENIED
    return False


REGISTER = management_pb2.RegisterModelRequest(url=ARCHIVE, initial_workers=1, synchronous=True)
SCALE = management_pb2.ScaleWorkerRequest(model_name=NAME, max_worker=4, min_worker=4, synchronous=True)
DEFAULT = management_pb2.SetDefaultRequest(model_name=NAME, model_version=VERSION)
UNREGISTER = management_pb2.UnregisterModelRequest(model_name=NAME, model_version=VERSION)
LIST = management_pb2.ListModelsRequest()

# Name -> whether the attack failed. Those with no word on tokens hold the management token:
# as if the console itself had been talked into it.
ATTACKS: dict[str, Callable[[Scene], bool]] = {
    "a model by http": lambda s: register_fails(s, f"http://{s.trap_url}/x.mar"),
    "a model by https": lambda s: register_fails(s, f"https://{s.trap_url}/x.mar"),
    "a model by HTTP in capitals": lambda s: register_fails(s, f"HTTP://{s.trap_url}/x.mar"),
    "a model by http, through REST": lambda s: http_fails(
        f"{s.server.management_url}/models?url=http://{s.trap_url}/x.mar", token=s.server.token("management")
    ),
    "a model by s3": lambda s: register_fails(s, "s3://bucket/x.mar"),
    "a model by file": lambda s: register_fails(s, f"file://{s.evil.parent}/hostile.mar"),
    "a model by file with two slashes too many": lambda s: register_fails(s, f"file:////{s.evil.parent}/hostile.mar"),
    "a model through ..": lambda s: register_fails(s, f"../{s.evil.parent.name}/hostile.mar"),
    "a model through an encoded ..": lambda s: register_fails(s, f"%2e%2e/{s.evil.parent.name}/hostile.mar"),
    "a model by its absolute path": lambda s: register_fails(s, f"{s.evil.parent}/hostile.mar"),
    "a model from an absolute folder": lambda s: register_fails(s, str(s.evil)),
    "a model from the folder above": lambda s: register_fails(s, str(s.evil.parent)),
    "a handler from a folder of one's own": lambda s: register_fails(
        s, ARCHIVE, handler=f"{s.evil}/hostile.py:handle", name="handler"
    ),
    "another Python": lambda s: register_fails(s, ARCHIVE, runtime="python3", name="runtime"),
    "another runtime": lambda s: register_fails(s, ARCHIVE, runtime="LSP", name="runtime"),
    "a workflow by http": lambda s: http_fails(
        f"{s.server.management_url}/workflows?url=http://{s.trap_url}/x.war", token=s.server.token("management")
    ),
    "a workflow from an absolute folder": lambda s: http_fails(
        f"{s.server.management_url}/workflows?url={s.evil}", token=s.server.token("management")
    ),
    "a workflow by its bare name": lambda s: http_fails(
        f"{s.server.management_url}/workflows?url=x.war", token=s.server.token("management")
    ),
    "a workflow without a token": lambda s: http_fails(
        f"{s.server.management_url}/workflows?url=http://{s.trap_url}/x.war"
    ),
    "registering without a token": lambda s: denied(s, "RegisterModel", REGISTER, ""),
    "registering with an old token": lambda s: denied(s, "RegisterModel", REGISTER, s.old_management_token),
    "registering with the inference token": lambda s: denied(s, "RegisterModel", REGISTER, s.server.token("inference")),
    "registering with the token API's key": lambda s: denied(s, "RegisterModel", REGISTER, s.server.token("API")),
    "scaling without a token": lambda s: denied(s, "ScaleWorker", SCALE, ""),
    "scaling with the inference token": lambda s: denied(s, "ScaleWorker", SCALE, s.server.token("inference")),
    "scaling through REST without a token": lambda s: http_fails(
        f"{s.server.management_url}/models/{NAME}?min_worker=4", method="PUT"
    ),
    "a default without a token": lambda s: denied(s, "SetDefault", DEFAULT, ""),
    "a default with an old token": lambda s: denied(s, "SetDefault", DEFAULT, s.old_management_token),
    "a default through REST": lambda s: http_fails(
        f"{s.server.management_url}/models/{NAME}/{VERSION}/set-default",
        method="PUT",
        token=s.server.token("inference"),
    ),
    "unregistering with the inference token": lambda s: denied(
        s, "UnregisterModel", UNREGISTER, s.server.token("inference")
    ),
    "listing without a token": lambda s: denied(s, "ListModels", LIST, ""),
    "listing through REST without a token": lambda s: http_fails(f"{s.server.management_url}/models", method="GET"),
    "listing by an address that speaks of /token": lambda s: http_fails(
        f"{s.server.management_url}/models?next=/token", method="GET"
    ),
    "a new management token with the inference token": lambda s: http_fails(
        f"{s.server.management_url}/token?type=management", method="GET", token=s.server.token("inference")
    ),
    "a new management token without any": lambda s: http_fails(
        f"{s.server.management_url}/token?type=management", method="GET"
    ),
    "a prediction without a token": lambda s: inference_denied(s, ""),
    "a prediction with the management token": lambda s: inference_denied(s, s.server.token("management")),
    "metrics on the management port": lambda s: http_fails(f"{s.server.management_url}/metrics", method="GET"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_fails(scene: Scene, attack: str) -> None:
    before = scene.server.describe(NAME)

    assert attack_fails(scene, attack)

    after = scene.server.describe(NAME)
    assert (after["minWorkers"], after["maxWorkers"]) == (before["minWorkers"], before["maxWorkers"])
    assert [worker["pid"] for worker in after["workers"]] == [worker["pid"] for worker in before["workers"]]


def attack_fails(scene: Scene, attack: str) -> bool:
    """Whether it is refused, nobody is asked for an archive, and no strange code runs."""
    refused = ATTACKS[attack](scene)
    asked, ran = bool(scene.asked), scene.canary.exists()
    scene.asked.clear()
    scene.canary.unlink(missing_ok=True)
    return refused and not asked and not ran


def test_twenty_attacks_are_tried_and_more() -> None:
    assert len(ATTACKS) >= 20


def listening(server: RunningTorchServe) -> set[tuple[str, int]]:
    """Address and port, less the stack's offset, of whatever TorchServe and its workers listen on."""
    process = psutil.Process(server.process.pid)
    return {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port - server.port_offset)
        for one in (process, *process.children(recursive=True))
        for connection in one.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    }


def test_nothing_listens_but_two_grpc_ports_and_the_token_api(server: RunningTorchServe) -> None:
    assert listening(server) == {("127.0.0.1", port) for port in (7070, 7071, 8081)}
    sockets = {path.name for path in server.state.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)}
    assert sockets == {"inference.sock", ".ts.sock.9000"}


def open_to_others(server: RunningTorchServe) -> list[Path]:
    return [
        path
        for path in (server.state, *server.state.rglob("*"))
        if not path.is_symlink() and not stat.S_ISSOCK(path.stat().st_mode) and path.stat().st_mode & 0o077
    ]


def test_nobody_else_can_read_the_state_folder(server: RunningTorchServe) -> None:
    assert stat.S_IMODE(server.state.stat().st_mode) == 0o700
    assert open_to_others(server) == []
    assert stat.S_IMODE(server.key_file.stat().st_mode) == 0o600


def test_the_environment_overrides_nothing(server: RunningTorchServe) -> None:
    """`TS_ALLOWED_URLS=.*` was in the environment that the launcher was started from."""
    assert "Allowed Urls: [(?!)]" in server.log()


def test_no_token_is_logged(scene: Scene) -> None:
    server = scene.server
    written = server.log() + server.output()
    secrets = [server.token(kind) for kind in ("management", "inference", "API")] + [scene.old_management_token]
    assert not [secret for secret in secrets if secret in written]


def test_models_of_an_earlier_run_do_not_come_back(tmp_path: Path, model_store: Path) -> None:
    with RunningTorchServe.start(tmp_path / "state", model_store) as running:
        running.register(ARCHIVE)
        running.stop()

        running.begin()

        assert json.loads(running.manage("ListModels", LIST))["models"] == []
        assert not list((running.state / "logs").rglob("*.cfg"))


def test_a_deep_and_oddly_named_state_folder_still_has_room_for_sockets(tmp_path: Path, model_store: Path) -> None:
    deep = tmp_path / "ห้อง & <b>" / ("d" * 60)
    deep.mkdir(parents=True)
    with RunningTorchServe.start(deep / "state", model_store) as running:
        running.register(ARCHIVE)
        assert (deep / "state" / "tmp").is_symlink()
        short = (deep / "state" / "tmp").resolve()
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
    shutil.rmtree(short)

"""Gateway processes: certificates, a console that is away, wrong settings, two of them on one Redis."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc
import psutil
import pytest
from cryptography import x509

from cli.layout import Layout
from cli.provision import provision
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.integration.gateway.process import ROOT, GatewayProcess, until
from tests.unit.gateway.admission.test_limits import REDIS_URL, redis_answers
from tests.unit.gateway.cast import SOMCHAI, Console, environment_for, new_key, policy, refused
from tests.unit.gateway.cast import client as client_of

OLD: Final = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
NEW: Final = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.fixture
def console() -> Iterator[Console]:
    with Console(policy()) as standing:
        yield standing


def gateway(folder: Path, console: Console, **variables: str) -> GatewayProcess:
    return GatewayProcess({**environment_for(folder, console), **variables}, folder / "gateway.log")


def models_listed(channel: grpc.Channel, key: str = SOMCHAI.text) -> list[str]:
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.ListModels(pb.ListModelsRequest(), metadata=(("x-api-key", key),), timeout=10)
    return [model.name for model in answer.models]


def certificate_serial(port: int, authority: Path) -> int:
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as secured,
    ):
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
        return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"").serial_number


def test_a_certificate_is_renewed_without_a_failed_call(tmp_path: Path, console: Console) -> None:
    first, second = Layout.of(tmp_path / "first"), Layout.of(tmp_path / "second")
    provision(first)
    provision(second)
    tls = {
        "AMULET_INSECURE": "",
        "AMULET_TLS_CERT": str(first.tls / "server.pem"),
        "AMULET_TLS_KEY": str(first.tls / "server.key"),
    }
    with gateway(tmp_path / "state", console, **tls) as running:
        credentials = grpc.ssl_channel_credentials((first.tls / "ca.pem").read_bytes())
        with grpc.secure_channel(f"localhost:{running.grpc_port}", credentials) as channel:
            until(lambda: answers(channel), s_max=30, what="the policy is heard")
            before = certificate_serial(running.grpc_port, first.tls / "ca.pem")
            for name in ("server.key", "server.pem"):  # as a renewal does: whole files, renamed into place
                shutil.copy(second.tls / name, first.tls / f"{name}.new")
                (first.tls / f"{name}.new").replace(first.tls / name)

            assert certificate_serial(running.grpc_port, second.tls / "ca.pem") != before
            assert models_listed(channel) == ["tiny"]  # the connection that was open stays


def spoken(port: int, version: ssl.TLSVersion) -> str | None:
    """The version that a client of this one alone and of every cipher gets; None when the server refuses it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _only(context, version)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        try:
            with context.wrap_socket(raw) as secured:
                return secured.version()
        except ssl.SSLEOFError:  # as gRPC refuses a handshake: it hangs up
            return None


def _only(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")  # OpenSSL by itself speaks nothing old any more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version


def test_old_versions_of_tls_are_refused(tmp_path: Path, console: Console) -> None:
    layout = Layout.of(tmp_path / "stack")
    provision(layout)
    certificate, key = layout.tls / "server.pem", layout.tls / "server.key"
    tls = {"AMULET_INSECURE": "", "AMULET_TLS_CERT": str(certificate), "AMULET_TLS_KEY": str(key)}
    with gateway(tmp_path / "state", console, **tls) as running:
        heard = {version: spoken(running.grpc_port, version) for version in (*OLD, *NEW)}

    assert heard == {**dict.fromkeys(OLD), ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}


@pytest.mark.parametrize("version", OLD)
def test_the_client_of_the_test_speaks_them(tmp_path: Path, version: ssl.TLSVersion) -> None:
    layout = Layout.of(tmp_path / "stack")
    provision(layout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(layout.tls / "server.pem", layout.tls / "server.key")
    _only(context, version)
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: context.wrap_socket(listening.accept()[0], server_side=True).close())

        assert spoken(listening.getsockname()[1], version) == version.name.replace("_", ".").removesuffix(".0")
        waiting.result()


def answers(channel: grpc.Channel) -> bool:
    try:
        return bool(models_listed(channel))
    except grpc.RpcError:
        return False


def test_plain_text_finds_no_way_into_a_gateway_with_a_certificate(tmp_path: Path, console: Console) -> None:
    layout = Layout.of(tmp_path / "stack")
    provision(layout)
    tls = {
        "AMULET_INSECURE": "",
        "AMULET_TLS_CERT": str(layout.tls / "server.pem"),
        "AMULET_TLS_KEY": str(layout.tls / "server.key"),
    }
    with (
        gateway(tmp_path / "state", console, **tls) as running,
        grpc.insecure_channel(running.target) as channel,
        pytest.raises(grpc.RpcError) as error,
    ):
        models_listed(channel)

    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_start_without_a_console_serves_by_the_last_policy(tmp_path: Path, console: Console) -> None:
    with gateway(tmp_path, console) as running, grpc.insecure_channel(running.target) as channel:
        until(lambda: answers(channel), s_max=30, what="the policy is heard")
        until((tmp_path / "gateway" / "policy.pb").exists, s_max=30, what="the policy is kept")
    console.away = True

    with gateway(tmp_path, console) as running, grpc.insecure_channel(running.target) as channel:
        assert models_listed(channel) == ["tiny"]


def test_decoders_end_with_a_gateway_that_is_killed(tmp_path: Path, console: Console) -> None:
    with gateway(tmp_path, console) as running:
        decoders = psutil.Process(running.process.pid).children()
        assert len(decoders) == 2

        running.kill()

        until(lambda: not any(decoder.is_running() for decoder in decoders), s_max=30, what="the decoders have ended")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"AMULET_GATEWAY_LISTEN": "0.0.0.0:7443"}, "AMULET_INSECURE is allowed on loopback only"),
        ({"AMULET_INSECURE": ""}, "AMULET_TLS_CERT and AMULET_TLS_KEY are not set"),
        ({"AMULET_REQUEST_S_MAX": "-1"}, "AMULET_REQUEST_S_MAX is '-1'"),
        ({"AMULET_REQUESTS_S_MAX": "1"}, "AMULET_REQUESTS_S_MAX is not a setting of Amulet"),
        ({"AMULET_KEY_SECRET_FILE": "/nonesuch"}, "AMULET_KEY_SECRET_FILE names /nonesuch, which cannot be read"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(
    tmp_path: Path, console: Console, variables: dict[str, str], sentence: str
) -> None:
    ended = start_that_fails(environment_for(tmp_path, console) | variables)

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"gateway: {sentence}")
    assert len(ended.stderr.splitlines()) == 1


def start_that_fails(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_journal_in_a_file_stops_the_start_with_the_variable(tmp_path: Path, console: Console) -> None:
    (tmp_path / "journal").write_text("")
    variables = {"AMULET_JOURNAL_DIR": str(tmp_path / "journal")}

    ended = start_that_fails(environment_for(tmp_path, console) | variables)

    assert ended.returncode == 2
    assert ended.stderr == (
        f"gateway: AMULET_JOURNAL_DIR names {tmp_path / 'journal'}, which cannot be used (it is no folder): "
        "name a folder that this gateway may write to\n"
    )


@pytest.mark.parametrize("name", ["AMULET_GATEWAY_LISTEN", "AMULET_GATEWAY_OPS_LISTEN"])
def test_a_taken_port_stops_the_start_with_the_variable_and_the_port(
    tmp_path: Path, console: Console, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = start_that_fails(environment_for(tmp_path, console) | {name: listen})

    said = ended.stderr.splitlines()[-1]  # gRPC's own words about its port stand before it
    assert ended.returncode == 1
    assert said.startswith(f"gateway: {name} is {listen}, which cannot be listened on")
    assert said.endswith(": name a free HOST:PORT of this machine")


def test_a_key_of_another_certificate_stops_the_start_and_is_not_said_of_the_port(
    tmp_path: Path, console: Console
) -> None:
    first, second = Layout.of(tmp_path / "first"), Layout.of(tmp_path / "second")
    provision(first)
    provision(second)
    tls = {
        "AMULET_INSECURE": "",
        "AMULET_TLS_CERT": str(first.tls / "server.pem"),
        "AMULET_TLS_KEY": str(second.tls / "server.key"),
    }

    ended = start_that_fails(environment_for(tmp_path / "state", console) | tls)

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"gateway: AMULET_TLS_KEY names {second.tls / 'server.key'}, which is not the key")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.servers
def test_two_gateways_on_one_redis_admit_exactly_the_limit(tmp_path: Path, console: Console) -> None:
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    key = new_key()
    owner = client_of(key, client_id=f"client-{key.key_id}", calls_per_minute=40)
    console.issue(policy(clients=[owner]))
    with (
        gateway(tmp_path / "a", console, AMULET_CACHE_URL=REDIS_URL) as first,
        gateway(tmp_path / "b", console, AMULET_CACHE_URL=REDIS_URL) as second,
        grpc.insecure_channel(first.target) as one,
        grpc.insecure_channel(second.target) as other,
        ThreadPoolExecutor(64) as callers,
    ):
        for channel in (one, other):
            until(lambda channel=channel: answers_with(channel, key.text), s_max=30, what="the policy is heard")  # type: ignore[misc]  # the loop's variable, bound

        def call(number: int) -> words.Reason.ValueType:
            stub = prediction_pb2_grpc.PredictionServiceStub((one, other)[number % 2])
            try:
                stub.Predict(pb.PredictRequest(views=[pb.View(photo=b"")]), metadata=key.metadata, timeout=20)
            except grpc.RpcError as error:
                return refused(error).reason  # type: ignore[arg-type]  # a call and an error in one
            raise AssertionError("an empty photograph was answered")

        reasons = list(callers.map(call, range(128)))

    assert reasons.count(words.REASON_PHOTO_MISSING) == 40
    assert reasons.count(words.REASON_RATE_LIMITED) == 88


def answers_with(channel: grpc.Channel, key: str) -> bool:
    try:
        return bool(models_listed(channel, key))
    except grpc.RpcError:
        return False

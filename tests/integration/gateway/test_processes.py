"""Gateway processes: certificates, a console that is away, wrong settings, two of them on one Redis."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

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


def gateway(folder: Path, console: Console, *program: str, **variables: str) -> GatewayProcess:
    settings = {**environment_for(folder, console), **variables}
    return GatewayProcess(settings, folder / "gateway.log", program or ("-m", "gateway"))


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


class Caller:
    """Calls without pause until the context ends, each over a channel as `channel` makes it."""

    def __init__(self, channel: Callable[[], grpc.Channel], *, anew: bool) -> None:
        """anew: each call opens a connection of its own."""
        self._channel, self._anew = channel, anew
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered, self.failed = 0, list[str]()

    def _run(self) -> None:
        channel = self._channel()
        while not self._stop.is_set():
            try:
                models_listed(channel)
                self.answered += 1
            except grpc.RpcError as error:
                self.failed.append(str(error))
            if self._anew:
                channel.close()
                channel = self._channel()
        channel.close()

    def until_more(self) -> None:
        wanted = self.answered + 5
        until(lambda: self.answered >= wanted or bool(self.failed), s_max=60, what="calls are answered")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_certificates_are_renewed_without_a_failed_call(tmp_path: Path, console: Console) -> None:
    console.issue(policy(clients=[client_of(SOMCHAI, calls_per_minute=1_000_000)]))
    served, *issued = (Layout.of(tmp_path / name) for name in ("served", "first", "second"))
    for layout in (served, *issued):
        provision(layout)
    tls = {
        "AMULET_INSECURE": "",
        "AMULET_TLS_CERT": str(served.tls / "server.pem"),
        "AMULET_TLS_KEY": str(served.tls / "server.key"),
    }
    known = grpc.ssl_channel_credentials(b"".join((each.tls / "ca.pem").read_bytes() for each in (served, *issued)))
    apart = (("grpc.use_local_subchannel_pool", 1),)
    with gateway(tmp_path / "state", console, **tls) as running:

        def channel() -> grpc.Channel:
            return grpc.secure_channel(f"localhost:{running.grpc_port}", known, options=apart)

        with channel() as first:
            until(lambda: answers(first), s_max=30, what="the policy is heard")
        with Caller(channel, anew=False) as staying, Caller(channel, anew=True) as coming:
            for layout in (*issued, *issued):
                with pytest.raises(ssl.SSLError):  # the control: it is another one until it is renewed
                    certificate_serial(running.grpc_port, layout.tls / "ca.pem")
                for name in ("server.key", "server.pem"):  # as a renewal does: whole files, renamed into place
                    shutil.copy(layout.tls / name, served.tls / f"{name}.new")
                    (served.tls / f"{name}.new").replace(served.tls / name)
                coming.until_more()
                staying.until_more()
                assert certificate_serial(running.grpc_port, layout.tls / "ca.pem")
            assert (staying.failed, coming.failed) == ([], [])

            running.kill()  # the control: calls that fail are counted
            until(lambda: bool(staying.failed and coming.failed), s_max=60, what="calls fail")


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


LIMIT: Final = 40
CALLS: Final = 128  # of 64 callers; each gateway gets half of them, which is more than the limit
# A Redis that a busy machine keeps silent for a tenth of a second is not what is looked at here.
PATIENT: Final = """
import runpy, gateway.shared_redis as shared
shared._ANSWER_S_MAX = 10.0
runpy.run_module("gateway", run_name="__main__")
"""


def reasons_of_calls_through_two_gateways(
    folder: Path, console: Console, cache_url: str
) -> Counter[words.Reason.ValueType]:
    """What becomes of the calls of 64 callers with one key, whose limit is LIMIT calls a minute."""
    key = new_key()
    owner = client_of(key, client_id=f"client-{key.key_id}", calls_per_minute=LIMIT)
    console.issue(policy(clients=[owner]))
    with (
        gateway(folder / "a", console, "-c", PATIENT, AMULET_CACHE_URL=cache_url, AMULET_GATEWAY_ID="a") as first,
        gateway(folder / "b", console, "-c", PATIENT, AMULET_CACHE_URL=cache_url, AMULET_GATEWAY_ID="b") as second,
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

        reasons = Counter(callers.map(call, range(CALLS)))
        assert not any(line["event"] == "redis_away" for each in (first, second) for line in each.lines())
        return reasons


@pytest.mark.servers
def test_two_gateways_on_one_redis_admit_exactly_the_limit(tmp_path: Path, console: Console) -> None:
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    reasons = reasons_of_calls_through_two_gateways(tmp_path, console, REDIS_URL)

    assert reasons == {words.REASON_PHOTO_MISSING: LIMIT, words.REASON_RATE_LIMITED: CALLS - LIMIT}


def test_two_gateways_that_count_apart_admit_twice_the_limit_and_it_is_noticed(
    tmp_path: Path, console: Console
) -> None:
    """Negative control of the test above."""
    reasons = reasons_of_calls_through_two_gateways(tmp_path, console, "memory://")

    assert reasons == {words.REASON_PHOTO_MISSING: 2 * LIMIT, words.REASON_RATE_LIMITED: CALLS - 2 * LIMIT}


def answers_with(channel: grpc.Channel, key: str) -> bool:
    try:
        return bool(models_listed(channel, key))
    except grpc.RpcError:
        return False

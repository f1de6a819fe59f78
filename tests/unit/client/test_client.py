"""The client against a real gRPC server that stands where a gateway would be."""

from __future__ import annotations

import asyncio
import itertools
import pickle
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships without stubs
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from amulet_client import AmuletError, AsyncClient, Client, ConnectionOptions, Prediction, Refused, Unreachable, View
from amulet_client.answers import request_of
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.client.cast import KEY, Gateway


@pytest.fixture
def gateway() -> Iterator[tuple[Gateway, str]]:
    server, service = grpc.server(ThreadPoolExecutor(4)), Gateway()
    rpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def client(gateway: tuple[Gateway, str]) -> Iterator[Client]:
    with Client(gateway[1], api_key=KEY, plaintext=True, language="th", timeout_s=30) as client:
        yield client


def test_an_answer_arrives_as_a_value_and_the_key_as_metadata(gateway: tuple[Gateway, str], client: Client) -> None:
    answer = client.predict([b"amulet"], request_id="mine")

    assert (answer.verdict, answer.request_id) == ("IN_DOMAIN", "mine")
    assert answer.candidates[0].probability == 0.875
    assert gateway[0].metadata["x-api-key"] == KEY
    assert gateway[0].metadata["accept-language"] == "th"


def test_a_refusal_carries_reason_waiting_time_and_the_sentence_for_people(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        client.predict([b"limited"])

    assert refused.value.reason == "REASON_RATE_LIMITED"
    assert refused.value.code == "RESOURCE_EXHAUSTED"
    assert refused.value.retry_after_s == 1.5
    assert refused.value.localized == "เรียกบ่อยเกินไป"
    assert refused.value.request_id == "r1"


def test_a_busy_gateway_is_waited_for_as_long_as_it_says_and_the_caller_allows(gateway: tuple[Gateway, str]) -> None:
    gateway[0].busy_left = 2
    with Client(gateway[1], api_key=KEY, plaintext=True, wait_s_max=5) as patient:
        assert patient.predict([b"amulet"]).prediction_id == "p1"
    assert gateway[0].calls == 3

    with Client(gateway[1], api_key=KEY, plaintext=True, wait_s_max=1) as hasty, pytest.raises(Refused):
        hasty.predict([b"limited"])  # it would have to wait for 1.5 s
    assert gateway[0].calls == 4


def test_by_default_waiting_is_the_caller_s_to_do(gateway: tuple[Gateway, str], client: Client) -> None:
    gateway[0].busy_left = 1
    with pytest.raises(Refused) as refused:
        client.predict([b"amulet"])
    assert refused.value.retry_after_s == 0.04
    assert gateway[0].calls == 1


def test_closing_a_client_ends_its_waiting(gateway: tuple[Gateway, str]) -> None:
    client = Client(gateway[1], api_key=KEY, plaintext=True, wait_s_max=1000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.predict, [b"limited for long"])
        assert gateway[0].called.wait(30)
        client.close()
        with pytest.raises(AmuletError):  # the refusal that it waited after, or the call that was cut off
            waiting.result(timeout=30)


def test_no_gateway_is_said_so() -> None:
    with Client("127.0.0.1:1", api_key=KEY, plaintext=True, timeout_s=2) as client, pytest.raises(Unreachable) as error:
        client.predict([b"amulet"])
    assert "127.0.0.1:1" in str(error.value)
    assert (error.value.code, error.value.sent) == ("UNAVAILABLE", False)


def test_a_stream_gives_answers_and_refusals_alike(client: Client) -> None:
    requests = [request_of([photo], request_id=photo.decode()) for photo in (b"amulet", b"broken", b"coin")]

    outcomes = {each.request_id: each for each in client.predict_stream(requests)}

    assert isinstance(outcomes["amulet"], Prediction)
    assert isinstance(outcomes["coin"], Prediction)
    broken = outcomes["broken"]
    assert isinstance(broken, Refused)
    assert (broken.reason, broken.code, broken.field) == ("REASON_PHOTO_CORRUPT", "INVALID_ARGUMENT", "views[0].photo")


def test_every_page_of_models_is_read(client: Client) -> None:
    assert [model.name for model in client.list_models()] == ["model-0", "model-1", "model-2"]


def test_a_model_comes_with_its_card(client: Client) -> None:
    model = client.get_model("amulets")

    assert (model.name, model.ready, model.versions[0].alias) == ("amulets", True, "champion")
    assert model.card is not None
    assert model.card.classes == {"a": {"en": "Alpha", "th": "อัลฟา"}}
    assert model.card.input_px == (224, 192)
    assert model.card.detectors[0].out_at == 3
    assert model.card.metrics[0].low == 0.85
    assert model.card.document == {"temperature": 1.5}
    assert client.get_model("amulets", "v2").version == "v2"
    assert client.list_models()[0].card is None


def test_feedback_of_an_unknown_kind_never_leaves(client: Client) -> None:
    assert client.feedback("p1", kind="wrong") == "p1-2"
    with pytest.raises(ValueError, match="confirmed, wrong"):
        client.feedback("p1", kind="meh")


async def test_the_async_client_gives_the_same(gateway: tuple[Gateway, str]) -> None:
    async with AsyncClient(gateway[1], api_key=KEY, plaintext=True, timeout_s=30) as client:
        assert (await client.predict([b"coin"])).verdict == "OUT_OF_DISTRIBUTION"
        with pytest.raises(Refused):
            await client.predict([b"limited"])
        outcomes = [each async for each in client.predict_stream([request_of([b"amulet"]), request_of([b"broken"])])]
        assert {type(each) for each in outcomes} == {Prediction, Refused}
        assert len(await client.list_models()) == 3
        assert (await client.get_model("amulets")).card is not None
        assert await client.feedback("p1", kind="complaint", comment="no") == "p1-4"


async def test_health_is_told_without_a_key_and_by_both_alike() -> None:
    server, known = grpc.server(ThreadPoolExecutor(4)), health.HealthServicer()
    known.set("", health_pb2.HealthCheckResponse.SERVING)
    known.set("model:amulets", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(known, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    told = {"": "SERVING", "model:amulets": "NOT_SERVING", "model:nobody": "SERVICE_UNKNOWN"}
    try:
        async with AsyncClient(address, api_key="", plaintext=True) as waiting:
            assert {service: await waiting.health(service) for service in told} == told
        with Client(address, api_key="", plaintext=True) as blocking:
            assert {service: blocking.health(service) for service in told} == told
    finally:
        server.stop(None).wait()
    async with AsyncClient("127.0.0.1:1", api_key="", plaintext=True, timeout_s=2) as waiting:
        with pytest.raises(Unreachable):
            await waiting.health()


async def test_the_async_client_waits_for_a_busy_gateway_too(gateway: tuple[Gateway, str]) -> None:
    gateway[0].busy_left = 2
    async with AsyncClient(gateway[1], api_key=KEY, plaintext=True, wait_s_max=5) as client:
        assert (await client.predict([b"amulet"])).prediction_id == "p1"
    assert gateway[0].calls == 3


async def test_leaving_an_async_stream_early_cancels_it(gateway: tuple[Gateway, str]) -> None:
    async with AsyncClient(gateway[1], api_key=KEY, plaintext=True) as client:
        endless = (request_of([b"amulet"], request_id=str(number)) for number in itertools.count())
        stream = client.predict_stream(endless)
        assert isinstance(await anext(stream), Prediction)
        await stream.aclose()


async def test_what_the_callers_own_requests_raise_reaches_the_caller(
    gateway: tuple[Gateway, str], client: Client
) -> None:
    def broken() -> Iterator[pb.PredictRequest]:
        yield request_of([b"amulet"])
        raise FileNotFoundError("photo-2.jpg")

    async def broken_async() -> AsyncIterator[pb.PredictRequest]:
        for request in broken():
            yield request

    with pytest.raises(FileNotFoundError, match=r"photo-2\.jpg"):
        list(client.predict_stream(broken()))
    async with AsyncClient(gateway[1], api_key=KEY, plaintext=True) as waiting:
        for requests in (broken(), broken_async()):
            with pytest.raises(FileNotFoundError, match=r"photo-2\.jpg"):
                _ = [_ async for _ in waiting.predict_stream(requests)]


async def test_a_cancelled_async_stream_is_cancelled_and_nothing_else(gateway: tuple[Gateway, str]) -> None:
    answered = asyncio.Event()

    async def read(caller: AsyncClient) -> None:
        endless = (request_of([b"amulet"], request_id=str(number)) for number in itertools.count())
        async for _ in caller.predict_stream(endless):
            answered.set()

    async with AsyncClient(gateway[1], api_key=KEY, plaintext=True) as caller:
        reading = asyncio.create_task(read(caller))
        await answered.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading


def test_tls_trusts_the_named_authority_and_no_other(tmp_path: Path) -> None:
    certificate, key = self_signed()
    other, _ = self_signed()
    (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "other.pem").write_bytes(other)
    server = grpc.server(ThreadPoolExecutor(2))
    rpc.add_PredictionServiceServicer_to_server(Gateway(), server)
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, certificate)]))
    server.start()
    try:
        with Client(f"localhost:{port}", api_key=KEY, ca_file=tmp_path / "ca.pem", timeout_s=30) as client:
            assert client.predict([b"amulet"]).prediction_id == "p1"
        with (
            Client(f"localhost:{port}", api_key=KEY, ca_file=tmp_path / "other.pem", timeout_s=2) as client,
            pytest.raises(Unreachable),
        ):
            client.predict([b"amulet"])
    finally:
        server.stop(None).wait()
    with pytest.raises(OSError, match="nowhere"):
        Client("localhost:1", api_key=KEY, ca_file=tmp_path / "nowhere.pem")


def self_signed() -> tuple[bytes, bytes]:
    """A certificate for localhost that is its own authority, and its key; PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("https://gateway.example:7443", "is the address of a page"),
        ("http://127.0.0.1:7443", "is the address of a page"),
        ("gateway.example:99999", "has no port that there can be"),
        ("10.0.0.7:0", "has no port that there can be"),
        ("[::1]:70000", "has no port that there can be"),
    ],
)
def test_an_address_that_grpc_would_take_for_another_is_refused(address: str, why: str) -> None:
    """Of 99999 it made port 34463, and asked there."""
    with pytest.raises(ValueError, match=f"{why}.*: write HOST:PORT"):
        ConnectionOptions(address, "key")


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", ""])
def test_plain_text_needs_a_port(address: str) -> None:
    with pytest.raises(ValueError, match="names no port: write HOST:PORT"):
        ConnectionOptions(address, "key", plaintext=True)


@pytest.mark.parametrize(
    "address",
    ["gateway.example", "gateway.example:65535", "[::1]:1", "::1", "dns:///gateway.example:7443", "unix:/run/gateway",
     "ipv4:10.0.0.7:7443,10.0.0.8:7443"],
)  # fmt: skip
def test_other_addresses_are_grpcs_own_affair(address: str) -> None:
    assert ConnectionOptions(address, "key").address == address


def test_plain_text_beyond_loopback_is_refused() -> None:
    with pytest.raises(ValueError, match="loopback"):
        Client("203.0.113.5:7443", api_key=KEY, plaintext=True)


@pytest_asyncio.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Queue[bytes]]:
    """What a proxy that the environment names is sent: the first line of each connection, which it then closes.

    A connection may be given up without a line: whoever made it has closed the channel meanwhile.
    """
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if line := await reader.readline():
            lines.put_nowait(line)
        writer.close()

    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname()))
        yield lines


async def test_plain_text_never_goes_through_a_proxy_of_the_environment(
    gateway: tuple[Gateway, str], proxy: asyncio.Queue[bytes]
) -> None:
    with Client(gateway[1], api_key=KEY, plaintext=True, timeout_s=10) as blocking:
        assert (await asyncio.to_thread(blocking.predict, [b"amulet"])).prediction_id == "p1"
    async with AsyncClient(gateway[1], api_key=KEY, plaintext=True, timeout_s=10) as waiting:
        assert (await waiting.predict([b"amulet"])).prediction_id == "p1"

    assert proxy.empty()


async def test_tls_goes_through_a_proxy_of_the_environment_as_grpc_has_it(proxy: asyncio.Queue[bytes]) -> None:
    with Client("gateway.invalid:7443", api_key=KEY, timeout_s=10) as blocking, pytest.raises(Unreachable):
        await asyncio.to_thread(blocking.predict, [b"amulet"])
    async with AsyncClient("gateway.invalid:7443", api_key=KEY, timeout_s=10) as waiting:
        with pytest.raises(Unreachable):
            await waiting.predict([b"amulet"])

    assert proxy.qsize() >= 2  # each of them once at least
    assert {proxy.get_nowait() for _ in range(proxy.qsize())} == {b"CONNECT gateway.invalid:7443 HTTP/1.1\r\n"}


def test_the_key_never_shows() -> None:
    assert KEY not in repr(ConnectionOptions("127.0.0.1:1", api_key=KEY, plaintext=True))


@pytest.mark.parametrize("name", ["api_key", "language"])
@pytest.mark.parametrize("text", ["amk_secret\n", "amk_\u0e01secret"])
def test_what_no_header_can_hold_is_refused_before_a_call_and_not_shown(name: str, text: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="cannot be sent") as refused:
            kind("127.0.0.1:1", **{"api_key": KEY, "plaintext": True, name: text})  # type: ignore[arg-type]  # as below
        assert "secret" not in str(refused.value)


def test_errors_come_whole_out_of_another_process() -> None:
    refused = Refused("busy", "REASON_RATE_LIMITED", "RESOURCE_EXHAUSTED", retry_after_s=1.5, request_id="r1")
    away = Unreachable("away", code="UNAVAILABLE", sent=False)

    for error in (refused, away):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.parametrize("settings", [{"timeout_s": 0}, {"wait_s_max": -1}, {"wait_s_max": float("inf")}])
def test_impossible_times_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Client("127.0.0.1:1", api_key=KEY, plaintext=True, **settings)  # type: ignore[arg-type]  # mypy cannot tell which keys


def test_a_request_without_a_photograph_never_leaves() -> None:
    with pytest.raises(ValueError, match="at least one photograph"):
        request_of([])


def test_every_wish_reaches_the_wire(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"file")
    request = request_of(
        [View(b"one", side="back"), b"two", tmp_path / "photo.jpg"],
        model="m",
        version="v",
        top_k=3,
        overlay=True,
        explain_class="a",
        nearest_examples=2,
        level="group",
        idempotency_key="k",
        request_id="r",
        subject="s",
        consent="c",
        keep=True,
    )
    assert [(view.photo, view.side) for view in request.views] == [
        (b"one", words.SIDE_BACK),
        (b"two", words.SIDE_UNSPECIFIED),
        (b"file", words.SIDE_UNSPECIFIED),
    ]
    assert {field.name for field, _ in request.ListFields()} == {
        field.name for field in pb.PredictRequest.DESCRIPTOR.fields
    }
    assert request.explain == pb.Explain(method=pb.Explain.METHOD_GRAD_CAM, class_id="a", overlay=True)
    assert request.subject.retention == pb.RETENTION_KEEP


def test_a_consent_without_a_subject_is_refused() -> None:
    with pytest.raises(ValueError, match="subject"):
        request_of([b"x"], consent="c1")


def test_an_unknown_side_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="front, back, edge, detail"):
        request_of([View(b"x", side="top")])


def test_the_callers_own_trace_goes_along_and_nothing_else_of_its_context() -> None:
    options = ConnectionOptions(address="127.0.0.1:1", api_key="amk_key", plaintext=True)
    parent = SpanContext(
        0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=False, trace_flags=TraceFlags(1)
    )

    assert [name for name, _ in options.metadata()] == ["x-api-key", "accept-language"]
    with use_span(NonRecordingSpan(parent)):
        metadata = dict(options.metadata())

    assert metadata["traceparent"] == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert set(metadata) == {"x-api-key", "accept-language", "traceparent"}

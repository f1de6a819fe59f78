"""The client against a real gRPC server that stands where a gateway would be."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image

from amulet_client import AsyncClient, Client, ConnectionOptions, Prediction, Refused, Unreachable, View
from amulet_client.answers import request_of
from amulet_client.photos import shrink
from amulet_client.reading import describe
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.wording import DISCLAIMER

KEY = "amk_0123456789ab_secret"


class Gateway(rpc.PredictionServiceServicer):
    """Answers by the photograph's text; remembers the metadata it saw."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.failures_left = 0

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:
        self.metadata = dict(context.invocation_metadata())
        if self.failures_left:
            self.failures_left -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        if request.views[0].photo == b"limited":
            status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="101st call")
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(1500)
            for detail in (
                error_details_pb2.ErrorInfo(
                    reason="REASON_RATE_LIMITED", domain="amulet", metadata={"request_id": "r1"}
                ),
                retry,
                error_details_pb2.LocalizedMessage(locale="th", message="เรียกบ่อยเกินไป"),
            ):
                packed = AnyMessage()
                packed.Pack(detail)
                status.details.append(packed)
            context.abort_with_status(rpc_status.to_status(status))
        return answer_of(request)

    def PredictStream(
        self, request_iterator: Iterator[pb.PredictRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamResult]:
        for request in request_iterator:
            if request.views[0].photo == b"broken":
                error = pb.StreamError(
                    code=3, message="broken", reason=words.REASON_PHOTO_CORRUPT, field="views[0].photo"
                )
                yield pb.StreamResult(request_id=request.request_id, error=error)
            else:
                yield pb.StreamResult(request_id=request.request_id, response=answer_of(request))

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        number = int(request.page_token or "0")
        return pb.ListModelsResponse(
            models=[pb.Model(name=f"model-{number}", ready=True)], next_page_token=str(number + 1) if number < 2 else ""
        )

    def SubmitFeedback(
        self, request: pb.SubmitFeedbackRequest, context: grpc.ServicerContext
    ) -> pb.SubmitFeedbackResponse:
        return pb.SubmitFeedbackResponse(feedback_id=f"{request.prediction_id}-{request.kind}")


def answer_of(request: pb.PredictRequest) -> pb.PredictResponse:
    verdict = words.VERDICT_OUT_OF_DISTRIBUTION if request.views[0].photo == b"coin" else words.VERDICT_IN_DOMAIN
    return pb.PredictResponse(
        prediction_id="p1",
        request_id=request.request_id,
        verdict=verdict,
        candidates=[pb.Candidate(class_id="a", display_name="Alpha", probability=0.875)],
        reasons=[pb.Finding(reason=words.REASON_NOT_OUR_KIND, message="Not like ours.", advice="Ask.", view=-1)]
        if verdict == words.VERDICT_OUT_OF_DISTRIBUTION
        else [],
        disclaimer=DISCLAIMER["en"],
    )


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
    with Client(gateway[1], api_key=KEY, plaintext=True, language="th", timeout_s=5) as client:
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


def test_a_gateway_that_restarts_is_asked_again(gateway: tuple[Gateway, str], client: Client) -> None:
    gateway[0].failures_left = 2

    assert client.predict([b"amulet"]).prediction_id == "p1"


def test_no_gateway_is_said_so() -> None:
    with Client("127.0.0.1:1", api_key=KEY, plaintext=True, timeout_s=2) as client, pytest.raises(Unreachable) as error:
        client.predict([b"amulet"])
    assert "127.0.0.1:1" in str(error.value)


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


def test_feedback_of_an_unknown_kind_never_leaves(client: Client) -> None:
    assert client.feedback("p1", kind="wrong") == "p1-2"
    with pytest.raises(ValueError, match="confirmed, wrong"):
        client.feedback("p1", kind="meh")


async def test_the_async_client_gives_the_same(gateway: tuple[Gateway, str]) -> None:
    async with AsyncClient(gateway[1], api_key=KEY, plaintext=True, timeout_s=5) as client:
        assert (await client.predict([b"coin"])).verdict == "OUT_OF_DISTRIBUTION"
        with pytest.raises(Refused):
            await client.predict([b"limited"])
        outcomes = [each async for each in client.predict_stream([request_of([b"amulet"]), request_of([b"broken"])])]
        assert {type(each) for each in outcomes} == {Prediction, Refused}
        assert len(await client.list_models()) == 3


def test_plain_text_beyond_loopback_is_refused() -> None:
    with pytest.raises(ValueError, match="loopback"):
        Client("203.0.113.5:7443", api_key=KEY, plaintext=True)


def test_the_key_never_shows() -> None:
    assert KEY not in repr(ConnectionOptions("127.0.0.1:1", api_key=KEY, plaintext=True))


def test_a_consent_without_a_subject_is_refused() -> None:
    with pytest.raises(ValueError, match="subject"):
        request_of([b"x"], consent="c1")


def test_an_unknown_side_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="front, back, edge, detail"):
        request_of([View(b"x", side="top")])


def test_a_person_reads_verdict_reason_and_disclaimer_but_no_misleading_candidates(client: Client) -> None:
    coin, amulet = client.predict([b"coin"]), client.predict([b"amulet"])

    assert "Alpha" in describe(amulet)
    assert "87.5%" in describe(amulet)
    assert "Alpha" not in describe(coin)
    assert "Not like ours. Ask." in describe(coin)
    assert describe(coin, "th").startswith("ไม่ใช่ชนิดที่ระบบรู้จัก")
    assert DISCLAIMER["en"] in describe(coin)


def test_a_photograph_is_shrunk_upright_and_without_metadata() -> None:
    picture, out = Image.new("RGB", (2000, 1000), "red"), BytesIO()
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(out, "JPEG", exif=exif)

    with Image.open(BytesIO(shrink(out.getvalue(), 500))) as small:
        assert small.size == (250, 500)
        assert not small.getexif()

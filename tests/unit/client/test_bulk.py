"""Many photographs through one stream: busy gateways, streams that end early or hang, files that are none."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from amulet_client import Client, Prediction, Refused, Unreachable
from amulet_client.bulk import AT_ONCE, Outcome, photographs, predict_many
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.client.cast import KEY, answer_of


class Moody(rpc.PredictionServiceServicer):
    """Does what a photograph says when it is first shown: busy, unavailable, end, hang; answers afterwards."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.streams = 0
        self.held: list[pb.PredictRequest] = []
        self.goes_on = threading.Event()
        self.full = 0  # so many streams are refused

    def PredictStream(self, requests: Iterator[pb.PredictRequest], context: Any) -> Iterator[pb.StreamResult]:
        self.streams += 1
        if self.streams <= self.full:
            context.abort_with_status(rpc_status.to_status(no_place()))
        for request in requests:
            text = request.views[0].photo.decode()
            self.seen[text] += 1
            mood = text.partition(" ")[0] if self.seen[text] == 1 or text.endswith("always") else ""
            if mood == "end":
                context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            if mood == "hang":
                self.goes_on.wait(60)
            yield self._result(request, mood)

    def _result(self, request: pb.PredictRequest, mood: str) -> pb.StreamResult:
        if mood not in ("busy", "unavailable", "broken", "stranger"):
            return pb.StreamResult(request_id=request.request_id, response=answer_of(request))
        code, reason = {
            "busy": (grpc.StatusCode.RESOURCE_EXHAUSTED, words.REASON_RATE_LIMITED),
            "unavailable": (grpc.StatusCode.UNAVAILABLE, words.REASON_MODEL_NOT_READY),
            "broken": (grpc.StatusCode.INVALID_ARGUMENT, words.REASON_PHOTO_CORRUPT),
            "stranger": (grpc.StatusCode.PERMISSION_DENIED, words.REASON_MODEL_NOT_PERMITTED),
        }[mood]
        error = pb.StreamError(code=code.value[0], message=mood, reason=reason)
        if mood in ("busy", "unavailable"):
            error.retry_after.FromMilliseconds(20)
        return pb.StreamResult(request_id=request.request_id, error=error)


def no_place() -> status_pb2.Status:
    status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="no place")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="REASON_OVERLOADED", domain="amulet"))
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(20)
    status.details.add().Pack(retry)
    return status


@pytest.fixture
def moody() -> Iterator[tuple[Moody, Client]]:
    server, service = grpc.server(ThreadPoolExecutor(4)), Moody()
    rpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}", api_key=KEY, plaintext=True) as client:
        yield service, client
    service.goes_on.set()
    server.stop(None).wait()


def objects(folder: Path, *texts: str) -> list[tuple[Path, ...]]:
    """One file for each text, which is all that is in it."""
    paths = []
    for number, text in enumerate(texts):
        path = folder / f"{number:03}.jpg"
        path.write_text(text)
        paths.append((path,))
    return paths


def words_of(outcomes: list[Outcome]) -> list[str]:
    return [each.result.reason if isinstance(each.result, Refused) else type(each.result).__name__ for each in outcomes]


def test_outcomes_come_in_order_whatever_was_put_off_or_cannot_be_read(
    moody: tuple[Moody, Client], tmp_path: Path
) -> None:
    asked = objects(tmp_path, "a", "busy b", "broken c", "unavailable d", "e")
    asked.insert(1, (tmp_path / "missing.jpg",))

    outcomes = list(predict_many(moody[1], asked))

    assert [outcome.photos for outcome in outcomes] == asked
    expected = ["Prediction", "FileNotFoundError", "Prediction", "REASON_PHOTO_CORRUPT", "Prediction", "Prediction"]
    assert words_of(outcomes) == expected
    assert moody[0].seen["busy b"] == 2
    assert moody[0].streams == 1


def test_a_stream_that_ends_goes_on_in_another_with_what_was_not_answered(
    moody: tuple[Moody, Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amulet_client.bulk._REOPEN_S", 0.0)
    asked = objects(tmp_path, *(f"a {number}" for number in range(60)), "end", *(f"b {number}" for number in range(60)))

    outcomes = list(predict_many(moody[1], asked))

    assert [outcome.photos for outcome in outcomes] == asked
    assert all(isinstance(outcome.result, Prediction) for outcome in outcomes)
    assert moody[0].streams == 2
    assert sum(moody[0].seen.values()) <= len(asked) + AT_ONCE  # what was under way, and nothing before it


def test_a_gateway_without_a_place_for_a_stream_is_asked_again_when_it_says(
    moody: tuple[Moody, Client], tmp_path: Path
) -> None:
    moody[0].full = 2

    outcomes = list(predict_many(moody[1], objects(tmp_path, "a", "b")))

    assert words_of(outcomes) == ["Prediction", "Prediction"]
    assert moody[0].streams == 3


def test_a_gateway_that_never_has_a_place_ends_the_work(moody: tuple[Moody, Client], tmp_path: Path) -> None:
    moody[0].full = 1_000

    with pytest.raises(Refused, match="no place"):
        list(predict_many(moody[1], objects(tmp_path, "a")))


def test_a_model_that_stays_away_is_told_of_each_photograph_and_ends(
    moody: tuple[Moody, Client], tmp_path: Path
) -> None:
    outcomes = list(predict_many(moody[1], objects(tmp_path, "unavailable always", "a")))

    assert words_of(outcomes) == ["REASON_MODEL_NOT_READY", "Prediction"]


def test_what_is_about_the_caller_is_said_once(moody: tuple[Moody, Client], tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        list(predict_many(moody[1], objects(tmp_path, *["stranger always"] * 100)))

    assert refused.value.reason == "REASON_MODEL_NOT_PERMITTED"
    assert sum(moody[0].seen.values()) <= AT_ONCE


def test_a_gateway_that_hangs_is_told_from_one_that_is_busy(moody: tuple[Moody, Client], tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"nothing came back for 0\.3 s"):
        list(predict_many(moody[1], objects(tmp_path, "hang"), stall_s=0.3))


def test_nobody_there_is_said_at_once(tmp_path: Path) -> None:
    with Client("127.0.0.1:9", api_key=KEY, plaintext=True) as client, pytest.raises(Unreachable):
        list(predict_many(client, objects(tmp_path, "a", "b")))


def test_a_reader_that_has_seen_enough_ends_the_stream(moody: tuple[Moody, Client], tmp_path: Path) -> None:
    outcomes = predict_many(moody[1], objects(tmp_path, *(f"a {number}" for number in range(500))))
    assert isinstance(next(outcomes).result, Prediction)
    outcomes.close()  # type: ignore[attr-defined]  # a generator

    assert sum(moody[0].seen.values()) <= 2 * AT_ONCE + 1


def test_folders_give_their_photographs_at_any_depth_and_none_twice(tmp_path: Path) -> None:
    inside = tmp_path / "b" / "deep"
    inside.mkdir(parents=True)
    for path in (tmp_path / "a.JPG", inside / "c.webp", inside / "d.png", inside / "notes.txt", inside / "e.jpeg"):
        path.touch()

    found = photographs([tmp_path / "b" / "deep" / "d.png", tmp_path, tmp_path / "nowhere.jpg"])

    assert [path.name for path in found] == ["d.png", "a.JPG", "c.webp", "e.jpeg", "nowhere.jpg"]

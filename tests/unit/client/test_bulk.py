"""Many photographs through one stream: busy gateways, streams that end early or hang, files that are none. By threads
and by a loop, of which each test is true."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from amulet_client import AsyncClient, Client, Prediction, Refused, Unreachable, bulk_async
from amulet_client.bulk import Outcome, photographs, predict_many
from amulet_client.work import AT_ONCE
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.client.cast import KEY, answer_of

Objects = Sequence[tuple[Path, ...]]
Many = Callable[..., Awaitable[list[Outcome]]]  # objects, perhaps an address, how many outcomes to read, and wishes


class Moody(rpc.PredictionServiceServicer):
    """Does what a photograph says when it is first shown: busy, unavailable, end, hang; answers afterwards."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.keys: dict[str, set[str]] = defaultdict(set)
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
            self.keys[text].add(request.idempotency_key)
            mood = text.partition(" ")[0] if self.seen[text] == 1 or text.endswith("always") else ""
            if mood == "refuse":
                context.abort_with_status(rpc_status.to_status(refusal(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")))
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


def refusal(code: grpc.StatusCode, reason: str) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message="no place")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=f"REASON_{reason}", domain="amulet"))
    return status


def no_place() -> status_pb2.Status:
    status = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(20)
    status.details.add().Pack(retry)
    return status


@pytest.fixture
def served() -> Iterator[tuple[Moody, str]]:
    server, service = grpc.server(ThreadPoolExecutor(4)), Moody()
    rpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    service.goes_on.set()
    server.stop(None).wait()


@pytest.fixture
def moody(served: tuple[Moody, str]) -> Moody:
    return served[0]


@pytest.fixture(params=["threads", "asyncio"])
def many(request: pytest.FixtureRequest, served: tuple[Moody, str]) -> Many:
    def threads(objects: Objects, address: str, count: int | None, **how: Any) -> list[Outcome]:
        with Client(address, api_key=KEY, plaintext=True) as client:
            outcomes = predict_many(client, objects, **how)
            try:
                return list(itertools.islice(outcomes, count))
            finally:
                outcomes.close()  # type: ignore[attr-defined]  # a generator

    async def loop(objects: Objects, address: str, count: int | None, **how: Any) -> list[Outcome]:
        found: list[Outcome] = []
        async with (
            AsyncClient(address, api_key=KEY, plaintext=True) as client,
            aclosing(bulk_async.predict_many(client, objects, **how)) as outcomes,
        ):
            async for outcome in outcomes:
                found.append(outcome)
                if len(found) == count:
                    break
        return found

    async def ask(objects: Objects, *, address: str = served[1], count: int | None = None, **how: Any) -> list[Outcome]:
        if request.param == "threads":
            return await asyncio.to_thread(threads, objects, address, count, **how)
        return await loop(objects, address, count, **how)

    return ask


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


async def test_outcomes_come_in_order_whatever_was_put_off_or_cannot_be_read(
    moody: Moody, many: Many, tmp_path: Path
) -> None:
    asked = objects(tmp_path, "a", "busy b", "broken c", "unavailable d", "e")
    asked.insert(1, (tmp_path / "missing.jpg",))

    outcomes = await many(asked)

    assert [outcome.photos for outcome in outcomes] == asked
    expected = ["Prediction", "FileNotFoundError", "Prediction", "REASON_PHOTO_CORRUPT", "Prediction", "Prediction"]
    assert words_of(outcomes) == expected
    assert moody.seen["busy b"] == 2
    assert moody.streams == 1


async def test_a_stream_that_ends_goes_on_in_another_with_what_was_not_answered(
    moody: Moody, many: Many, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amulet_client.work._REOPEN_S", 0.0)
    asked = objects(tmp_path, *(f"a {number}" for number in range(60)), "end", *(f"b {number}" for number in range(60)))

    outcomes = await many(asked)

    assert [outcome.photos for outcome in outcomes] == asked
    assert all(isinstance(outcome.result, Prediction) for outcome in outcomes)
    assert moody.streams == 2
    assert sum(moody.seen.values()) <= len(asked) + AT_ONCE  # what was under way, and nothing before it


async def test_under_a_key_each_object_has_one_of_its_own_in_every_stream(
    moody: Moody, many: Many, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amulet_client.work._REOPEN_S", 0.0)
    asked = objects(tmp_path, "a", "end", "b", "busy c")

    outcomes = await many(asked, idempotency_key="k")

    assert all(isinstance(outcome.result, Prediction) for outcome in outcomes)
    assert moody.keys == {"a": {"k#0"}, "end": {"k#1"}, "b": {"k#2"}, "busy c": {"k#3"}}


async def test_a_gateway_without_a_place_for_a_stream_is_asked_again_when_it_says(
    moody: Moody, many: Many, tmp_path: Path
) -> None:
    moody.full = 2

    outcomes = await many(objects(tmp_path, "a", "b"))

    assert words_of(outcomes) == ["Prediction", "Prediction"]
    assert moody.streams == 3


async def test_a_gateway_that_never_has_a_place_ends_the_work(moody: Moody, many: Many, tmp_path: Path) -> None:
    moody.full = 1_000

    with pytest.raises(Refused, match="no place"):
        await many(objects(tmp_path, "a"))


async def test_a_model_that_stays_away_is_told_of_each_photograph_and_ends(
    moody: Moody, many: Many, tmp_path: Path
) -> None:
    outcomes = await many(objects(tmp_path, "unavailable always", "a"))

    assert words_of(outcomes) == ["REASON_MODEL_NOT_READY", "Prediction"]


async def test_what_is_about_the_caller_is_said_once(moody: Moody, many: Many, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        await many(objects(tmp_path, *["stranger always"] * 100))

    assert refused.value.reason == "REASON_MODEL_NOT_PERMITTED"
    assert sum(moody.seen.values()) <= AT_ONCE


async def test_a_gateway_that_hangs_is_told_from_one_that_is_busy(moody: Moody, many: Many, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"nothing came back for 0\.3 s"):
        await many(objects(tmp_path, "hang"), stall_s=0.3)


async def test_nobody_there_is_said_at_once(many: Many, tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        await many(objects(tmp_path, "a", "b"), address="127.0.0.1:9")


async def test_a_reader_that_has_seen_enough_ends_the_stream(moody: Moody, many: Many, tmp_path: Path) -> None:
    asked = objects(tmp_path, *(f"a {number}" for number in range(500)))

    [first] = await many(asked, count=1)

    assert isinstance(first.result, Prediction)
    assert sum(moody.seen.values()) <= 2 * AT_ONCE + 1


async def test_a_gateway_that_cannot_yet_is_asked_again_before_anything_was_answered(
    moody: Moody, many: Many, tmp_path: Path
) -> None:
    assert words_of(await many(objects(tmp_path, "refuse a", "b"))) == ["Prediction", "Prediction"]
    assert moody.streams == 2


async def test_a_photograph_is_prepared_before_it_is_sent(moody: Moody, many: Many, tmp_path: Path) -> None:
    await many(objects(tmp_path, "a", "b"), prepare=lambda photo: photo + b" small")

    assert set(moody.seen) == {"a small", "b small"}


async def test_a_preparation_that_fails_is_one_outcome_whatever_it_raises(
    moody: Moody, many: Many, tmp_path: Path
) -> None:
    def prepare(photo: bytes) -> bytes:
        if photo == b"b":
            raise SyntaxError("broken PNG file")  # so Pillow
        return photo

    outcomes = await many(objects(tmp_path, "a", "b", "c"), prepare=prepare)

    assert words_of(outcomes) == ["Prediction", "ValueError", "Prediction"]
    assert str(outcomes[1].result) == "cannot be prepared: SyntaxError: broken PNG file"
    assert moody.seen == {"a": 1, "c": 1}


async def test_more_than_a_gateway_takes_in_one_message_is_one_outcome_that_names_the_limit(
    moody: Moody, many: Many, tmp_path: Path
) -> None:
    large, half = tmp_path / "large.jpg", tmp_path / "half.jpg"
    for path, size_mib in ((large, 162), (half, 81)):
        with path.open("wb") as file:
            file.truncate(size_mib * 2**20)
    asked = objects(tmp_path, "a", "b")
    asked[1:1] = [(large,), (half, half)]

    outcomes = await many(asked)

    assert [outcome.photos for outcome in outcomes] == asked
    assert words_of(outcomes) == ["Prediction", "ValueError", "ValueError", "Prediction"]
    for outcome in outcomes[1:3]:
        assert str(outcome.result) == "169,869,312 bytes of photographs are more than one request holds: 167,772,160"
    assert (moody.seen, moody.streams) == ({"a": 1, "b": 1}, 1)


async def test_a_task_that_is_cancelled_ends_cancelled_and_not_unreachable(
    served: tuple[Moody, str], tmp_path: Path
) -> None:
    async with AsyncClient(served[1], api_key=KEY, plaintext=True) as client:

        async def read() -> None:
            async with aclosing(bulk_async.predict_many(client, objects(tmp_path, "hang"))) as outcomes:
                async for _ in outcomes:
                    pass

        reading = asyncio.create_task(read())
        while not served[0].seen:
            await asyncio.wait([reading], timeout=0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading


def test_folders_give_their_photographs_at_any_depth_and_none_twice(tmp_path: Path) -> None:
    inside = tmp_path / "b" / "deep"
    inside.mkdir(parents=True)
    for path in (tmp_path / "a.JPG", inside / "c.webp", inside / "d.png", inside / "notes.txt", inside / "e.jpeg"):
        path.touch()

    found = photographs([tmp_path / "b" / "deep" / "d.png", tmp_path, tmp_path / "nowhere.jpg"])

    assert [path.name for path in found] == ["d.png", "a.JPG", "c.webp", "e.jpeg", "nowhere.jpg"]


def test_what_cannot_be_read_is_among_a_folders_photographs_and_what_would_wait_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()

    assert [path.name for path in photographs([tmp_path])] == ["a.jpg", "lost.jpg", "round.png"]


def test_a_folder_that_may_not_be_listed_is_among_its_photographs() -> None:
    """Read as somebody whom permissions bind: nothing is closed to root."""
    look = (
        "import os, sys; from pathlib import Path; from amulet_client.bulk import photographs; "
        "os.getuid() or os.setuid(65534); print(*(path.name for path in photographs([Path(sys.argv[1])])))"
    )
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        closed = Path(folder, "closed")
        closed.mkdir(0o000)
        Path(folder, "z.jpg").write_bytes(b"z")
        said = subprocess.run([sys.executable, "-c", look, folder], capture_output=True, text=True, check=False)
        closed.chmod(0o700)

    assert (said.stdout.split(), said.stderr) == (["closed", "z.jpg"], "")


async def test_what_is_too_large_is_not_read(moody: Moody, many: Many, tmp_path: Path) -> None:
    """A film of a tebibyte, by the ending of a photograph: to read it were the end of the process."""
    film = tmp_path / "film.jpg"
    with film.open("wb") as file:
        file.truncate(2**40)
    asked = [*objects(tmp_path, "a"), (film,), *objects(tmp_path, "b")]

    outcomes = await many(asked)

    assert words_of(outcomes) == ["Prediction", "ValueError", "Prediction"]
    assert "1,099,511,627,776 bytes of photographs are more than one request holds" in str(outcomes[1].result)

"""The adapter: types at the border, TorchServe's words as refusals, second tries."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from gateway.errors import BackendUnavailable, DeadlineExceeded, ModelNotReady, Overloaded
from gateway.serving.board import PLACE_BYTES, PLACES, Board
from gateway.serving.tokens import Tokens
from gateway.serving.torchserve import (
    TOKEN_TRIES,
    BackendFaulty,
    Extras,
    GraphImage,
    HandlerSteps,
    Neighbour,
    TorchServe,
)
from protos.amulet.graph.v1 import graph_pb2
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.gateway.serving.backend import (
    INTERNAL_SERVER_ERROR,
    NAME,
    VERSION,
    FakeTorchServe,
    Trouble,
    answer_of,
)

IMAGE = GraphImage(pixels=np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3), target=1)


async def predict(torchserve: TorchServe, *images: GraphImage, deadline_s: float = 5.0) -> None:
    await torchserve.predict(NAME, VERSION, images or (IMAGE,), deadline_s=deadline_s)


async def test_what_goes_in_and_comes_out_is_typed(fake: FakeTorchServe, torchserve: TorchServe) -> None:
    photo = GraphImage(encoded=b"photo")

    result = await torchserve.predict(NAME, VERSION, [IMAGE, photo], extras=Extras(heat_map=True), deadline_s=5)

    [request] = fake.requests
    assert IMAGE.pixels is not None
    assert [(image.pixels, image.encoded, image.target) for image in request.images] == [
        (IMAGE.pixels.tobytes(), b"", 1),
        (b"", b"photo", -1),
    ]
    assert (result.graph_ms, result.batch_images, len(result.outputs)) == (1.5, 2, 2)
    output = result.outputs[0]
    assert output.probabilities == pytest.approx((0.9, 0.1))
    assert output.scores == {"mahalanobis": 1.0}
    assert output.embedding is None
    assert output.heat_map is not None
    assert output.heat_map.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("alone", [False, True])
async def test_the_handler_hears_whether_a_call_may_have_all_threads(
    fake: FakeTorchServe, torchserve: TorchServe, alone: bool
) -> None:
    await torchserve.predict(NAME, VERSION, [IMAGE], alone=alone, deadline_s=5)

    assert [request.alone for request in fake.requests] == [alone]


async def test_references_that_are_near_come_with_their_side(fake: FakeTorchServe, torchserve: TorchServe) -> None:
    async def near(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        answer = answer_of(request)
        for side in ("front", "", "of another handler"):
            answer.outputs[0].neighbours.add(example_id="e1", class_index=1, side=side, cosine=0.5)
        return answer

    fake.answer = near
    result = await torchserve.predict(NAME, VERSION, [IMAGE], extras=Extras(neighbours=3), deadline_s=5)

    assert fake.requests[0].neighbours == 3
    assert result.outputs[0].neighbours == tuple(
        Neighbour("e1", 1, side, 0.5, b"")
        for side in (words.SIDE_FRONT, words.SIDE_UNSPECIFIED, words.SIDE_UNSPECIFIED)
    )


async def test_steps_of_the_handler_are_told_in_seconds(fake: FakeTorchServe, torchserve: TorchServe) -> None:
    async def timed(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        answer = answer_of(request)
        answer.steps.CopyFrom(
            graph_pb2.Steps(
                began_unix_ns=1_767_225_600_000_000_000,
                prepared_ms=2.0,
                graph_from_ms=4.0,
                graph_to_ms=8.0,
                answered_ms=16.0,
            )
        )
        return answer

    fake.answer = timed
    result = await torchserve.predict(NAME, VERSION, [IMAGE], deadline_s=5)

    assert result.steps == HandlerSteps(1_767_225_600_000_000_000, 0.002, 0.004, 0.008, 0.016)


def test_an_image_is_pixels_or_a_photograph() -> None:
    with pytest.raises(ValueError, match="either"):
        GraphImage()
    with pytest.raises(ValueError, match="either"):
        GraphImage(pixels=IMAGE.pixels, encoded=b"photo")


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
async def test_pixels_of_another_kind_are_our_own_mistake(torchserve: TorchServe, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        await predict(torchserve, GraphImage(pixels=pixels))


SAID = {
    "an unknown model": (
        grpc.StatusCode.INTERNAL,
        "Model not found: tiny\norg.pytorch.serve.archive.model.ModelNotFoundException",
        ModelNotReady,
    ),
    "an unknown version": (
        grpc.StatusCode.INTERNAL,
        "Model version: x does not exist\norg.pytorch.serve.archive.model.ModelVersionNotFoundException",
        ModelNotReady,
    ),
    "a full queue": (
        grpc.StatusCode.INTERNAL,
        'Model "tiny" Version x" has no worker to serve inference request. Please\nInternalServerException.()',
        Overloaded,
    ),
    "no memory": (grpc.StatusCode.INTERNAL, "Out of resources" + INTERNAL_SERVER_ERROR, BackendUnavailable),
    "a handler that raised": (
        grpc.StatusCode.UNAVAILABLE,
        "Prediction failed" + INTERNAL_SERVER_ERROR,
        BackendFaulty,
    ),
    "something new": (grpc.StatusCode.UNIMPLEMENTED, "what is that", BackendFaulty),
    "its own deadline": (grpc.StatusCode.DEADLINE_EXCEEDED, "late", DeadlineExceeded),
}


@pytest.mark.parametrize("case", SAID)
async def test_torchserves_words_become_refusals_without_a_second_try(
    fake: FakeTorchServe, torchserve: TorchServe, case: str
) -> None:
    code, details, wanted = SAID[case]

    async def trouble(_: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        raise Trouble(code, details)

    fake.answer = trouble
    with pytest.raises(wanted):
        await predict(torchserve)
    assert fake.calls == 1
    assert torchserve.answered_at_s(NAME, VERSION) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (graph_pb2.GraphAnswer(version="v20260102_other_0.100"), "in place of"),
        (graph_pb2.GraphAnswer(model="other"), "in place of"),
        (
            graph_pb2.GraphAnswer(fault=graph_pb2.Fault(reason=words.REASON_FIELD_INVALID, field="images[0]")),
            "FIELD_INVALID",
        ),
        (graph_pb2.GraphAnswer(fault=graph_pb2.Fault(reason=12345)), "12345"),
        (graph_pb2.GraphAnswer(outputs=[graph_pb2.Output()]), "2 outputs for 1 images"),
    ],
)
async def test_answers_that_no_right_setup_gives_are_our_own_fault(
    fake: FakeTorchServe, torchserve: TorchServe, change: graph_pb2.GraphAnswer, message: str
) -> None:
    async def wrong(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        answer = answer_of(request)
        answer.MergeFrom(change)
        return answer

    fake.answer = wrong
    with pytest.raises(BackendFaulty, match=message):
        await predict(torchserve)
    assert torchserve.answered_at_s(NAME, VERSION) is None  # it keeps no version ready that hangs


async def test_a_heat_map_of_another_size_than_it_says_is_our_own_fault(
    fake: FakeTorchServe, torchserve: TorchServe
) -> None:
    async def wrong(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        answer = answer_of(request)
        answer.outputs[0].heat_map.append(1.0)
        return answer

    fake.answer = wrong
    with pytest.raises(BackendFaulty, match="heat map"):
        await predict(torchserve)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
        (grpc.StatusCode.CANCELLED, "Received RST_STREAM with error code 8"),
    ],
)
async def test_a_broken_connection_is_tried_once_more(
    fake: FakeTorchServe, torchserve: TorchServe, code: grpc.StatusCode, said: str
) -> None:
    async def first_broken(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        if fake.calls == 1:
            raise Trouble(code, said)
        return answer_of(request)

    fake.answer = first_broken
    await predict(torchserve)
    assert fake.calls == 2


@pytest.mark.parametrize("said", ["Worker died.", "Worker scaled down."])
@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_worker_that_died_is_asked_for_once_more(
    fake: FakeTorchServe, torchserve: TorchServe, code: grpc.StatusCode, said: str
) -> None:
    dying = 1

    async def dies(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        if fake.calls <= dying:
            raise Trouble(code, said + INTERNAL_SERVER_ERROR)
        return answer_of(request)

    fake.answer = dies
    await predict(torchserve)
    assert fake.calls == 2

    dying = 99
    with pytest.raises(BackendUnavailable, match="worker died"):
        await predict(torchserve)
    assert fake.calls == 4


async def test_who_takes_a_moment_to_greet_is_waited_for(fake: FakeTorchServe, tokens: Tokens) -> None:
    """As on a busy machine: it takes the connection, and says nothing yet."""
    port = int(fake.target.rpartition(":")[2])

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(65_536):
            writer.write(content)
        writer.close()

    async def greet_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        behind = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, behind[1]), pass_on(behind[0], writer))

    async with await asyncio.start_server(greet_late, "127.0.0.1", 0) as late:
        target = f"127.0.0.1:{late.sockets[0].getsockname()[1]}"
        async with TorchServe(target, tokens) as torchserve:
            await predict(torchserve, deadline_s=20.0)


async def test_nobody_there_is_told_at_once(tokens: Tokens) -> None:
    async with TorchServe("127.0.0.1:9", tokens) as torchserve:
        begin_s = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await predict(torchserve, deadline_s=120.0)
        assert time.monotonic() - begin_s < 30.0


async def test_a_proxy_of_the_environment_hears_nothing(
    fake: FakeTorchServe, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[asyncio.StreamWriter] = []
    proxy = await asyncio.start_server(lambda _, writer: heard.append(writer), "127.0.0.1", 0)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    monkeypatch.delenv("no_proxy", raising=False)

    async with proxy, TorchServe(fake.target, tokens) as torchserve:
        await predict(torchserve)

    assert fake.calls == 1
    assert not heard


async def test_the_deadline_covers_everything(fake: FakeTorchServe, torchserve: TorchServe) -> None:
    async def never(_: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    fake.answer = never
    begin_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await predict(torchserve, deadline_s=0.3)
    assert time.monotonic() - begin_s > 0.25

    for spent_s in (0.0, -1.0):
        with pytest.raises(DeadlineExceeded):
            await predict(torchserve, deadline_s=spent_s)
    assert fake.calls == 1


async def test_what_torchserve_holds_at_once_is_bounded_in_bytes(
    fake: FakeTorchServe, torchserve: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serving.torchserve.IN_FLIGHT_BYTES_MAX", 2500)
    begun, go = asyncio.Event(), asyncio.Event()

    async def waits(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        begun.set()
        await go.wait()
        return answer_of(request)

    fake.answer = waits
    held = [asyncio.create_task(predict(torchserve, GraphImage(encoded=bytes(1000)))) for _ in range(2)]
    await asyncio.wait_for(begun.wait(), 5)

    with pytest.raises(Overloaded, match="as it can hold"):
        await predict(torchserve, GraphImage(encoded=bytes(1000)))

    held[0].cancel()
    go.set()
    await asyncio.gather(*held, return_exceptions=True)
    await asyncio.gather(*(predict(torchserve, GraphImage(encoded=bytes(1000))) for _ in range(2)))


async def test_cancelling_ends_the_call_on_the_other_side(fake: FakeTorchServe, torchserve: TorchServe) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def never(_: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    fake.answer = never
    call = asyncio.create_task(predict(torchserve))
    await asyncio.wait_for(begun.wait(), 5)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_refused_token_is_renewed_by_the_call(fake: FakeTorchServe, torchserve: TorchServe) -> None:
    await predict(torchserve)
    fake.token = "another"  # as if it had expired

    await asyncio.gather(*(predict(torchserve) for _ in range(8)))

    assert fake.renewals == 1


async def test_a_token_that_is_refused_for_ever_is_unavailable(fake: FakeTorchServe, torchserve: TorchServe) -> None:
    fake.token_api_broken = True
    fake.token = "another"
    with pytest.raises(BackendUnavailable, match="token API answered 400"):
        await predict(torchserve)


async def test_new_tokens_that_are_refused_as_well_are_not_asked_for_without_an_end(
    fake: FakeTorchServe, torchserve: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token API gives one each time, and the inference port takes none: two TorchServes on one folder."""
    write = FakeTorchServe.write_keys

    def write_what_is_refused(self: FakeTorchServe, inference: str) -> None:
        write(self, inference)
        self.token = "of another process"

    fake.token = "of another process"
    monkeypatch.setattr(FakeTorchServe, "write_keys", write_what_is_refused)

    with pytest.raises(BackendUnavailable, match="does not accept"):
        await predict(torchserve, deadline_s=60.0)

    assert (fake.calls, fake.renewals) == (TOKEN_TRIES, TOKEN_TRIES - 1)


async def open_board(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
    answer = answer_of(request)
    answer.board_open = bool(request.board)
    return answer


async def test_pixels_are_placed_once_the_worker_says_that_it_reads_them(
    fake: FakeTorchServe, tokens: Tokens, tmp_path: Path
) -> None:
    fake.answer = open_board
    photo = GraphImage(encoded=b"photo")
    with Board(tmp_path / "pixels") as board:
        async with TorchServe(fake.target, tokens, board) as torchserve:
            await predict(torchserve)
            await predict(torchserve, IMAGE, photo, IMAGE)

        assert [request.board for request in fake.requests] == [board.name, board.name]
        assert (tmp_path / "pixels" / board.name).read_bytes().count(0) == PLACES * PLACE_BYTES  # wiped
    first, second = fake.requests
    assert [image.WhichOneof("content") for image in first.images] == ["pixels"]
    assert [image.WhichOneof("content") for image in second.images] == ["place", "encoded", "place"]
    assert [image.target for image in second.images] == [1, -1, 1]
    assert second.images[0].place.size == 48


async def test_a_worker_without_the_board_is_sent_pixels(fake: FakeTorchServe, tokens: Tokens, tmp_path: Path) -> None:
    with Board(tmp_path / "pixels") as board:
        async with TorchServe(fake.target, tokens, board) as torchserve:
            await predict(torchserve)
            await predict(torchserve)

    assert [request.images[0].WhichOneof("content") for request in fake.requests] == ["pixels", "pixels"]


async def test_a_worker_that_has_lost_the_board_is_sent_pixels_and_the_caller_notices_nothing(
    fake: FakeTorchServe, tokens: Tokens, tmp_path: Path
) -> None:
    async def lost(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        if request.images[0].HasField("place"):
            return graph_pb2.GraphAnswer(
                model=NAME, version=VERSION, fault=graph_pb2.Fault(reason=200, field="images[0].place")
            )
        return answer_of(request)

    fake.answer = open_board
    with Board(tmp_path / "pixels") as board:
        async with TorchServe(fake.target, tokens, board) as torchserve:
            await predict(torchserve)
            fake.answer = lost
            await predict(torchserve)
            await predict(torchserve)

    contents = [request.images[0].WhichOneof("content") for request in fake.requests]
    assert contents == ["pixels", "place", "pixels", "pixels"]


async def test_a_full_board_means_sending(fake: FakeTorchServe, tokens: Tokens, tmp_path: Path) -> None:
    fake.answer = open_board
    with Board(tmp_path / "pixels") as board:
        async with TorchServe(fake.target, tokens, board) as torchserve:
            await predict(torchserve)
            taken = board.place([IMAGE.pixels] * PLACES if IMAGE.pixels is not None else [])
            await predict(torchserve)
            board.take_away(taken)
            await predict(torchserve)

    contents = [request.images[0].WhichOneof("content") for request in fake.requests]
    assert contents == ["pixels", "pixels", "place"]


async def test_an_image_of_another_kind_beside_a_right_one_costs_no_place(
    fake: FakeTorchServe, tokens: Tokens, tmp_path: Path
) -> None:
    fake.answer = open_board
    wrong = GraphImage(pixels=np.zeros((4, 4), np.uint8))
    with Board(tmp_path / "pixels") as board:
        async with TorchServe(fake.target, tokens, board) as torchserve:
            await predict(torchserve)
            with pytest.raises(ValueError, match="uint8"):
                await predict(torchserve, IMAGE, wrong)

        assert len(board.place([np.zeros((1, 1, 3), np.uint8)] * PLACES)) == PLACES


async def test_a_call_that_is_given_up_gives_its_place_back(
    fake: FakeTorchServe, tokens: Tokens, tmp_path: Path
) -> None:
    async def never(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    fake.answer = open_board
    with Board(tmp_path / "pixels") as board:
        async with TorchServe(fake.target, tokens, board) as torchserve:
            await predict(torchserve)
            fake.answer = never
            with pytest.raises(DeadlineExceeded):
                await predict(torchserve, deadline_s=0.2)

        assert len(board.place([np.zeros((1, 1, 3), np.uint8)] * PLACES)) == PLACES

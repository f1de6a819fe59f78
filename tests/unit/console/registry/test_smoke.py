"""What counts as the right answer to a golden photograph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO

import pytest
from PIL import Image

from console.registry.smoke import SmokeReport, compare, ensure_ready, pixels_of, smoke_test
from console.torchserve.errors import BackendAway
from console.torchserve.management import BackendVersion
from model_store.card import Card
from protos.amulet.graph.v1 import graph_pb2
from tests.unit.console.versions import TorchServeInMemory, card_text

CARD = Card.parse(card_text())
KEY = BackendVersion(CARD.name, CARD.version, "a.mar")
GOLDEN = CARD.golden[0]


def right_answer() -> graph_pb2.GraphAnswer:
    rows, columns = CARD.graph.heat_map
    output = graph_pb2.Output(
        probabilities=GOLDEN.probabilities, scores=GOLDEN.scores, heat_map_rows=rows, heat_map_columns=columns
    )
    return graph_pb2.GraphAnswer(model=CARD.name, version=CARD.version, outputs=[output], graph_ms=1.0)


def test_the_cards_own_answer_is_right() -> None:
    assert compare(GOLDEN, right_answer(), CARD, KEY).problem == ""


def far_probabilities(answer: graph_pb2.GraphAnswer) -> None:
    answer.outputs[0].probabilities[0] += 0.01


def not_a_number(answer: graph_pb2.GraphAnswer) -> None:
    answer.outputs[0].probabilities[0] = float("nan")


def far_score(answer: graph_pb2.GraphAnswer) -> None:
    answer.outputs[0].scores["mahalanobis"] *= 1.01
    answer.outputs[0].scores["mahalanobis"] += 0.01


def no_score(answer: graph_pb2.GraphAnswer) -> None:
    del answer.outputs[0].scores["mahalanobis"]


def another_version(answer: graph_pb2.GraphAnswer) -> None:
    answer.version = "v20200101_other_0.500"


def a_fault(answer: graph_pb2.GraphAnswer) -> None:
    answer.fault.message = "no"


def fewer_classes(answer: graph_pb2.GraphAnswer) -> None:
    answer.outputs[0].probabilities.pop()


def no_output(answer: graph_pb2.GraphAnswer) -> None:
    del answer.outputs[:]


def another_heat_map(answer: graph_pb2.GraphAnswer) -> None:
    answer.outputs[0].heat_map_rows += 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (far_probabilities, "probabilities"),
        (not_a_number, "probabilities"),
        (far_score, "scores"),
        (no_score, "no score from mahalanobis"),
        (another_version, "was signed"),
        (a_fault, "refused"),
        (fewer_classes, "classes"),
        (no_output, "classes"),
        (another_heat_map, "heat map"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_any_other_answer_fails_and_says_why(spoil: object, said: str) -> None:
    answer = right_answer()
    assert callable(spoil)
    spoil(answer)
    assert said in compare(GOLDEN, answer, CARD, KEY).problem


def test_a_report_is_plain_json_whatever_was_measured() -> None:
    class NotANumber:
        def predict(self, name: str, version: str, pixels: object) -> graph_pb2.GraphAnswer:
            answer = right_answer()
            not_a_number(answer)
            return answer

    golden = {item.file: _png() for item in CARD.golden}
    report = smoke_test(CARD, KEY, golden, backend=TorchServeInMemory(), worker=NotANumber(), wait=lambda _: None)
    assert not report.passed
    assert report.as_document()["photos"][0]["probability_distance"] is None


@pytest.mark.parametrize("index", range(len(GOLDEN.probabilities)))
def test_not_a_number_is_seen_in_every_place(index: int) -> None:
    answer = right_answer()
    answer.outputs[0].probabilities[index] = float("nan")
    assert "probabilities" in compare(GOLDEN, answer, CARD, KEY).problem


@pytest.mark.parametrize("detector", sorted(GOLDEN.scores))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_score_but_a_number_is_right(detector: str, value: float) -> None:
    answer = right_answer()
    answer.outputs[0].scores[detector] = value
    assert "scores" in compare(GOLDEN, answer, CARD, KEY).problem


class InMemory:
    """A worker that knows the golden photographs, and what it says of the others of a request."""

    def __init__(self, spoil: Callable[[graph_pb2.GraphAnswer], object] = lambda _: None) -> None:
        self.known = {pixels_of(_png(shade=index), CARD): item for index, item in enumerate(CARD.golden)}
        self.spoil = spoil
        self.asked: list[int] = []

    def predict(self, name: str, version: str, pixels: Sequence[bytes]) -> graph_pb2.GraphAnswer:
        self.asked.append(len(pixels))
        rows, columns = CARD.graph.heat_map
        answer = graph_pb2.GraphAnswer(model=name, version=version, graph_ms=1.0)
        for content in pixels:
            item = self.known.get(content, GOLDEN)
            answer.outputs.add(
                probabilities=item.probabilities, scores=item.scores, heat_map_rows=rows, heat_map_columns=columns
            )
        if len(pixels) > 1:
            self.spoil(answer)
        return answer


def tried(worker: InMemory) -> SmokeReport:
    golden = {item.file: _png(shade=index) for index, item in enumerate(CARD.golden)}
    return smoke_test(CARD, KEY, golden, backend=TorchServeInMemory(), worker=worker, wait=lambda _: None)


def test_a_version_that_answers_alike_alone_and_among_others_passes() -> None:
    worker = InMemory()
    assert tried(worker).passed
    assert sorted(worker.asked) == [1] * len(CARD.golden) + [len(CARD.golden) + 1]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda answer: answer.outputs[1].probabilities.__setitem__(0, 0.5), "its probabilities"),
        (lambda answer: answer.outputs[0].MergeFrom(answer.outputs[1]), "classes"),
        (lambda answer: answer.outputs.pop(), "for 3 photographs"),
        (lambda answer: answer.fault.MergeFrom(graph_pb2.Fault(message="no")), "refused"),
    ],
)
def test_a_version_that_answers_otherwise_among_others_fails(
    spoil: Callable[[graph_pb2.GraphAnswer], object], said: str
) -> None:
    report = tried(InMemory(spoil))
    assert not report.passed
    assert "in one request with others" in report.problem
    assert said in report.problem


def test_ready_means_ready_twice() -> None:
    """A reconciler that looked before the version was held may be dropping it just now."""
    backend = TorchServeInMemory([KEY])
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            backend.unregister(KEY)

    assert ensure_ready(backend, KEY, seconds=5, wait=wait)
    assert ("register", KEY) in backend.calls
    assert len(waited) >= 2


def test_another_file_under_the_same_name_is_replaced() -> None:
    backend = TorchServeInMemory([BackendVersion(KEY.name, KEY.version, "other.mar")])
    assert ensure_ready(backend, KEY, seconds=5, wait=lambda _: None)
    assert backend.holds() == {KEY}


def test_a_worker_that_never_gets_ready_is_not_waited_for_for_ever() -> None:
    backend = TorchServeInMemory()
    backend.workers_ready = 0
    assert not ensure_ready(backend, KEY, seconds=0.05)


def test_a_torchserve_that_stays_away_is_said_to_be_away() -> None:
    class Away(TorchServeInMemory):
        def describe(self, name: str, version: str) -> None:
            raise BackendAway("nobody")

    with pytest.raises(BackendAway):
        ensure_ready(Away(), KEY, seconds=0.05)


def test_pixels_are_rgb_row_by_row_at_the_models_size() -> None:
    pixels = pixels_of(_png(), CARD)
    assert len(pixels) == CARD.input.height_px * CARD.input.width_px * 3
    assert pixels[:6] == bytes([10, 20, 30, 10, 20, 30])
    with pytest.raises(ValueError, match="golden"):
        pixels_of(_png(side_px=5), CARD)


def _png(side_px: int = 0, *, shade: int = 0) -> bytes:
    size = (side_px, side_px) if side_px else (CARD.input.width_px, CARD.input.height_px)
    file = BytesIO()
    Image.new("RGB", size, (10 + shade, 20, 30)).save(file, "PNG")
    return file.getvalue()

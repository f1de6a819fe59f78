"""The handler of an archive: what it loads, how it batches, what it answers to wrong requests."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ts.context import Context

from handlers import amulet_handler
from handlers.amulet_handler import AmuletHandler, ArchiveWrong, _directions
from model_store import projection
from model_store.archive import Archive
from model_store.card import Card
from protos.amulet.graph.v1 import graph_pb2
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.stack import until
from tests.tiny_archive import CLASSES, DETECTORS, GRID, NAME, SIDE_PX, VERSION

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny archive as TorchServe unpacks it."""
    folder = tmp_path_factory.mktemp("unpacked")
    archive = tmp_path_factory.mktemp("archive") / "tiny.mar"
    tiny_archive.write_archive(tmp_path_factory.mktemp("run"), archive)
    Archive.open(archive).extract(folder)
    return folder


@pytest.fixture
def copy_of(unpacked: Path, tmp_path: Path) -> Path:
    """Another copy, to damage."""
    for source in unpacked.rglob("*"):
        if source.is_file():
            target = tmp_path / source.relative_to(unpacked)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(source.read_bytes())
    return tmp_path


def context_of(folder: Path) -> Context:
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    return Context(NAME, str(folder), manifest, 8, None, "0.12.0")


def loaded(folder: Path) -> AmuletHandler:
    handler = AmuletHandler()
    handler.initialize(context_of(folder))
    return handler


@pytest.fixture(scope="module")
def handler(unpacked: Path) -> AmuletHandler:
    return loaded(unpacked)


def pixels(colour: str, *, seed: int = 0) -> bytes:
    return amulet_handler.pixels_of(tiny_archive.photo_of(colour, seed=seed), SIDE_PX, SIDE_PX).tobytes()


def request(*images: graph_pb2.Image, **wishes: bool | int) -> dict[str, bytes]:
    message = graph_pb2.GraphRequest(images=images, **wishes)  # type: ignore[arg-type]  # flags, and how many neighbours
    return {"request": message.SerializeToString()}


def image(colour: str, *, seed: int = 0, target: int = -1) -> graph_pb2.Image:
    return graph_pb2.Image(pixels=pixels(colour, seed=seed), target=target)


def answers(handler: AmuletHandler, data: Sequence[dict[str, bytes]]) -> list[graph_pb2.GraphAnswer]:
    return [graph_pb2.GraphAnswer.FromString(answer) for answer in handler.handle(data, None)]


def best(output: graph_pb2.Output) -> str:
    return CLASSES[int(np.argmax(output.probabilities))]


def test_a_batch_is_one_run_and_each_request_gets_its_own_images_back(handler: AmuletHandler) -> None:
    found = answers(
        handler,
        [
            request(image("red"), image("green")),
            request(image("blue")),
            request(image("green"), image("blue"), image("red")),
        ],
    )

    assert [[best(output) for output in answer.outputs] for answer in found] == [
        ["red", "green"],
        ["blue"],
        ["green", "blue", "red"],
    ]
    assert {answer.batch_images for answer in found} == {6}
    assert len({answer.graph_ms for answer in found}) == 1  # the time of the one run that they shared
    assert {(answer.model, answer.version) for answer in found} == {(NAME, VERSION)}


def test_an_answer_is_the_graphs_own(handler: AmuletHandler, unpacked: Path) -> None:
    session = onnxruntime.InferenceSession(unpacked / "model.onnx")
    raw = np.frombuffer(pixels("blue", seed=5), dtype=np.uint8).reshape(1, SIDE_PX, SIDE_PX, 3)
    outputs = dict(
        zip(
            [output.name for output in session.get_outputs()],
            session.run(None, {"image": raw, "target": np.array([1], dtype=np.int64)}),
            strict=True,
        )
    )

    [answer] = answers(handler, [request(image("blue", seed=5, target=1), heat_map=True, embedding=True)])

    [output] = answer.outputs
    assert list(output.logits) == outputs["logits"][0].tolist()
    assert list(output.probabilities) == outputs["probabilities"][0].tolist()
    assert list(output.embedding) == outputs["embedding"][0].tolist()
    assert {name: np.float32(score) for name, score in output.scores.items()} == {
        name: outputs[f"score_{name}"][0] for name in DETECTORS
    }
    assert (output.heat_map_rows, output.heat_map_columns) == (GRID, GRID)
    assert list(output.heat_map) == outputs["heatmap"][0].ravel().tolist()


@pytest.mark.parametrize("size", [1, 6, 256, 257, 1584])
def test_an_embedding_is_projected_as_training_projects_it(size: int) -> None:
    assert np.array_equal(_directions(size), projection.directions(size))


def test_heat_maps_and_embeddings_go_only_to_who_asked(handler: AmuletHandler) -> None:
    plain, explained, embedded, projected = answers(
        handler,
        [
            request(image("red")),
            request(image("red"), heat_map=True),
            request(image("red"), embedding=True),
            request(image("red"), projection=True),
        ],
    )

    assert not plain.outputs[0].heat_map
    assert not plain.outputs[0].embedding
    assert not plain.outputs[0].projection
    assert len(explained.outputs[0].heat_map) == GRID * GRID
    assert not explained.outputs[0].embedding
    assert len(embedded.outputs[0].embedding) == tiny_archive.EMBEDDING
    assert not embedded.outputs[0].heat_map
    assert not projected.outputs[0].embedding
    [expected] = projection.projected(np.array([embedded.outputs[0].embedding]))
    assert np.array(projected.outputs[0].projection) == pytest.approx(expected, abs=2e-3)


def test_many_views_share_runs_of_bounded_memory(handler: AmuletHandler) -> None:
    found = answers(handler, [request(*[image("red")] * 8) for _ in range(6)])

    assert [answer.batch_images for answer in found] == [32, 32, 32, 32, 16, 16]
    assert all(len(answer.outputs) == 8 for answer in found)


@given(
    batch=st.lists(
        st.one_of(
            st.lists(st.sampled_from(CLASSES), min_size=1, max_size=8),
            st.sampled_from([b"\xff", b"", b"\x0a\x00"]),
        ),
        max_size=12,
    )
)
def test_any_mixture_of_right_and_wrong_requests_is_answered_in_order(
    handler: AmuletHandler, batch: list[list[str] | bytes]
) -> None:
    data = [
        {"request": item} if isinstance(item, bytes) else request(*(image(colour) for colour in item)) for item in batch
    ]

    found = answers(handler, data)

    assert [
        answer.fault.reason > 0 if answer.HasField("fault") else [best(output) for output in answer.outputs]
        for answer in found
    ] == [isinstance(item, bytes) or item for item in batch]


def test_an_empty_batch_has_an_empty_answer(handler: AmuletHandler) -> None:
    assert handler.handle([], None) == []


RIGHT = graph_pb2.Image(pixels=bytes(SIDE_PX * SIDE_PX * 3), target=-1)
WRONG: dict[str, tuple[Callable[[], dict[str, bytes]], int, str]] = {
    "no request": (lambda: {"data": b"x"}, words.REASON_FIELD_INVALID, "request"),
    "not a message": (lambda: {"request": b"\xff\xff"}, words.REASON_FIELD_INVALID, "request"),
    "no image": (lambda: request(), words.REASON_PHOTO_MISSING, "images"),
    "nine images": (lambda: request(*[RIGHT] * 9), words.REASON_TOO_MANY_VIEWS, "images"),
    "nothing in an image": (
        lambda: request(RIGHT, graph_pb2.Image(target=-1)),
        words.REASON_PHOTO_MISSING,
        "images[1]",
    ),
    "too few pixels": (
        lambda: request(graph_pb2.Image(pixels=bytes(5), target=-1)),
        words.REASON_FIELD_INVALID,
        "images[0].pixels",
    ),
    "a class that is not there": (
        lambda: request(graph_pb2.Image(pixels=RIGHT.pixels, target=3)),
        words.REASON_CLASS_NOT_FOUND,
        "images[0].target",
    ),
    "a class below the best one": (
        lambda: request(graph_pb2.Image(pixels=RIGHT.pixels, target=-2)),
        words.REASON_CLASS_NOT_FOUND,
        "images[0].target",
    ),
    "a broken photograph": (
        lambda: request(graph_pb2.Image(encoded=b"GIF89a", target=-1)),
        words.REASON_PHOTO_FORMAT_NOT_ALLOWED,
        "images[0].encoded",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_gets_its_reason_and_field(handler: AmuletHandler, case: str) -> None:
    make, reason, field = WRONG[case]

    wrong, right = answers(handler, [make(), request(image("green"))])

    assert (wrong.fault.reason, wrong.fault.field) == (reason, field)
    assert wrong.fault.message
    assert not wrong.outputs
    assert best(right.outputs[0]) == "green"


def test_an_answer_that_is_not_finite_is_a_fault(copy_of: Path) -> None:
    damage(copy_of, graph=tiny_archive.graph_bytes(temperature=float("nan")))

    [answer] = answers(loaded(copy_of), [request(image("red"))])

    assert answer.fault.reason == words.REASON_INTERNAL
    assert not answer.outputs


def graph_with(output: str, nodes: Callable[[str], Sequence[onnx.NodeProto]], **constants: object) -> bytes:
    """The tiny graph with one output made from what it was, which the nodes find under the name they are given."""
    model = onnx.load_from_string(tiny_archive.graph_bytes())
    for node in model.graph.node:
        node.output[:] = ["as_it_was" if name == output else name for name in node.output]
        node.input[:] = ["as_it_was" if name == output else name for name in node.input]
    model.graph.node.extend(nodes("as_it_was"))
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return model.SerializeToString()


def node(kind: str, inputs: Sequence[str], output: str, **attributes: object) -> onnx.NodeProto:
    return onnx.helper.make_node(kind, inputs, [output], **attributes)


@pytest.mark.parametrize("output", ["heatmap", "heatmap_plus_plus", "nearest_cosine"])
def test_no_explanation_that_is_not_finite_is_given(output: str, copy_of: Path) -> None:
    damage(copy_of, graph=graph_with(output, lambda was: [node("Mul", [was, "nan"], output)], nan=np.float32("nan")))
    wishes = {
        "heatmap": {"heat_map": True},
        "heatmap_plus_plus": {"heat_map": True, "grad_cam_plus_plus": True},
        "nearest_cosine": {"neighbours": 2},
    }[output]

    asked, plain = answers(loaded(copy_of), [request(image("red"), **wishes), request(image("green"))])

    assert (asked.fault.reason, list(asked.outputs)) == (words.REASON_INTERNAL, [])
    assert best(plain.outputs[0]) == "green"


@pytest.mark.parametrize("shift", [1, 1000, -3])
def test_a_graph_that_names_references_that_are_not_there_spoils_no_other_answer(shift: int, copy_of: Path) -> None:
    nodes = lambda was: [node("Add", [was, "shift"], "nearest_index")]  # noqa: E731 - a line in place of four
    damage(copy_of, graph=graph_with("nearest_index", nodes, shift=np.int64(shift)))

    asked, plain = answers(loaded(copy_of), [request(image("red"), neighbours=3), request(image("green"))])

    assert (asked.fault.reason, list(asked.outputs)) == (words.REASON_INTERNAL, [])
    assert best(plain.outputs[0]) == "green"


@pytest.mark.parametrize("images", [2, 3, 8])
def test_a_graph_that_answers_for_fewer_images_gives_nobody_anothers_answer(images: int, copy_of: Path) -> None:
    """Its declared shape says N: a shape that is computed may say so and be another."""
    nodes = lambda was: [node("Slice", [was, "first", "second", "axis"], "probabilities")]  # noqa: E731 - as above
    first = {"first": np.array([0]), "second": np.array([1]), "axis": np.array([0])}
    damage(copy_of, graph=graph_with("probabilities", nodes, **first))
    handler = loaded(copy_of)

    [alone] = answers(handler, [request(image("blue"))])
    together = answers(handler, [request(image(CLASSES[index % 3])) for index in range(images)])

    assert best(alone.outputs[0]) == "blue"
    for index, answer in enumerate(together):
        assert answer.HasField("fault") or best(answer.outputs[0]) == CLASSES[index % 3]


def test_an_image_on_which_the_graph_fails_takes_no_other_along(copy_of: Path) -> None:
    """Reached from data, an index can be outside: here where a photograph is white."""
    nodes = lambda was: [  # noqa: E731 - as above
        node("Cast", ["image"], "whole", to=onnx.TensorProto.INT64),
        node("ReduceMin", ["whole", "all_axes"], "darkest", keepdims=0),
        node("Div", ["darkest", "white"], "is_white"),
        node("Gather", ["one", "is_white"], "factor", axis=0),
        node("Unsqueeze", ["factor", "axis_1"], "factor_2d"),
        node("Mul", [was, "factor_2d"], "logits"),
    ]
    constants = {"one": np.ones(1, np.float32), "white": np.int64(255), "all_axes": np.array([1, 2, 3])}
    damage(copy_of, graph=graph_with("logits", nodes, **constants))
    white = graph_pb2.Image(pixels=b"\xff" * (SIDE_PX * SIDE_PX * 3), target=-1)

    red, spoilt, blue = answers(loaded(copy_of), [request(image("red")), request(white), request(image("blue"))])

    assert [best(answer.outputs[0]) for answer in (red, blue)] == ["red", "blue"]
    assert (spoilt.fault.reason, list(spoilt.outputs)) == (words.REASON_INTERNAL, [])


def test_a_graph_that_loads_and_cannot_run_says_so(copy_of: Path) -> None:
    """TorchServe gives the message of a RuntimeError, and of nothing else."""
    nodes = lambda was: [node("Gather", [was, "outside"], "logits", axis=1)]  # noqa: E731 - as above
    damage(copy_of, graph=graph_with("logits", nodes, outside=np.array([0, 1, 7])))
    with pytest.raises(ArchiveWrong, match=r"model\.onnx cannot be run"):
        loaded(copy_of)


def test_each_request_of_a_batch_is_explained_as_it_wishes(handler: AmuletHandler) -> None:
    plain, plus_plus, none = answers(
        handler,
        [
            request(image("red"), heat_map=True),
            request(image("red"), heat_map=True, grad_cam_plus_plus=True),
            request(image("red")),
        ],
    )

    assert len(plain.outputs[0].heat_map) == len(plus_plus.outputs[0].heat_map) == GRID * GRID
    assert list(plain.outputs[0].heat_map) != list(plus_plus.outputs[0].heat_map)
    assert not none.outputs[0].heat_map


def test_the_nearest_references_come_on_request_nearest_first(handler: AmuletHandler) -> None:
    asked, none = answers(handler, [request(image("green"), image("blue"), neighbours=2), request(image("red"))])

    assert [next(near.class_index for near in output.neighbours) for output in asked.outputs] == [1, 2]
    for output in asked.outputs:
        first, second = output.neighbours
        assert 1.0 >= first.cosine > second.cosine
        assert first.example_id == f"{first.class_index:016x}"
        assert (first.side, first.thumbnail_jpeg[:2]) == ("front", b"\xff\xd8")
    assert not none.outputs[0].neighbours


def test_an_archive_from_before_answers_without_references_and_refuses_what_it_cannot_draw(tmp_path: Path) -> None:
    tiny_archive.write_archive(tmp_path / "run", tmp_path / "tiny.mar", plain=True)
    Archive.open(tmp_path / "tiny.mar").extract(tmp_path)
    older = loaded(tmp_path)

    asked, refused = answers(
        older,
        [
            request(image("red"), heat_map=True, neighbours=3),
            request(image("red"), heat_map=True, grad_cam_plus_plus=True),
        ],
    )

    assert asked.outputs[0].heat_map
    assert not asked.outputs[0].neighbours
    assert (refused.fault.reason, refused.fault.field) == (words.REASON_FIELD_INVALID, "grad_cam_plus_plus")


def damage(folder: Path, *, graph: bytes | None = None, **card: object) -> None:
    """Replace the graph, card and all, or single fields of the card."""
    document = json.loads((folder / "model.json").read_text())
    if graph is not None:
        (folder / "model.onnx").write_bytes(graph)
        document["graph"]["sha256"] = hashlib.sha256(graph).hexdigest()
    (folder / "model.json").write_text(json.dumps({**document, **card}))


def test_another_graph_than_the_cards_does_not_load(copy_of: Path) -> None:
    (copy_of / "model.onnx").write_bytes(tiny_archive.graph_bytes(temperature=9.0))
    with pytest.raises(ArchiveWrong, match="SHA-256"):
        loaded(copy_of)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: damage(folder, version="v20260102_tiny_1.000"), "manifest names"),
        (lambda folder: damage(folder, name="other"), "manifest names"),
        (
            lambda folder: damage(folder, input={"height_px": 65, "width_px": 64, "fit": "centre_crop"}),
            "the graph takes",
        ),
        (lambda folder: damage(folder, graph=b"no graph"), "cannot be loaded"),
        (lambda folder: damage(folder, graph=tiny_archive.graph_bytes(side_px=32)), "the graph takes"),
        (lambda folder: (folder / "model.onnx").unlink(), "cannot be read"),
        (lambda folder: (folder / "examples.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "examples.json").write_text("{}"), "examples.json has the SHA-256"),
        (lambda folder: (folder / "model.json").write_text("{}"), "is not a card"),
        (lambda folder: (folder / "model.json").unlink(), "is not a card"),
    ],
)
def test_files_that_do_not_belong_together_do_not_load(
    copy_of: Path, break_it: Callable[[Path], object], message: str
) -> None:
    break_it(copy_of)
    with pytest.raises(ArchiveWrong, match=message):
        loaded(copy_of)


def test_a_detector_that_the_graph_lacks_does_not_load(copy_of: Path) -> None:
    document = json.loads((copy_of / "model.json").read_text())
    document["graph"]["detectors"] = ["mahalanobis", "knn"]
    (copy_of / "model.json").write_text(json.dumps(document))
    with pytest.raises(ArchiveWrong, match="score_knn"):
        loaded(copy_of)


def test_its_own_card_reads_what_the_model_store_wrote(unpacked: Path) -> None:
    written = Card.parse((unpacked / "model.json").read_bytes())
    read = amulet_handler.Card.read(unpacked / "model.json")
    assert (read.name, read.version) == (written.name, written.version)
    assert read.classes == tuple(known.id for known in written.classes)
    assert (read.height_px, read.width_px) == (written.input.height_px, written.input.width_px)
    assert (read.detectors, read.graph_sha256) == (written.graph.detectors, written.graph.sha256)


def test_it_imports_nothing_but_its_four_packages_and_the_stub() -> None:
    tree = ast.parse(Path(amulet_handler.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported - set(sys.stdlib_module_names) == {"google", "numpy", "onnxruntime", "PIL", "graph_pb2", "protos"}


def test_it_runs_from_its_archive_with_nothing_of_ours_beside_it(unpacked: Path, tmp_path: Path) -> None:
    program = """
import json, sys
sys.path.insert(0, sys.argv[1])
import amulet_handler

class Context:
    manifest = json.load(open(sys.argv[1] + "/MAR-INF/MANIFEST.json"))
    system_properties = {"model_dir": sys.argv[1]}

assert amulet_handler.handle(None, Context()) is None
[answer] = amulet_handler.handle([{"request": open(sys.argv[2], "rb").read()}], Context())
sys.stdout.buffer.write(answer)
ours = [name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).startswith(sys.argv[3])
        and "site-packages" not in module.__file__]
assert not ours, ours
assert "torch" not in sys.modules
"""
    body = tmp_path / "request"
    body.write_bytes(request(graph_pb2.Image(encoded=tiny_archive.photo_of("blue"), target=-1))["request"])

    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(unpacked), str(body), str(ROOT)],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr.decode()
    assert best(graph_pb2.GraphAnswer.FromString(done.stdout).outputs[0]) == "blue"


@pytest.mark.parametrize(("given", "wanted"), [("3", 3), ("", None), ("0", None), ("many", None)])
def test_the_launcher_says_how_many_threads(monkeypatch: pytest.MonkeyPatch, given: str, wanted: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert amulet_handler.threads() == (wanted or len(os.sched_getaffinity(0)))


class Counted:
    """A session, and how often it was run."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session, self.runs = session, 0

    def run(self, *arguments: object) -> object:
        self.runs += 1
        return self._session.run(*arguments)


def test_one_image_of_who_is_alone_is_run_by_all_threads_together(
    unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    handler = loaded(unpacked)
    plain = Counted(handler._session)
    monkeypatch.setattr(handler, "_session", plain)
    wish = request(image("blue", seed=5), alone=True, heat_map=True)

    [first] = answers(handler, [request(image("blue", seed=5), heat_map=True)])
    answers(handler, [wish])  # by either, for nobody waits until the session for it is loaded
    assert handler._together is not None
    handler._together.result(timeout=60)
    plain.runs = 0
    [together] = answers(handler, [wish])
    assert plain.runs == 0
    assert together.outputs[0].logits == pytest.approx(list(first.outputs[0].logits), abs=1e-5)
    assert together.outputs[0].heat_map == pytest.approx(list(first.outputs[0].heat_map), abs=1e-5)

    answers(handler, [request(image("blue", seed=5))])
    answers(handler, [wish, request(image("red"))])  # a batch says who is not alone
    answers(handler, [request(image("blue"), image("red"), alone=True)])
    assert plain.runs == 1 + 2 + 2  # images of a batch are shared among two threads


def test_one_thread_has_nobody_to_share_with(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    handler = loaded(unpacked)
    [answer] = answers(handler, [request(image("blue"), alone=True)])
    assert best(answer.outputs[0]) == "blue"
    assert handler._together is None


def test_a_graph_that_is_not_the_archives_any_more_is_not_run(
    copy_of: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    handler = loaded(copy_of)
    (copy_of / "model.onnx").write_bytes(b"another graph")
    for _ in range(2):
        [answer] = answers(handler, [request(image("blue"), alone=True)])
        assert best(answer.outputs[0]) == "blue"
        assert handler._together is not None
        assert isinstance(handler._together.exception(timeout=60), ArchiveWrong)
    # Whoever waits for what loading came to hears of it before the log does.
    until(lambda: "no session for those who are alone" in caplog.text)

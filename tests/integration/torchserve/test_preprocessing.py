"""A version that sees photographs otherwise than when its card was written is found by its golden photographs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from console.registry.smoke import SmokeReport, smoke_test
from console.torchserve.inference import Inference
from console.torchserve.management import BackendVersion, Management
from console.torchserve.tokens import Tokens as ConsoleTokens
from gateway.serving.readiness import difference
from gateway.serving.torchserve import GraphImage, TorchServe
from gateway.snapshot import Golden
from model_store import archive
from model_store.archive import Archive
from tests import tiny_archive
from tests.integration.torchserve.server import RunningTorchServe

pytestmark = [pytest.mark.torchserve]


def as_it_was(graph: onnx.GraphProto) -> None:
    """The control: the graph that the card's numbers are of."""


def blue_first(graph: onnx.GraphProto) -> None:
    """As OpenCV reads photographs."""
    graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), "blue_first"))
    place, transpose = next((n, node) for n, node in enumerate(graph.node) if node.op_type == "Transpose")
    transpose.output[0] = "red_first"
    graph.node.insert(place + 1, helper.make_node("Gather", ["red_first", "blue_first"], ["planes"], axis=1))


def another_range(graph: onnx.GraphProto) -> None:
    """0 to 256 for 0 to 255: the least that anybody gets wrong."""
    (scale,) = [each for each in graph.initializer if each.name == "scale"]
    scale.CopyFrom(numpy_helper.from_array(np.asarray(np.float32(1 / 256)), "scale"))


def written(folder: Path, out: Path, version: str, alter: Callable[[onnx.GraphProto], None]) -> None:
    """An archive whose card and golden photographs are right, and whose graph was altered before it was packed."""
    card = tiny_archive.write_run(folder, version=version)
    model = onnx.load_from_string((folder / "model.onnx").read_bytes())
    alter(model.graph)
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    described = replace(card.graph, sha256=hashlib.sha256(content).hexdigest())
    (folder / "model.json").write_text(replace(card, graph=described).render())
    archive.build(folder, out, handler=tiny_archive.HANDLER, stub=tiny_archive.STUB, sign_key=None)


@contextmanager
def as_the_console(server: RunningTorchServe) -> Iterator[Callable[[Archive, BackendVersion], SmokeReport]]:
    tokens = ConsoleTokens(key_file=server.key_file, management_url=server.management_url)
    management = Management(address=server.management_target, tokens=tokens)
    worker = Inference(address=server.inference_target, tokens=tokens)
    yield lambda opened, key: smoke_test(opened.card(), key, opened.golden(), backend=management, worker=worker)
    worker.close()
    management.close()


@pytest.mark.parametrize(
    ("alter", "right"),
    [(as_it_was, True), (blue_first, False), (another_range, False)],
    ids=["as it was", "blue first", "another range"],
)
async def test_what_sees_otherwise_fails_its_smoke_test_and_gets_no_call(
    server: RunningTorchServe,
    torchserve: TorchServe,
    tmp_path: Path,
    alter: Callable[[onnx.GraphProto], None],
    right: bool,
) -> None:
    version = f"v20260128_{alter.__name__}_1.000"
    file = f"{alter.__name__}.mar"
    written(tmp_path / "run", server.model_store / file, version, alter)
    opened = Archive.open(server.model_store / file)
    key = BackendVersion(tiny_archive.NAME, version, file)

    with as_the_console(server) as smoke:
        report = smoke(opened, key)

    assert report.passed is right, report.as_document()
    photos = opened.golden()
    for item in opened.card().golden:
        golden = Golden(item.file, photos[item.file], item.probabilities, item.scores)
        image = GraphImage(encoded=golden.photo)
        result = await torchserve.predict(tiny_archive.NAME, version, [image], deadline_s=5.0)
        assert (difference(golden, result.outputs[0]) == "") is right  # what the gateway goes by, at each look
    server.unregister(tiny_archive.NAME, version)

"""A version that asks for more memory than a worker may have, beside one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from gateway.serving.torchserve import GraphImage, TorchServe
from model_store import archive, contents
from protos.torchserve import management_pb2
from tests import tiny_archive
from tests.integration.torchserve.conftest import ARCHIVE
from tests.integration.torchserve.server import RunningTorchServe, until
from tests.tiny_archive import NAME, VERSION

pytestmark = [pytest.mark.torchserve, pytest.mark.fault]

GREEDY = "greedy.mar"
WORKER_MIB = 1024
GIVE_UP_S = 60.0


@pytest.fixture(scope="module")
def greedy_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny archive, and one like it whose graph fills 8 GiB before it answers: no rule of ONNX forbids that."""
    store, run = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("run")
    tiny_archive.write_archive(run, store / ARCHIVE)
    model = onnx.load_from_string(tiny_archive.graph_bytes())
    for node in model.graph.node:
        node.output[:] = ["less" if name == "logits" else name for name in node.output]
        node.input[:] = ["less" if name == "logits" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**31]), "many"))
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["many"], ["zeros"]),
            helper.make_node("ReduceMax", ["zeros"], ["nought"], keepdims=0),
            helper.make_node("Add", ["less", "nought"], ["logits"]),
        ]
    )
    graph = model.SerializeToString()
    (run / "model.onnx").write_bytes(graph)
    card = archive.Card.parse((run / "model.json").read_bytes())
    card = replace(card, name="greedy", graph=replace(card.graph, sha256=contents.sha256(graph)))
    (run / "model.json").write_text(card.render())
    archive.build(run, store / GREEDY, handler=tiny_archive.HANDLER, stub=tiny_archive.STUB, sign_key=None)
    return store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, greedy_store: Path) -> Iterator[RunningTorchServe]:
    state = tmp_path_factory.mktemp("torchserve") / "state"
    with RunningTorchServe.start(state, greedy_store, worker_mib=WORKER_MIB) as running:
        running.register(ARCHIVE)
        yield running


async def test_a_version_that_asks_for_too_much_is_told_so_and_takes_it_from_nobody(
    server: RunningTorchServe, torchserve: TorchServe
) -> None:
    server.manage("RegisterModel", management_pb2.RegisterModelRequest(url=GREEDY, initial_workers=1))

    until(lambda: "model.onnx cannot be run" in server.log(), s_max=GIVE_UP_S, what="its worker says what is wrong")

    assert server.describe("greedy")["workers"][0]["status"] != "READY"
    photo = GraphImage(encoded=tiny_archive.photo_of("red"))
    answer = await torchserve.predict(NAME, VERSION, [photo], deadline_s=10.0)
    assert len(answer.outputs) == 1
    server.unregister("greedy", VERSION)

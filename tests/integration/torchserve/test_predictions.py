"""Predictions through a real TorchServe: batches, bad neighbours, what a worker costs."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import psutil
import pytest
from grpc import aio

from gateway.errors import DeadlineExceeded, ModelNotReady
from gateway.serving.batches import IMAGES_MAX, Batches
from gateway.serving.torchserve import BackendFaulty, Extras, GraphImage, TorchServe
from handlers.amulet_handler import pixels_of
from protos.amulet.graph.v1 import graph_pb2
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.torchserve import inference_pb2, inference_pb2_grpc
from tests import tiny_archive
from tests.integration.torchserve.server import RunningTorchServe
from tests.tiny_archive import CLASSES, NAME, SIDE_PX, VERSION

pytestmark = pytest.mark.torchserve

MIB = 1024 * 1024


def image_of(colour: str, *, seed: int = 0, target: int = -1) -> GraphImage:
    pixels = pixels_of(tiny_archive.photo_of(colour, seed=seed), SIDE_PX, SIDE_PX)
    return GraphImage(pixels=pixels, target=target)


def test_it_describes_exactly_what_was_registered(server: RunningTorchServe) -> None:
    described = server.describe(NAME)

    assert (described["modelName"], described["modelVersion"]) == (NAME, VERSION)
    assert (described["batchSize"], described["minWorkers"], described["responseTimeout"]) == (8, 1, 5)
    assert [worker["status"] for worker in described["workers"]] == ["READY"]


async def test_several_views_come_back_in_order(torchserve: TorchServe) -> None:
    result = await torchserve.predict(NAME, VERSION, [image_of(colour) for colour in CLASSES], deadline_s=10)

    best = [int(np.argmax(output.probabilities)) for output in result.outputs]
    assert best == [0, 1, 2]
    assert all(sum(output.probabilities) == pytest.approx(1.0, abs=1e-5) for output in result.outputs)
    assert all(output.embedding is None and output.heat_map is None for output in result.outputs)
    assert result.batch_images == 3


async def test_heat_map_and_embedding_come_when_asked_for(torchserve: TorchServe) -> None:
    result = await torchserve.predict(
        NAME, VERSION, [image_of("red", target=2)], extras=Extras(heat_map=True, embedding=True), deadline_s=10
    )

    [output] = result.outputs
    assert output.heat_map is not None
    assert output.heat_map.shape == (tiny_archive.GRID, tiny_archive.GRID)
    assert output.heat_map.min() >= 0.0
    assert output.embedding is not None
    assert output.embedding.shape == (tiny_archive.EMBEDDING,)
    assert set(output.scores) == set(tiny_archive.DETECTORS)


async def test_pixels_and_the_encoded_photograph_give_the_same_answer(torchserve: TorchServe) -> None:
    photo = tiny_archive.photo_of("green", seed=3)

    decoded = await torchserve.predict(
        NAME, VERSION, [GraphImage(pixels=pixels_of(photo, SIDE_PX, SIDE_PX))], deadline_s=10
    )
    encoded = await torchserve.predict(NAME, VERSION, [GraphImage(encoded=photo)], deadline_s=10)

    assert decoded.outputs[0].probabilities == encoded.outputs[0].probabilities


async def test_many_concurrent_callers_share_runs_and_each_gets_its_own_answer(torchserve: TorchServe) -> None:
    colours = list(itertools.islice(itertools.cycle(CLASSES), 48))  # the queue takes 64: none may be refused

    results = await asyncio.gather(
        *(
            torchserve.predict(NAME, VERSION, [image_of(colour, seed=seed)], deadline_s=20)
            for seed, colour in enumerate(colours)
        )
    )

    best = [CLASSES[int(np.argmax(result.outputs[0].probabilities))] for result in results]
    assert best == colours
    assert max(result.batch_images for result in results) > 1


async def test_a_bad_request_of_a_batch_harms_no_other(server: RunningTorchServe, torchserve: TorchServe) -> None:
    async def bad(body: bytes) -> graph_pb2.GraphAnswer:
        async with aio.insecure_channel(server.inference_target) as channel:
            answer = await inference_pb2_grpc.InferenceAPIsServiceStub(channel).Predictions(
                inference_pb2.PredictionsRequest(model_name=NAME, model_version=VERSION, input={"request": body}),
                metadata=(("authorization", f"Bearer {server.token('inference')}"),),
                timeout=20,
            )
            return graph_pb2.GraphAnswer.FromString(answer.prediction)

    short = graph_pb2.GraphRequest(images=[graph_pb2.Image(pixels=b"\x00" * 7, target=-1)])
    broken = graph_pb2.GraphRequest(images=[graph_pb2.Image(encoded=b"\x89PNG\r\n\x1a\n-", target=-1)])

    async with asyncio.TaskGroup() as group:
        good = [
            group.create_task(torchserve.predict(NAME, VERSION, [image_of("blue", seed=seed)], deadline_s=20))
            for seed in range(12)
        ]
        wrong = [
            group.create_task(bad(body))
            for body in (b"\xff\xff\xff", short.SerializeToString(), broken.SerializeToString(), b"")
        ]

    assert all(int(np.argmax(task.result().outputs[0].probabilities)) == 2 for task in good)
    assert [task.result().fault.reason for task in wrong] == [
        words.REASON_FIELD_INVALID,
        words.REASON_FIELD_INVALID,
        words.REASON_PHOTO_CORRUPT,
        words.REASON_PHOTO_MISSING,
    ]
    assert not any(task.result().outputs for task in wrong)


async def test_joined_calls_get_their_own_answers_and_a_bad_one_harms_no_other(torchserve: TorchServe) -> None:
    colours = [(colour, seed) for seed, colour in zip(range(20), itertools.cycle(CLASSES), strict=False)]
    async with Batches(torchserve) as batches:
        *results, broken = await asyncio.gather(
            *(
                batches.predict(
                    NAME, VERSION, [image_of(colour, seed=seed)], extras=Extras(heat_map=True), deadline_s=20
                )
                for colour, seed in colours
            ),
            batches.predict(
                NAME, VERSION, [GraphImage(encoded=b"no photograph")], extras=Extras(heat_map=True), deadline_s=20
            ),
            return_exceptions=True,
        )

    assert isinstance(broken, BackendFaulty)
    answered = [result for result in results if not isinstance(result, BaseException)]
    assert [int(np.argmax(result.outputs[0].probabilities)) for result in answered] == [
        CLASSES.index(colour) for colour, _ in colours
    ]
    assert max(result.batch_images for result in answered) >= IMAGES_MAX


async def test_an_unknown_model_and_version_are_not_ready(torchserve: TorchServe) -> None:
    for name, version in ((NAME, "v20250101_other_0.500"), ("other", VERSION)):
        with pytest.raises(ModelNotReady):
            await torchserve.predict(name, version, [image_of("red")], deadline_s=10)


async def test_a_spent_or_tiny_deadline_ends_at_once(torchserve: TorchServe) -> None:
    for deadline_s in (-1.0, 0.0, 0.0001):
        with pytest.raises(DeadlineExceeded):
            await torchserve.predict(NAME, VERSION, [image_of("red")], deadline_s=deadline_s)


async def test_what_the_handler_refuses_is_our_own_fault(torchserve: TorchServe) -> None:
    wrong_size = GraphImage(pixels=np.zeros((8, 8, 3), dtype=np.uint8))

    with pytest.raises(BackendFaulty, match="REASON_FIELD_INVALID"):
        await torchserve.predict(NAME, VERSION, [wrong_size], deadline_s=10)


async def test_a_cancelled_call_leaves_the_others_alone(torchserve: TorchServe) -> None:
    leaving = asyncio.create_task(torchserve.predict(NAME, VERSION, [image_of("red")], deadline_s=10))
    staying = asyncio.create_task(torchserve.predict(NAME, VERSION, [image_of("blue")], deadline_s=10))
    await asyncio.sleep(0)
    leaving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert int(np.argmax((await staying).outputs[0].probabilities)) == 2


def test_the_processes_are_small_and_the_worker_has_no_torch(server: RunningTorchServe) -> None:
    worker = server.worker()
    maps = [entry.path for entry in worker.memory_maps()]

    assert worker.memory_info().rss < 150 * MIB
    assert psutil.Process(server.process.pid).memory_info().rss < 300 * MIB
    assert any("onnxruntime" in path for path in maps)
    assert not [path for path in maps if "libtorch" in path or "/torch/" in path]


def test_the_worker_sees_an_allow_listed_environment(server: RunningTorchServe) -> None:
    names = set(server.worker().environ())

    assert names <= {
        *("HOME", "LANG", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "PATH", "PYTHONNOUSERSITE"),
        *("PYTHONPATH", "TMPDIR", "TS_DECODE_INPUT_REQUEST", "TS_IPEX_ENABLE", "TS_IPEX_GPU_ENABLE", "TZ"),
        *("LC_CTYPE", "PWD"),  # set by Python and by the shell
    }
    assert "canary" not in "".join(psutil.Process(server.process.pid).environ().values())

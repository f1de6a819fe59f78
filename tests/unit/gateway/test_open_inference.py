"""The Open Inference Protocol over a real port: the engine of amulet.v1, and what only this contract has."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from PIL import Image
from structlog.testing import capture_logs

from gateway.serving.torchserve import GraphResult
from protos.amulet.events.v1 import events_pb2
from protos.amulet.policy.v1 import policy_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.inference import open_inference_pb2 as oip
from protos.inference import open_inference_pb2_grpc
from tests.tiny_archive import CLASSES, GRID, NAME, VERSION
from tests.unit.gateway.cast import (
    SOMCHAI,
    Gateway,
    Graph,
    client,
    kept_revision,
    photo,
    policy,
    refusal_of,
    running_gateway,
    served_model,
    served_version,
    until,
)
from tests.unit.gateway.test_levels import TONE, TORN

SECOND = "v20260102_tiny_1.000"
pytestmark = pytest.mark.asyncio(loop_scope="module")


def stub_of(gateway: Gateway) -> open_inference_pb2_grpc.GRPCInferenceServiceAsyncStub:
    return open_inference_pb2_grpc.GRPCInferenceServiceStub(gateway.channel)  # type: ignore[return-value]  # the stubs' one class serves both


def framed(photos: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(one)) + one for one in photos)


def request(*photos: bytes, raw: bool = True, outputs: Sequence[str] = (), **parameters: Any) -> oip.ModelInferRequest:
    made = oip.ModelInferRequest(model_name=NAME, id="r-1")
    tensor = made.inputs.add(name="photo", datatype="BYTES", shape=[len(photos)])
    if raw:
        made.raw_input_contents.append(framed(photos))
    else:
        tensor.contents.bytes_contents.extend(photos)
    for name in outputs:
        made.outputs.add(name=name)
    for name, value in parameters.items():
        setattr(made.parameters[name], "bool_param" if isinstance(value, bool) else "string_param", value)
    return made


async def infer(gateway: Gateway, asked: oip.ModelInferRequest, **metadata: str) -> oip.ModelInferResponse:
    answer: oip.ModelInferResponse = await stub_of(gateway).ModelInfer(
        asked, metadata=(*SOMCHAI.metadata, *metadata.items()), timeout=20
    )
    return answer


def typed(answer: oip.ModelInferResponse) -> dict[str, Any]:
    """The outputs by name, of an answer without raw contents."""
    assert not answer.raw_output_contents
    lists = {"FP64": "fp64_contents", "FP32": "fp32_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}
    return {
        tensor.name: np.array(list(getattr(tensor.contents, lists[tensor.datatype])), dtype=object).reshape(
            tensor.shape
        )
        for tensor in answer.outputs
    }


async def test_raw_and_typed_contents_carry_the_same(gateway: Gateway) -> None:
    raw = await infer(gateway, request(photo("blue")))
    plain = typed(await infer(gateway, request(photo("blue"), raw=False)))

    assert [tensor.name for tensor in raw.outputs] == list(plain)
    assert all(not tensor.HasField("contents") for tensor in raw.outputs)
    contents = dict(zip(plain, raw.raw_output_contents, strict=True))
    assert np.frombuffer(contents["probabilities"], "<f8").tolist() == plain["probabilities"].ravel().tolist()
    assert np.frombuffer(contents["heatmap"], "<f4").tolist() == plain["heatmap"].ravel().tolist()
    assert contents["verdict"] == framed([b"IN_DOMAIN"])
    assert plain["class_id"].tolist() == [b"blue"]


async def test_each_photograph_of_a_batch_leaves_its_own_event(gateway: Gateway) -> None:
    answer = typed(await infer(gateway, request(photo("red"), photo("green"), photo("grey"), raw=False)))

    ids = [prediction_id.decode() for prediction_id in answer["prediction_id"]]
    assert len(set(ids)) == 3
    await until(lambda: set(ids) <= {one.prediction.prediction_id for one in gateway.console.events()}, what="events")
    events = {one.prediction.prediction_id: one.prediction for one in gateway.console.events()}
    assert [events[one].candidates[0].class_id for one in ids[:2]] == ["red", "green"]
    assert answer["verdict"].tolist() == [b"IN_DOMAIN", b"IN_DOMAIN", b"OUT_OF_DISTRIBUTION"]
    assert json.loads(answer["reasons"][2]) == ["NOT_OUR_KIND"]


class Torn(Graph):
    """Torn between two classes of one group, whatever it is shown."""

    async def predict(self, *args: Any, **kwargs: Any) -> GraphResult:
        result = await super().predict(*args, **kwargs)
        inside = dict.fromkeys(result.outputs[0].scores, -1e9)
        return replace(
            result, outputs=tuple(replace(output, probabilities=TORN, scores=inside) for output in result.outputs)
        )


async def test_a_row_has_its_classes_where_the_answer_would_stand_on_a_group(tmp_path: Path) -> None:
    model = served_model()
    model.versions[0].card.levels.append(TONE)
    async with running_gateway(tmp_path, policy=policy(models=[model]), graph=Torn()) as gateway:
        stands_on = (await gateway.predict(photo())).level
        answer = typed(await infer(gateway, request(photo(), raw=False)))

    assert stands_on == "tone"
    assert answer["probabilities"].tolist() == [list(TORN)]


async def test_views_of_one_object_become_one_answer(gateway: Gateway) -> None:
    photos = (photo("red", seed=1), photo("red", seed=2))
    ours = await gateway.predict(*photos, top_k=50)

    answer = typed(await infer(gateway, request(*photos, raw=False, one_object=True)))

    assert answer["verdict"].shape == (1,)
    assert answer["heatmap"].shape == (2, GRID, GRID)
    probabilities = {one.class_id: one.probability for one in ours.candidates}
    assert answer["probabilities"][0].tolist() == [probabilities[class_id] for class_id in CLASSES]


async def test_pixels_are_measured_and_scaled_as_a_file_would_be(gateway: Gateway) -> None:
    content = photo("green", side_px=150)
    with Image.open(BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB"))[:120]  # not square: the rule crops it
    asked = oip.ModelInferRequest(model_name=NAME, raw_input_contents=[pixels.tobytes() + pixels.tobytes()])
    asked.inputs.add(name="pixels", datatype="UINT8", shape=[2, *pixels.shape])
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    ours = await gateway.predict(out.getvalue(), top_k=50)

    answer = await infer(gateway, asked)

    probabilities = {one.class_id: one.probability for one in ours.candidates}
    expected = [probabilities[class_id] for class_id in CLASSES] * 2
    assert np.frombuffer(answer.raw_output_contents[0], "<f8").tolist() == expected
    ids = answer.raw_output_contents[[tensor.name for tensor in answer.outputs].index("prediction_id")]
    event = await gateway.event_of(pb.PredictResponse(prediction_id=ids[4 : 4 + 36].decode()))
    assert (event.views[0].width_px, event.views[0].height_px) == (150, 120)


async def test_only_the_outputs_that_are_asked_for_are_sent(gateway: Gateway) -> None:
    answer = await infer(gateway, request(photo(), outputs=["verdict", "probabilities"]))

    assert [tensor.name for tensor in answer.outputs] == ["probabilities", "verdict"]
    assert len(answer.raw_output_contents) == 2


async def test_each_row_says_what_amulet_v1_says_of_its_photograph(gateway: Gateway) -> None:
    photos = (photo("green"), photo("grey"))
    ours = [await gateway.predict(one, top_k=1) for one in photos]

    answer = await infer(gateway, request(*photos, raw=False))

    rows, tensors = typed(answer), {tensor.name: tensor for tensor in answer.outputs}
    assert len({one.will_be_reviewed for one in ours}) == len({one.ood_scores[0].score for one in ours}) == 2
    assert rows["will_be_reviewed"].tolist() == [one.will_be_reviewed for one in ours]
    for index, score in enumerate(ours[0].ood_scores):
        name = f"score_{score.detector}"
        assert rows[name].tolist() == [one.ood_scores[index].score for one in ours]
        said = {key: float(value.string_param) for key, value in tensors[name].parameters.items()}
        assert said == {"unsure_at": score.unsure_at, "out_at": score.out_at}
    explained = json.loads(tensors["heatmap"].parameters["classes"].string_param)
    assert explained == [one.decode() for one in rows["class_id"]]
    assert answer.parameters["disclaimer"].string_param == ours[0].disclaimer != ""


@pytest.mark.parametrize("keep_photo", [False, True])
async def test_whose_photograph_it_is_and_whether_it_may_be_kept_is_what_the_event_says(
    tmp_path: Path, keep_photo: bool
) -> None:
    private = X25519PrivateKey.generate()
    sealing = policy(photo_seal_public_key=private.public_key().public_bytes_raw())
    wishes = {"subject_pseudonym": "person-7", "consent_reference": "consent-1"}
    if keep_photo:
        wishes["keep_photo"] = True  # type: ignore[assignment]  # the one that is no text
    async with running_gateway(tmp_path, policy=sealing) as gateway:
        (prediction_id,) = ids_of(await infer(gateway, request(photo(), raw=False, **wishes)))
        made = await gateway.event_of(pb.PredictResponse(prediction_id=prediction_id))

    retention = pb.RETENTION_KEEP if keep_photo else pb.RETENTION_UNSPECIFIED
    assert made.subject == events_pb2.Subject(pseudonym="person-7", consent_reference="consent-1", retention=retention)
    assert made.views[0].HasField("photo") == keep_photo


async def test_an_answer_brings_the_newest_checkpoint_and_leaves_one_line_that_names_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(audit_checkpoint="amulet\n7\nroot\n")) as gateway:
        with capture_logs() as lines:
            answer = await infer(gateway, request(photo("red"), photo("green"), raw=False))
            await until(lambda: any(line["event"] == "call" for line in lines), what="the call is told of")

    assert answer.parameters["audit_checkpoint"].string_param == "amulet\n7\nroot\n"
    (line,) = [line for line in lines if line["event"] == "call"]
    assert (line["method"], line["code"], line["predictions"]) == ("ModelInfer", "OK", 2)
    assert (line["prediction_id"], line["model"], line["version"]) == (ids_of(answer)[0], NAME, VERSION)


async def test_every_photograph_of_a_batch_is_counted_as_answered(gateway: Gateway) -> None:
    async def answered() -> float:
        _, page = await gateway.page("/metrics")
        lines = [line for line in page.splitlines() if line.startswith("amulet_predictions_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    before = await answered()
    await infer(gateway, request(photo("red"), photo("green"), photo("blue")))

    assert await answered() - before == 3


async def test_the_class_to_explain_can_be_named(gateway: Gateway) -> None:
    ours = await gateway.predict(
        photo("red"), explain=pb.Explain(method=pb.Explain.METHOD_GRAD_CAM, class_id="blue"), top_k=1
    )

    answer = await infer(gateway, request(photo("red"), raw=False, outputs=["heatmap"], explain_class="blue"))

    assert json.loads(answer.outputs[0].parameters["classes"].string_param) == ["blue"]
    assert list(answer.outputs[0].contents.fp32_contents) == list(ours.heat_maps[0].values)


async def test_an_idempotency_key_gives_the_same_predictions_again(gateway: Gateway) -> None:
    asked = request(photo("red"), photo("blue"), raw=False, idempotency_key="once")

    first, second = typed(await infer(gateway, asked)), typed(await infer(gateway, asked))

    assert first["prediction_id"].tolist() == second["prediction_id"].tolist()
    assert first["probabilities"].tolist() == second["probabilities"].tolist()


async def test_a_parameter_of_another_server_passes(gateway: Gateway) -> None:
    answer = await infer(gateway, request(photo(), priority="high"))

    assert answer.id == "r-1"


async def test_metadata_names_every_output_and_class(gateway: Gateway) -> None:
    metadata = await stub_of(gateway).ModelMetadata(oip.ModelMetadataRequest(name=NAME), metadata=SOMCHAI.metadata)
    answer = await infer(gateway, request(photo()))

    assert [tensor.name for tensor in metadata.outputs] == [tensor.name for tensor in answer.outputs]
    assert [tensor.datatype for tensor in metadata.outputs] == [tensor.datatype for tensor in answer.outputs]
    assert json.loads(metadata.properties["classes"]) == list(CLASSES)
    assert json.loads(metadata.properties["display_names"])["red"] == {"en": "Red", "th": "แดง"}
    assert {tensor.name for tensor in metadata.inputs} == {"photo", "pixels"}


async def test_metadata_of_what_is_not_there_names_the_field_of_this_contract(gateway: Gateway) -> None:
    async def found(**of: str) -> tuple[str, str]:
        asked = oip.ModelMetadataRequest(**of)
        refused = await refusal_of(stub_of(gateway).ModelMetadata(asked, metadata=SOMCHAI.metadata))
        return refused.code.name, refused.field

    assert await found(name="nobody") == ("NOT_FOUND", "name")
    assert await found(name=NAME, version="v0") == ("NOT_FOUND", "version")


def ill_formed(**changes: Any) -> oip.ModelInferRequest:
    made = request(photo())
    tensor = made.inputs[0]
    for name, value in changes.items():
        if name == "shape":
            tensor.shape[:] = value
        elif name == "raw":
            made.raw_input_contents[:] = value
        elif name == "typed":
            tensor.contents.bytes_contents.append(value)
        elif name == "outputs":
            made.outputs.add(name=value)
        elif name == "shared_input":
            tensor.parameters["shared_memory_region"].string_param = value
        elif name in ("classification", "shared_memory_region"):
            made.outputs.add(name="verdict")
            made.outputs.add(name="probabilities").parameters[name].CopyFrom(value)
        elif name == "model":
            made.model_name = value
        elif name == "version":
            made.model_version = value
        elif name == "id":
            made.id = value
        else:
            setattr(tensor, name, value)
    return made


@pytest.mark.parametrize(
    ("asked", "code", "reason", "field"),
    [
        (oip.ModelInferRequest(model_name=NAME), "INVALID_ARGUMENT", "FIELD_INVALID", "inputs"),
        (ill_formed(name="image"), "INVALID_ARGUMENT", "FIELD_INVALID", "inputs[0].name"),
        (ill_formed(datatype="FP32"), "INVALID_ARGUMENT", "FIELD_INVALID", "inputs[0].datatype"),
        (
            ill_formed(name="pixels", datatype="INT8", shape=[1, 2, 2, 3], raw=[bytes(12)]),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "inputs[0].datatype",
        ),
        (ill_formed(shape=[2]), "INVALID_ARGUMENT", "FIELD_INVALID", "inputs[0].shape"),
        (ill_formed(shape=[1, 2]), "INVALID_ARGUMENT", "FIELD_INVALID", "inputs[0].shape"),
        (ill_formed(shape=[]), "INVALID_ARGUMENT", "FIELD_INVALID", "inputs[0].shape"),
        (ill_formed(shape=[-1]), "INVALID_ARGUMENT", "PHOTO_MISSING", "inputs[0].shape"),
        (ill_formed(shape=[9]), "INVALID_ARGUMENT", "TOO_MANY_VIEWS", "inputs[0].shape"),
        (ill_formed(raw=[b"\xff\xff\xff\xff"]), "INVALID_ARGUMENT", "FIELD_INVALID", "raw_input_contents[0]"),
        (ill_formed(raw=[b"\1\0\0"]), "INVALID_ARGUMENT", "FIELD_INVALID", "raw_input_contents[0]"),
        (ill_formed(raw=[framed([photo()] * 2)]), "INVALID_ARGUMENT", "FIELD_INVALID", "inputs[0].shape"),
        (ill_formed(raw=[b"", b""]), "INVALID_ARGUMENT", "FIELD_INVALID", "raw_input_contents"),
        (ill_formed(typed=photo()), "INVALID_ARGUMENT", "FIELD_INVALID", "inputs[0].contents"),
        (ill_formed(outputs="logit"), "INVALID_ARGUMENT", "FIELD_INVALID", "outputs[0].name"),
        (
            ill_formed(shared_input="region"),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "inputs[0].parameters[shared_memory_region]",
        ),
        (
            ill_formed(shared_memory_region=oip.InferParameter(string_param="region")),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "outputs[1].parameters[shared_memory_region]",
        ),
        (
            ill_formed(classification=oip.InferParameter(int64_param=2)),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "outputs[1].parameters[classification]",
        ),
        (ill_formed(model="nobody"), "NOT_FOUND", "MODEL_NOT_FOUND", "model_name"),
        (ill_formed(version="v0"), "NOT_FOUND", "VERSION_NOT_FOUND", "model_version"),
        (request(photo(), b"no photograph"), "INVALID_ARGUMENT", "PHOTO_FORMAT_NOT_ALLOWED", "inputs[0].contents[1]"),
        (
            request(photo(), b"\xff\xd8\xff", one_object=True),
            "INVALID_ARGUMENT",
            "PHOTO_CORRUPT",
            "inputs[0].contents[1]",
        ),
        (request(photo(), keep_photo="yes"), "INVALID_ARGUMENT", "FIELD_INVALID", "parameters[keep_photo]"),
        (
            request(photo(), idempotency_key="x" * 200),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "parameters[idempotency_key]",
        ),
        (ill_formed(version="v" * 200), "INVALID_ARGUMENT", "FIELD_INVALID", "model_version"),
        (ill_formed(id="i" * 200), "INVALID_ARGUMENT", "FIELD_INVALID", "id"),
        (
            request(photo(), subject_pseudonym="x" * 200),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "parameters[subject_pseudonym]",
        ),
        (request(photo(), explain_class="gold"), "INVALID_ARGUMENT", "CLASS_NOT_FOUND", "parameters[explain_class]"),
    ],
)
async def test_a_refusal_names_the_field_of_this_contract(
    gateway: Gateway, asked: oip.ModelInferRequest, code: str, reason: str, field: str
) -> None:
    found = await refusal_of(infer(gateway, asked))

    assert (found.code.name, words.Reason.Name(found.reason), found.field) == (code, f"REASON_{reason}", field)


@pytest.mark.parametrize(
    ("shape", "size", "reason"),
    [
        ([1, 40, 40, 3], None, words.REASON_FIELD_INVALID),
        ([1, 40, 40, 3], 40 * 40 * 3 - 1, words.REASON_FIELD_INVALID),
        ([1, 40, 40, 3], 40 * 40 * 3 + 1, words.REASON_FIELD_INVALID),
        ([1, -40, -40, 3], 40 * 40 * 3, words.REASON_FIELD_INVALID),
        ([1, 0, 40, 3], 0, words.REASON_FIELD_INVALID),
        ([1, 40, 120], 40 * 40 * 3, words.REASON_FIELD_INVALID),
        ([1, 40, 40, 3, 1], 40 * 40 * 3, words.REASON_FIELD_INVALID),
        ([8, 1, 1, 3], 8 * 3, words.REASON_PHOTO_TOO_SMALL),
        ([0, 40, 40, 3], 0, words.REASON_PHOTO_MISSING),
        ([9, 40, 40, 3], 9 * 40 * 40 * 3, words.REASON_TOO_MANY_VIEWS),
        ([1, 40, 40, 4], 40 * 40 * 4, words.REASON_FIELD_INVALID),
        ([1, 8, 40, 3], 8 * 40 * 3, words.REASON_PHOTO_TOO_SMALL),
        ([1, 8000, 7000, 3], 1, words.REASON_FIELD_INVALID),
    ],
)
async def test_pixels_that_are_not_what_their_shape_says_are_refused(
    gateway: Gateway, shape: list[int], size: int | None, reason: words.Reason.ValueType
) -> None:
    """size: of the raw contents; None: there are none."""
    asked = oip.ModelInferRequest(model_name=NAME, raw_input_contents=[] if size is None else [bytes(size)])
    asked.inputs.add(name="pixels", datatype="UINT8", shape=shape)

    assert (await refusal_of(infer(gateway, asked))).reason == reason


async def test_a_stranger_learns_how_we_are_and_nothing_of_the_models(gateway: Gateway) -> None:
    stub = stub_of(gateway)

    assert (await stub.ServerLive(oip.ServerLiveRequest())).live
    assert (await stub.ServerReady(oip.ServerReadyRequest())).ready
    assert (await stub.ServerMetadata(oip.ServerMetadataRequest())).name == "amulet"
    assert (
        await refusal_of(stub.ModelMetadata(oip.ModelMetadataRequest(name=NAME)))
    ).reason == words.REASON_KEY_MISSING
    assert (await refusal_of(stub.ModelInfer(request(photo())))).reason == words.REASON_KEY_MISSING


async def test_readiness_is_that_of_the_health_service(gateway: Gateway) -> None:
    stub = stub_of(gateway)
    assert (await stub.ModelReady(oip.ModelReadyRequest(name=NAME))).ready
    assert (await stub.ModelReady(oip.ModelReadyRequest(name=NAME, version=VERSION))).ready
    assert not (await stub.ModelReady(oip.ModelReadyRequest(name=NAME, version="v0"))).ready

    gateway.graph.not_ready[VERSION] = "its golden photograph got another answer"

    assert not (await stub.ModelReady(oip.ModelReadyRequest(name=NAME))).ready
    assert not (await stub.ModelReady(oip.ModelReadyRequest(name=NAME, version=VERSION))).ready
    assert not (await stub.ServerReady(oip.ServerReadyRequest())).ready
    found = await refusal_of(infer(gateway, request(photo())))
    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_MODEL_NOT_READY)


async def test_a_batch_counts_as_many_calls_as_it_has_photographs(tmp_path: Path) -> None:
    few = policy(clients=[client(calls_per_minute=4)])
    async with running_gateway(tmp_path, policy=few) as gateway:
        await infer(gateway, request(photo(), photo(), photo()))
        found = await refusal_of(infer(gateway, request(photo(), photo())))

        assert found.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert found.reason == words.REASON_RATE_LIMITED
        assert found.retry_after_s is not None


async def test_a_batch_that_is_over_the_limit_costs_nothing_however_often_it_comes(tmp_path: Path) -> None:
    few = policy(clients=[client(calls_per_minute=10)])
    async with running_gateway(tmp_path, policy=few) as gateway:
        await infer(gateway, request(*[photo(seed=seed) for seed in range(6)]))
        batch = request(*[photo(seed=seed) for seed in range(8)])
        found = [await refusal_of(infer(gateway, batch)) for _ in range(3)]

        answered = [await gateway.predict(photo()) for _ in range(4)]
        beyond = await refusal_of(gateway.predict(photo()))

    assert {one.reason for one in found} == {words.REASON_RATE_LIMITED} == {beyond.reason}
    assert all(one.retry_after_s for one in found)
    assert len(answered) == 4


async def test_one_version_answers_all_of_a_batch(tmp_path: Path) -> None:
    model = served_model()
    model.versions.append(served_version(SECOND))
    model.routes[0].weight_ratio = 0.5
    model.routes.add(version=SECOND, weight_ratio=0.5)
    async with running_gateway(tmp_path, policy=policy(models=[model])) as gateway:
        answers = []
        for _ in range(6):
            asked = request(photo("red"), photo("green"), photo("blue"))
            asked.id = ""
            gateway.graph.renew()
            answers.append((await infer(gateway, asked)).model_version)
            assert gateway.graph.versions_asked == [answers[-1]] * 3


async def test_a_batch_that_a_rollout_interrupted_is_completed_by_the_version_that_began_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(models=[two_versions(VERSION)])) as gateway:
        begun = await interrupted(gateway)
        await roll_out(gateway, two_versions(SECOND))

        answer, again = await infer(gateway, KEYED), await infer(gateway, KEYED)
        made = await predictions_of(gateway, answer)

    assert answer.model_version == VERSION
    assert [(one.version, one.version_named) for one in made] == [
        (VERSION, False),
        (VERSION, True),
    ]  # no weight chose it
    assert begun.prediction_id in ids_of(answer)
    assert ids_of(again) == ids_of(answer)


async def test_a_batch_whose_first_version_is_gone_is_answered_anew_by_one_version(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(models=[served_model()])) as gateway:
        begun = await interrupted(gateway)
        await roll_out(gateway, two_versions(SECOND, only=SECOND))

        answer, again = await infer(gateway, KEYED), await infer(gateway, KEYED)
        made = await predictions_of(gateway, answer)

    assert answer.model_version == SECOND
    assert [one.version for one in made] == [VERSION, SECOND, SECOND]
    assert begun.prediction_id not in ids_of(answer)
    assert ids_of(again) == ids_of(answer)


async def test_a_batch_is_answered_anew_by_one_version_after_a_restart_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(models=[served_model()])) as gateway:
        await interrupted(gateway)
    renewed = policy(models=[two_versions(SECOND, only=SECOND)], revision=2)
    async with running_gateway(tmp_path, policy=renewed) as gateway:
        await until(lambda: kept_revision(gateway) == 2, what="the second version is in force")
        answer = await infer(gateway, KEYED)
    async with running_gateway(tmp_path, policy=renewed) as gateway:
        again = await infer(gateway, KEYED)

    assert answer.model_version == again.model_version == SECOND
    assert ids_of(again) == ids_of(answer)


async def test_while_no_version_is_ready_nothing_of_an_interrupted_batch_is_forgotten(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(models=[served_model()])) as gateway:
        begun = await interrupted(gateway)
        gateway.graph.not_ready[VERSION] = "its worker died"
        found = await refusal_of(infer(gateway, KEYED))
        gateway.graph.renew()

        answer = await infer(gateway, KEYED)
        made = await predictions_of(gateway, answer)

    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_MODEL_NOT_READY)
    assert len(made) == 2
    assert begun.prediction_id in ids_of(answer)


async def test_the_key_of_an_interrupted_batch_still_stands_for_that_batch_alone(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(models=[served_model()])) as gateway:
        begun = await interrupted(gateway)
        await roll_out(gateway, two_versions(SECOND, only=SECOND))

        found = await refusal_of(infer(gateway, batch(photo("green"), photo("green", seed=1))))

        assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, words.REASON_IDEMPOTENCY_CONFLICT)
        assert begun.prediction_id not in ids_of(await infer(gateway, KEYED))


def batch(*photos: bytes) -> oip.ModelInferRequest:
    return request(*photos, raw=False, idempotency_key="batch")


KEYED = batch(photo("red"), photo("blue"))


def two_versions(routed: str, *, only: str = "") -> policy_pb2.ServedModel:
    """only: the one version that there is."""
    versions = [served_version(version) for version in (VERSION, SECOND) if version == (only or version)]
    return policy_pb2.ServedModel(
        name=NAME, versions=versions, routes=[policy_pb2.Route(version=routed, weight_ratio=1.0)]
    )


async def interrupted(gateway: Gateway, asked: oip.ModelInferRequest = KEYED) -> events_pb2.PredictionMade:
    """One photograph of the batch is answered, which is returned; the model dies under the other one."""
    gateway.graph.hold()
    call = asyncio.create_task(infer(gateway, asked))
    await until(lambda: len(gateway.graph.seen) == 2, what="both photographs are worked on")
    gateway.graph.let_through(1)
    await until(lambda: len(predictions(gateway)) == 1, what="one of them is answered")
    gateway.graph.dead = True
    gateway.graph.release()
    found = await refusal_of(call)
    assert found.reason == words.REASON_BACKEND_UNAVAILABLE
    gateway.graph.renew()
    return predictions(gateway)[0]


async def roll_out(gateway: Gateway, model: policy_pb2.ServedModel) -> None:
    gateway.console.issue(policy(models=[model], revision=2))
    await until(lambda: kept_revision(gateway) == 2, what="the second version is in force")


def predictions(gateway: Gateway) -> list[events_pb2.PredictionMade]:
    return [event.prediction for event in gateway.console.events() if event.HasField("prediction")]


def ids_of(answer: oip.ModelInferResponse) -> list[str]:
    return [prediction_id.decode() for prediction_id in typed(answer)["prediction_id"]]


async def predictions_of(gateway: Gateway, answer: oip.ModelInferResponse) -> list[events_pb2.PredictionMade]:
    """Every prediction that was recorded, once those of this answer have reached the console, in order."""
    await until(
        lambda: set(ids_of(answer)) <= {one.prediction_id for one in predictions(gateway)}, what="the events are there"
    )
    await gateway.event_of(await gateway.predict(photo("grey")))
    return predictions(gateway)[:-1]

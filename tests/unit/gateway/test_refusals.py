"""Bad or odd input through a real port: each with its documented status and reason, or a right answer."""

from __future__ import annotations

import asyncio
import gc
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc import aio
from PIL import Image

from gateway.admission import spacing
from gateway.admission.spacing import APART_S
from gateway.errors import Refusal
from gateway.identity import is_uuid7
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.machine import Watch, run_delay_s
from tests.unit.gateway.cast import (
    SOMCHAI,
    ApiKey,
    Gateway,
    client,
    encoded,
    kept_revision,
    new_key,
    photo,
    policy,
    refusal_of,
    running_gateway,
    served_model,
    stream_refusal_of,
    until,
)
from tests.unit.gateway.intake.test_formats import animated, jpeg, png
from tests.unit.gateway.intake.test_pixels import grey16, quarters, rgb16_png

pytestmark = pytest.mark.asyncio(loop_scope="module")
INVALID = grpc.StatusCode.INVALID_ARGUMENT
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


def zipped() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("photo.jpg", photo())
    return out.getvalue()


def noisy_jpeg() -> bytes:
    return encoded(Image.effect_noise((400, 400), 60).convert("RGB"), "JPEG", quality=95)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", words.REASON_PHOTO_MISSING),
        (noisy_jpeg()[:-4000], words.REASON_PHOTO_CORRUPT),
        (noisy_jpeg()[:100], words.REASON_PHOTO_CORRUPT),
        (png(65_535, 65_535), words.REASON_PHOTO_TOO_MANY_PIXELS),
        (jpeg(65_500, 65_500), words.REASON_PHOTO_TOO_MANY_PIXELS),
        (animated("PNG"), words.REASON_PHOTO_ANIMATED),
        (animated("WEBP"), words.REASON_PHOTO_ANIMATED),
        (animated("GIF"), words.REASON_PHOTO_FORMAT_NOT_ALLOWED),
        (SVG, words.REASON_PHOTO_FORMAT_NOT_ALLOWED),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", words.REASON_PHOTO_FORMAT_NOT_ALLOWED),
        (zipped(), words.REASON_PHOTO_FORMAT_NOT_ALLOWED),
        (noisy_jpeg() + bytes(30_000_000), words.REASON_PHOTO_TOO_LARGE),
        (encoded(Image.new("RGB", (20, 20))), words.REASON_PHOTO_TOO_SMALL),
    ],
    ids=[
        "empty", "cut", "cut in its header", "huge png", "huge jpeg", "animated png", "animated webp", "gif", "svg",
        "pdf", "zip renamed to jpg", "30 MB", "tiny",
    ],
)  # fmt: skip
async def test_what_is_no_acceptable_photograph_is_refused_naming_the_view(
    gateway: Gateway, content: bytes, reason: words.Reason.ValueType
) -> None:
    began_s = time.process_time()
    found = await refusal_of(gateway.predict(photo(), content))

    assert (found.code, found.reason, found.field) == (INVALID, reason, "views[1].photo")
    assert time.process_time() - began_s < 1.0
    assert found.retry_after_s is None
    assert is_uuid7(found.request_id)
    assert found.message.split("; ")[1]  # what would have been right
    assert not gateway.graph.seen  # nothing half done


@pytest.mark.parametrize(
    "content",
    [
        encoded(quarters().convert("CMYK"), "JPEG"),
        encoded(grey16(), "PNG"),
        rgb16_png(),
        encoded(quarters().quantize(16), "PNG"),
        encoded(quarters().convert("RGBA"), "WEBP"),
        encoded(quarters(), "JPEG") + b"a trailer after the end",
    ],
    ids=["cmyk", "16 bit grey", "16 bit colour", "palette", "webp with alpha", "trailer"],
)
async def test_odd_photographs_that_can_be_read_are_answered(gateway: Gateway, content: bytes) -> None:
    assert (await gateway.predict(content)).verdict != words.VERDICT_UNSPECIFIED


@pytest.mark.parametrize(
    ("views", "fields", "code", "reason", "field"),
    [
        (0, {}, INVALID, words.REASON_PHOTO_MISSING, "views"),
        (9, {}, INVALID, words.REASON_TOO_MANY_VIEWS, "views"),
        (1, {"top_k": 99}, INVALID, words.REASON_FIELD_INVALID, "top_k"),
        (1, {"model": "nonesuch"}, grpc.StatusCode.NOT_FOUND, words.REASON_MODEL_NOT_FOUND, "model"),
        (1, {"version": "v9"}, grpc.StatusCode.NOT_FOUND, words.REASON_VERSION_NOT_FOUND, "version"),
        (
            1,
            {"explain": pb.Explain(method=pb.Explain.METHOD_GRAD_CAM, class_id="nonesuch")},
            INVALID,
            words.REASON_CLASS_NOT_FOUND,
            "explain.class_id",
        ),
    ],
)
async def test_a_request_that_cannot_be_meant_is_refused_naming_the_field(
    gateway: Gateway,
    views: int,
    fields: dict[str, Any],
    code: grpc.StatusCode,
    reason: words.Reason.ValueType,
    field: str,
) -> None:
    found = await refusal_of(gateway.predict(*[photo()] * views, **fields))

    assert (found.code, found.reason, found.field) == (code, reason, field)


async def test_a_version_that_has_no_grad_cam_plus_plus_says_so(tmp_path: Path) -> None:
    before = policy()
    del before.models[0].versions[0].card.explanations[:]  # as an older console describes it
    async with running_gateway(tmp_path, policy=before) as gateway:
        found = await refusal_of(
            gateway.predict(photo(), explain=pb.Explain(method=pb.Explain.METHOD_GRAD_CAM_PLUS_PLUS))
        )

    assert (found.code, found.reason, found.field) == (INVALID, words.REASON_FIELD_INVALID, "explain.method")


def metadata_of(key: str) -> tuple[tuple[str, str], ...]:
    return (("x-api-key", key),)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), words.REASON_KEY_MISSING),
        ((("authorization", "Basic c29tY2hhaQ=="),), words.REASON_KEY_MISSING),
        (metadata_of("amk_nonsense"), words.REASON_KEY_UNKNOWN),
        (metadata_of(new_key().text), words.REASON_KEY_UNKNOWN),
        (metadata_of(ApiKey(SOMCHAI.key_id, f"amk_{SOMCHAI.key_id}_{'A' * 43}").text), words.REASON_KEY_UNKNOWN),
    ],
)
async def test_a_caller_without_a_right_key_is_unauthenticated(
    gateway: Gateway, metadata: tuple[tuple[str, str], ...], reason: words.Reason.ValueType
) -> None:
    for call in (
        gateway.predict(photo(), metadata=metadata),
        gateway.stub.ListModels(pb.ListModelsRequest(), metadata=metadata),
        gateway.stub.SubmitFeedback(pb.SubmitFeedbackRequest(), metadata=metadata),
    ):
        found = await refusal_of(call)

        assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    found = await stream_refusal_of(gateway.stub.PredictStream(iter([pb.PredictRequest()]), metadata=metadata))
    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


async def test_both_ways_of_sending_a_key_are_taken(gateway: Gateway) -> None:
    assert await gateway.predict(photo(), metadata=(("authorization", f"Bearer {SOMCHAI.text}"),))


async def test_a_refusal_speaks_the_callers_language(gateway: Gateway) -> None:
    found = await refusal_of(gateway.predict(b"", metadata=(*SOMCHAI.metadata, ("accept-language", "th"))))

    assert "ภาพ" in found.localized
    assert found.message.isascii()


async def test_the_101st_call_in_a_minute_is_told_when_to_come_back(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        calls = [refusal_of(gateway.predict(b"")) for _ in range(100)]
        assert {found.reason for found in await asyncio.gather(*calls)} == {words.REASON_PHOTO_MISSING}

        found = await refusal_of(gateway.predict(photo()))

        assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, words.REASON_RATE_LIMITED)
        assert 0 < (found.retry_after_s or 0) <= 60
        await gateway.stub.ListModels(pb.ListModelsRequest(), metadata=SOMCHAI.metadata)  # counted apart


def told_of(gateway: Gateway) -> list[str]:
    """The predictions that the console was told of, each as often as it was."""
    return [event.prediction.prediction_id for event in gateway.console.events() if event.HasField("prediction")]


async def test_an_expired_deadline_is_exceeded_and_leaves_no_prediction(gateway: Gateway) -> None:
    """What it leaves is counted as failed by its version, and told every few seconds in an event of another kind."""
    await gateway.event_of(await gateway.predict(photo()))  # events arrive in order: all earlier ones are here
    before = told_of(gateway)
    gateway.graph.hold()

    found = await refusal_of(gateway.predict(photo(), deadline_s=0.3))

    assert found.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: gateway.graph.holds == 0, what="the gateway gives up the call as well")
    gateway.graph.release()
    after = await gateway.event_of(await gateway.predict(photo()))
    assert told_of(gateway) == [*before, after.prediction_id]


async def test_a_call_without_a_deadline_is_capped(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(), request_s_max=0.5) as gateway:
        gateway.graph.hold()
        request = pb.PredictRequest(views=[pb.View(photo=photo())])

        found = await refusal_of(gateway.stub.Predict(request, metadata=SOMCHAI.metadata))

    assert (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, words.REASON_DEADLINE_EXCEEDED)


async def test_a_dead_backend_is_unavailable_and_says_when_to_come_back(gateway: Gateway) -> None:
    gateway.graph.dead = True

    found = await refusal_of(gateway.predict(photo()))

    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_BACKEND_UNAVAILABLE)
    assert found.retry_after_s


async def test_a_version_that_is_not_ready_is_unavailable(gateway: Gateway) -> None:
    gateway.graph.not_ready["v20260101_tiny_1.000"] = "its worker died"

    found = await refusal_of(gateway.predict(photo()))

    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_MODEL_NOT_READY)


async def test_our_own_fault_gives_a_request_id_and_no_text_of_ours(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret internals at /srv")

    monkeypatch.setattr(gateway.graph, "predict", broken)

    found = await refusal_of(gateway.predict(photo()))

    assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, words.REASON_INTERNAL)
    assert is_uuid7(found.request_id)
    assert found.message == f"internal error; quote the request id {found.request_id}"


async def test_more_calls_than_places_are_shed_at_once(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(), calls_in_flight_max=2) as gateway:
        gateway.graph.hold()
        held = [asyncio.create_task(gateway.predict(photo())) for _ in range(2)]
        await until(lambda: len(gateway.graph.versions_asked) == 2, what="two calls are worked on")

        found = await refusal_of(gateway.predict(photo()))

        assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, words.REASON_OVERLOADED)
        assert found.retry_after_s
        gateway.graph.release()
        assert all(await asyncio.gather(*held))


async def test_who_calls_again_at_once_is_refused_so_often_and_no_more(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(clients=[client(calls_per_minute=1)])) as gateway:
        await gateway.predict(photo())
        began_s = time.monotonic()
        for _ in range(4):
            found = await refusal_of(gateway.predict(photo()))
            assert found.reason == words.REASON_RATE_LIMITED
        took_s = time.monotonic() - began_s

    assert took_s >= 2.9 * APART_S  # the first leaves at once


async def test_a_refusal_that_is_held_holds_no_photograph_and_ends_with_its_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spacing, "APART_S", 1000.0)
    models = [served_model(name="tiny"), served_model(name="other")]
    request = pb.PredictRequest(request_id="held", views=[pb.View(photo=photo())], model="other").SerializeToString()
    async with (
        running_gateway(tmp_path, policy=policy(clients=[client(models=["tiny"])], models=models)) as gateway,
        aio.insecure_channel(f"127.0.0.1:{gateway.listening.grpc_port}") as channel,
    ):
        predict = channel.unary_unary("/amulet.v1.PredictionService/Predict")
        await refusal_of(predict(request, metadata=SOMCHAI.metadata))
        call = predict(request, metadata=SOMCHAI.metadata)
        async with asyncio.timeout(10):
            while 'reason="REASON_MODEL_NOT_PERMITTED"} 2.0' not in (await gateway.page("/metrics"))[1]:
                pass  # until it is told of

        # By type: `isinstance` wakes up what other tests have left lazy.
        alive = [found for found in gc.get_objects() if type(found) is pb.PredictRequest and found.request_id == "held"]
        call.cancel()

        assert alive == []
        assert (await gateway.predict(photo())).model == "tiny"  # and the gateway below ends: nothing is waited for


async def test_a_model_outside_a_keys_list_is_not_permitted(tmp_path: Path) -> None:
    models = [served_model(name="tiny"), served_model(name="other")]
    async with running_gateway(tmp_path, policy=policy(clients=[client(models=["tiny"])], models=models)) as gateway:
        found = await refusal_of(gateway.predict(photo(), model="other"))
        answered = await gateway.predict(photo())

    assert (found.code, found.reason) == (grpc.StatusCode.PERMISSION_DENIED, words.REASON_MODEL_NOT_PERMITTED)
    assert answered.model == "tiny"


async def test_a_gateway_that_never_heard_a_policy_says_so(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=None) as gateway:
        found = await refusal_of(gateway.predict(photo()))

    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_POLICY_MISSING)


async def test_a_revoked_key_is_dead_within_five_seconds(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        assert await gateway.predict(photo())
        own = psutil.Process()
        machine, waited_s = Watch([own]), run_delay_s(own)
        gateway.console.issue(policy(revision=2, clients=[client(revoked=True)]))
        revoked_s = time.monotonic()

        await until(lambda: kept_revision(gateway) == 2, what="the new policy is in force")
        found = await refusal_of(gateway.predict(photo()))

        took_s = time.monotonic() - revoked_s
        assert took_s - min(machine.taken_s(), run_delay_s(own) - waited_s) < 5  # less what others took: decision 0095
    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, words.REASON_KEY_REVOKED)


@pytest.mark.parametrize(
    ("fields", "code", "reason", "field"),
    [
        (
            {"prediction_id": "p-1", "kind": 1},
            grpc.StatusCode.NOT_FOUND,
            words.REASON_PREDICTION_NOT_FOUND,
            "prediction_id",
        ),
        ({"kind": 0}, INVALID, words.REASON_FIELD_INVALID, "kind"),
        ({"kind": 44}, INVALID, words.REASON_FIELD_INVALID, "kind"),
        ({"kind": 1, "comment": "x" * 2001}, INVALID, words.REASON_FIELD_INVALID, "comment"),
        ({"kind": 1, "true_class_id": "x" * 200}, INVALID, words.REASON_FIELD_INVALID, "true_class_id"),
    ],
)
async def test_feedback_of_another_form_is_refused(
    gateway: Gateway, fields: dict[str, Any], code: grpc.StatusCode, reason: words.Reason.ValueType, field: str
) -> None:
    request = pb.SubmitFeedbackRequest(**{"prediction_id": "01890a5d-ac96-774b-bcce-b302099a8057", **fields})

    found = await refusal_of(gateway.stub.SubmitFeedback(request, metadata=SOMCHAI.metadata))

    assert (found.code, found.reason, found.field) == (code, reason, field)


async def test_a_page_size_out_of_range_is_refused(gateway: Gateway) -> None:
    found = await refusal_of(gateway.stub.ListModels(pb.ListModelsRequest(page_size=101), metadata=SOMCHAI.metadata))

    assert (found.code, found.field) == (INVALID, "page_size")


async def test_a_stranger_cannot_make_the_gateway_hold_his_photographs(gateway: Gateway) -> None:
    """The refusal is there before the message is read: 60 MB go no further than the wire's window."""
    large = pb.PredictRequest(views=[pb.View(photo=bytes(15_000_000))] * 4)

    found = await refusal_of(gateway.stub.Predict(large, metadata=(), timeout=20))

    assert found.reason == words.REASON_KEY_MISSING


async def test_a_small_message_that_unpacks_to_a_large_one_is_refused(gateway: Gateway) -> None:
    bomb = pb.PredictRequest(views=[pb.View(photo=bytes(20_000_000))] * 12)

    call = gateway.stub.Predict(bomb, metadata=SOMCHAI.metadata, timeout=20, compression=grpc.Compression.Gzip)
    with pytest.raises(aio.AioRpcError) as error:
        await call

    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "unpacks to more than" in str(error.value.details())


TORN = encoded(Image.new("RGB", (640, 480)))[:-400]


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        (photo() + bytes(20 * 2**20), {}),
        (TORN, {}),
        (TORN, {"idempotency_key": "torn"}),
        (b"", {}),
        (photo(), {"version": "dead"}),
    ],
    ids=["too large", "torn", "torn under a key", "nothing", "a model that is away"],
)
async def test_a_refused_photograph_is_let_go_at_once(gateway: Gateway, content: bytes, fields: dict[str, str]) -> None:
    """Not when the garbage is collected: by then there may be gigabytes of them."""
    gateway.graph.dead = fields.pop("version", "") == "dead"
    await refusal_of(gateway.predict(content, **fields))
    gc.collect()
    gc.disable()
    try:
        await refusal_of(gateway.predict(content, **fields))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kept = {type(found).__name__ for found in gc.garbage if isinstance(found, (pb.PredictRequest, Refusal))}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert not kept

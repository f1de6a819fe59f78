"""Calls through a real gRPC port: what is answered, and what reaches the console."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from io import BytesIO
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from grpc import aio
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]  # ships without stubs
    reflection_pb2,
    reflection_pb2_grpc,
)
from PIL import Image, ImageFilter

from gateway import prediction
from gateway.identity import is_uuid7
from gateway.record import NEAREST_RECORDED
from gateway.sealing import Sealed
from model_store.projection import DIRECTIONS
from protos.amulet.events.v1 import events_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.cores import cores
from protos.wording import DISCLAIMER
from tests.tiny_archive import CLASSES, GRID, NAME, SIDE_PX, VERSION
from tests.unit.gateway.cast import (
    HASH_SECRET,
    SOMCHAI,
    Gateway,
    Graph,
    encoded,
    kept_revision,
    photo,
    policy,
    refusal_of,
    running_gateway,
    served_model,
    served_version,
    until,
)
from tests.unit.gateway.test_sealing import unseal

pytestmark = pytest.mark.asyncio(loop_scope="module")
THAI = (*SOMCHAI.metadata, ("accept-language", "th-TH, en;q=0.5"))
GRAD_CAM = pb.Explain.METHOD_GRAD_CAM
GRAD_CAM_PLUS_PLUS = pb.Explain.METHOD_GRAD_CAM_PLUS_PLUS


def blurred(colour: str = "red") -> bytes:
    with Image.open(BytesIO(photo(colour, side_px=256))) as image:
        return encoded(image.filter(ImageFilter.GaussianBlur(8)), "PNG")


def black() -> bytes:
    return encoded(Image.new("RGB", (200, 200)), "PNG")


async def test_a_photograph_is_answered_and_its_event_reaches_the_console(gateway: Gateway) -> None:
    response = await gateway.predict(photo("red", side_px=120), request_id="r-1", top_k=2)

    assert (response.request_id, response.model, response.version) == ("r-1", NAME, VERSION)
    assert is_uuid7(response.prediction_id)
    assert (response.verdict, list(response.reasons)) == (words.VERDICT_IN_DOMAIN, [])
    assert response.candidates[0].class_id == "red"
    assert len(response.candidates) == 2
    assert response.candidates[0].display_name == "Red"
    assert {score.detector for score in response.ood_scores} == {"mahalanobis", "isolation_forest"}
    assert all(score.score < score.unsure_at <= score.out_at for score in response.ood_scores)
    (view,) = response.views
    assert (view.width_px, view.height_px, view.weight_ratio) == (120, 120, 1.0)
    assert view.quality.sharpness_var > 100
    assert response.disclaimer == DISCLAIMER["en"]
    assert not response.will_be_reviewed
    assert not response.replayed
    assert response.timings.total.ToNanoseconds() >= response.timings.inference.ToNanoseconds() > 0
    assert (await gateway.event_of(response)).prediction_id == response.prediction_id


async def test_the_event_holds_what_the_console_needs(gateway: Gateway) -> None:
    content = photo("green")

    response = await gateway.predict(
        content, request_id="r-2", idempotency_key="once", subject=pb.Subject(pseudonym="p-9")
    )

    event = await gateway.event_of(response)
    assert (event.request_id, event.client_id, event.model, event.version) == ("r-2", "client-somchai", NAME, VERSION)
    assert [candidate.class_id for candidate in event.candidates] == sorted(
        CLASSES, key=lambda name: -{c.class_id: c.probability for c in event.candidates}[name]
    )
    assert not any(candidate.display_name for candidate in event.candidates)
    assert event.candidates[0].probability == pytest.approx(response.candidates[0].probability)
    assert event.idempotency_key_digest == hashlib.sha256(b"once").hexdigest()
    assert event.subject.pseudonym == "p-9"
    assert len(event.policy_digest) == 32
    assert event.total_ms >= event.inference_ms > 0
    (view,) = event.views
    assert view.input_hash == hmac.digest(HASH_SECRET, content, hashlib.sha256)
    assert (view.heat_map_rows, view.heat_map_columns, len(view.heat_map)) == (GRID, GRID, GRID * GRID)
    assert max(view.heat_map) == 255
    assert np.isfinite(np.frombuffer(view.embedding_projection, "<f2")).tolist() == [True] * DIRECTIONS
    assert not view.HasField("photo")


async def test_the_event_names_the_nearest_references_asked_for_or_not_and_without_their_pictures(
    gateway: Gateway,
) -> None:
    event = await gateway.event_of(await gateway.predict(photo("green")))

    assert len(event.nearest_examples) == NEAREST_RECORDED
    first, *others = event.nearest_examples
    assert (first.class_id, first.side) == ("green", words.SIDE_FRONT)
    assert all(first.similarity_ratio >= other.similarity_ratio for other in others)
    assert not any(example.thumbnail_jpeg or example.display_name for example in event.nearest_examples)


async def test_texts_come_in_the_callers_language(gateway: Gateway) -> None:
    response = await gateway.predict(blurred(), metadata=THAI)

    assert response.disclaimer == DISCLAIMER["th"]
    assert response.candidates[0].display_name == "แดง"
    assert any("คมชัด" in finding.message for finding in response.reasons)


async def test_something_else_is_out_of_distribution_with_advice(gateway: Gateway) -> None:
    response = await gateway.predict(photo("grey"))

    assert response.verdict == words.VERDICT_OUT_OF_DISTRIBUTION
    assert [finding.reason for finding in response.reasons] == [words.REASON_NOT_OUR_KIND]
    assert response.reasons[0].advice
    assert response.will_be_reviewed


@pytest.mark.parametrize(
    ("content", "reason"),
    [(blurred(), words.REASON_BLURRED), (black(), words.REASON_TOO_DARK)],
    ids=["blurred", "black"],
)
async def test_a_photograph_that_shows_nothing_is_unsure_with_advice(
    gateway: Gateway, content: bytes, reason: words.Reason.ValueType
) -> None:
    response = await gateway.predict(content)

    assert response.verdict == words.VERDICT_UNSURE
    assert reason in [finding.reason for finding in response.reasons]
    assert reason in [finding.reason for finding in response.views[0].findings]
    assert words.REASON_NOT_OUR_KIND not in [finding.reason for finding in response.reasons]


async def test_a_bad_view_beside_a_good_one_is_all_but_silent(gateway: Gateway) -> None:
    response = await gateway.predict(photo("red"), black())

    assert response.verdict == words.VERDICT_IN_DOMAIN
    assert response.candidates[0].class_id == "red"
    assert response.views[1].weight_ratio < 0.01
    assert [finding.view for finding in response.views[1].findings] == [1] * len(response.views[1].findings)


async def test_eight_views_are_one_answer_and_one_run_of_the_graph(gateway: Gateway) -> None:
    response = await gateway.predict(*(photo("blue", seed=seed) for seed in range(8)))

    assert len(response.views) == 8
    assert sum(view.weight_ratio for view in response.views) == pytest.approx(1)
    assert response.candidates[0].class_id == "blue"
    assert len(gateway.graph.versions_asked) == 1


async def test_views_of_two_objects_are_unsure(gateway: Gateway) -> None:
    response = await gateway.predict(photo("red"), photo("blue"))

    assert response.verdict != words.VERDICT_IN_DOMAIN
    assert words.REASON_VIEWS_DISAGREE in [finding.reason for finding in response.reasons]


async def test_a_heat_map_is_given_for_the_best_class_or_the_one_named(gateway: Gateway) -> None:
    best = await gateway.predict(photo("red"), explain=pb.Explain(method=GRAD_CAM))
    named = await gateway.predict(photo("red"), explain=pb.Explain(method=GRAD_CAM, class_id="blue", overlay=True))

    (heat,) = best.heat_maps
    assert (heat.class_id, heat.method, heat.rows, heat.columns, len(heat.values)) == (
        "red",
        GRAD_CAM,
        GRID,
        GRID,
        GRID * GRID,
    )
    assert min(heat.values) >= 0
    assert not heat.overlay_png
    (heat,) = named.heat_maps
    assert heat.class_id == "blue"
    with Image.open(BytesIO(heat.overlay_png)) as overlay:
        assert (overlay.format, overlay.size, overlay.info) == ("PNG", (SIDE_PX, SIDE_PX), {})
    assert (await gateway.event_of(best)).views[0].heat_map
    assert not (await gateway.event_of(named)).views[0].heat_map  # it explains another class than the answer


async def test_a_heat_map_is_by_the_method_that_the_caller_chooses(gateway: Gateway) -> None:
    plain = await gateway.predict(photo("red"), explain=pb.Explain(method=GRAD_CAM))
    plus_plus = await gateway.predict(photo("red"), explain=pb.Explain(method=GRAD_CAM_PLUS_PLUS, class_id="blue"))

    assert plus_plus.heat_maps[0].method == GRAD_CAM_PLUS_PLUS
    assert plus_plus.heat_maps[0].class_id == "blue"
    assert list(plus_plus.heat_maps[0].values) != list(plain.heat_maps[0].values)


async def test_the_nearest_examples_are_those_of_any_view_with_names_in_the_callers_language(gateway: Gateway) -> None:
    thai = (*gateway.key.metadata, ("accept-language", "th"))
    response = await gateway.predict(photo("red"), photo("blue"), nearest_examples=2, metadata=thai)
    without = await gateway.predict(photo("red"))

    assert {example.class_id for example in response.nearest_examples} == {"red", "blue"}
    assert {example.display_name for example in response.nearest_examples} == {"แดง", "น้ำเงิน"}
    first, second = response.nearest_examples
    assert first.similarity_ratio >= second.similarity_ratio > 0.9
    assert (first.side, first.thumbnail_jpeg) == (words.SIDE_FRONT, b"jpeg")
    assert not without.nearest_examples


async def test_without_the_wish_there_is_no_heat_map(gateway: Gateway) -> None:
    assert not (await gateway.predict(photo())).heat_maps


async def test_when_the_deadline_leaves_no_time_the_answer_comes_without_its_heat_map(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        gateway.graph.wait_s = 2.5  # what a run is then expected to take; there is that much to spare on a busy machine
        await gateway.predict(photo())
        gateway.graph.wait_s = 0.0

        response = await gateway.predict(photo(), explain=pb.Explain(method=GRAD_CAM), deadline_s=5.0)

    assert not response.heat_maps
    assert [finding.reason for finding in response.reasons] == [words.REASON_NO_TIME_TO_EXPLAIN]
    assert response.verdict == words.VERDICT_IN_DOMAIN


async def test_another_models_version_of_the_same_name_costs_no_heat_map(tmp_path: Path) -> None:
    two = policy(models=[served_model(), served_model(name="coins")])
    async with running_gateway(tmp_path, policy=two) as gateway:
        gateway.graph.wait_s = 2.5  # one answer of it leaves no time for the next one's heat map
        await gateway.predict(photo(), model="coins")
        gateway.graph.wait_s = 0.0

        response = await gateway.predict(photo(), model=NAME, explain=pb.Explain(method=GRAD_CAM), deadline_s=5.0)

    assert response.heat_maps


async def test_one_key_gets_one_answer_and_leaves_one_event(gateway: Gateway) -> None:
    answers = await asyncio.gather(
        *(gateway.predict(photo(), idempotency_key="k", request_id=f"r-{number}") for number in range(6))
    )
    again = await gateway.predict(photo(), idempotency_key="k")

    assert len({answer.prediction_id for answer in (*answers, again)}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 5
    assert again.replayed
    assert [answer.request_id for answer in answers] == [f"r-{number}" for number in range(6)]
    await gateway.event_of(again)
    await gateway.event_of(await gateway.predict(photo("blue")))  # events arrive in order: the others would be here
    assert len(gateway.events_of(again)) == 1
    refused = await refusal_of(gateway.predict(photo("green"), idempotency_key="k"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, words.REASON_IDEMPOTENCY_CONFLICT)


async def test_a_key_outlives_its_gateway(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        first = await gateway.predict(photo(), idempotency_key="k")
        given = await gateway.stub.SubmitFeedback(feedback_on(first), metadata=SOMCHAI.metadata)
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        again = await gateway.predict(photo(), idempotency_key="k")
        given_again = await gateway.stub.SubmitFeedback(feedback_on(first), metadata=SOMCHAI.metadata)
        assert gateway.graph.versions_asked == []

    assert (again.prediction_id, again.replayed) == (first.prediction_id, True)
    assert given_again.feedback_id == given.feedback_id


def feedback_on(answer: pb.PredictResponse) -> pb.SubmitFeedbackRequest:
    return pb.SubmitFeedbackRequest(
        prediction_id=answer.prediction_id, kind=pb.SubmitFeedbackRequest.KIND_WRONG, idempotency_key="k"
    )


async def test_a_caller_that_gives_up_finds_its_answer_under_its_key(gateway: Gateway) -> None:
    gateway.graph.hold()
    call = asyncio.create_task(gateway.predict(photo(), idempotency_key="left"))
    await until(lambda: bool(gateway.graph.versions_asked), what="the first call is worked on")
    call.cancel()
    gateway.graph.release()

    answer = await gateway.predict(photo(), idempotency_key="left")

    assert answer.replayed
    assert len(gateway.graph.versions_asked) == 1


async def test_a_photograph_is_sealed_for_the_console_exactly_with_consent_and_wish(tmp_path: Path) -> None:
    private = X25519PrivateKey.generate()
    subject = pb.Subject(pseudonym="p", consent_reference="consent-1", retention=pb.RETENTION_KEEP)
    async with running_gateway(
        tmp_path, policy=policy(photo_seal_public_key=private.public_key().public_bytes_raw())
    ) as gateway:
        response = await gateway.predict(photo("red"), photo("red", seed=1), subject=subject)
        other = await gateway.predict(photo("red"), subject=pb.Subject(consent_reference="consent-1"))
        kept, not_kept = await gateway.event_of(response), await gateway.event_of(other)

    assert not any(view.HasField("photo") for view in not_kept.views)
    for index, view in enumerate(kept.views):
        png = unseal(
            Sealed(view.photo.ephemeral_public_key, view.photo.nonce, view.photo.ciphertext),
            private,
            response.prediction_id,
        )
        with Image.open(BytesIO(png)) as image:
            assert image.tobytes() == gateway.graph.pixels_seen(index).tobytes()


async def test_photographs_that_do_not_fit_into_an_event_are_left_out_and_the_answer_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = X25519PrivateKey.generate().public_key().public_bytes_raw()
    subject = pb.Subject(consent_reference="consent-1", retention=pb.RETENTION_KEEP)
    async with running_gateway(tmp_path, policy=policy(photo_seal_public_key=public)) as gateway:
        first = await gateway.predict(photo("red"), subject=subject)
        png_bytes = len((await gateway.event_of(first)).views[0].photo.ciphertext)
        monkeypatch.setattr(prediction, "_SEALED_BYTES_MAX", int(2.5 * png_bytes))

        response = await gateway.predict(*[photo("red", seed=seed) for seed in range(4)], subject=subject)
        event = await gateway.event_of(response)

    assert [view.HasField("photo") for view in event.views] == [True, True, False, False]


async def test_a_sample_of_sure_answers_is_reviewed_and_unsure_ones_all_are(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(review_sampling_ratio=1.0)) as gateway:
        assert (await gateway.predict(photo("red"))).will_be_reviewed
        gateway.console.issue(policy(revision=2, review_confidence_min=1.1))
        await until(lambda: kept_revision(gateway) == 2, what="the new policy is in force")
        assert (await gateway.predict(photo("red"))).will_be_reviewed


def told_by_shadows(gateway: Gateway) -> list[events_pb2.ShadowFollowed]:
    return [each.shadow for each in gateway.console.events() if each.HasField("shadow")]


async def test_a_named_version_answers_without_a_route_and_a_shadow_follows_those_that_had_one(tmp_path: Path) -> None:
    watching, idle = "v20260102_tiny_1.000", "v20260103_tiny_1.000"
    model = served_model()
    model.versions.extend([served_version(watching), served_version(idle)])
    model.routes.add(version=watching, shadow=True)
    async with running_gateway(tmp_path, policy=policy(models=[model])) as gateway:
        named = await gateway.predict(photo("red"), version=idle)
        routed = await gateway.predict(photo("red"))
        await until(lambda: told_by_shadows(gateway) != [], what="the shadow's answer follows")

    assert (routed.version, named.version) == (VERSION, idle)
    (shadow,) = told_by_shadows(gateway)
    assert (shadow.prediction_id, shadow.answer.version) == (routed.prediction_id, watching)
    assert (shadow.answer.verdict, shadow.answer.candidates[0].class_id) == (words.VERDICT_IN_DOMAIN, "red")


async def test_failed_calls_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.failures.REPORT_S", 0.05)
    graph = Graph()
    async with running_gateway(tmp_path, policy=policy(models=[served_model()]), graph=graph) as gateway:
        graph.failing.add(VERSION)
        await refusal_of(gateway.predict(photo("red")))

        def failed() -> list[tuple[str, int, int]]:
            told = [each.failed for each in gateway.console.events() if each.HasField("failed")]
            return [(each.version, each.reason, each.calls) for each in told]

        await until(lambda: failed() != [], what="the failed call is told")

    assert failed() == [(VERSION, words.REASON_BACKEND_UNAVAILABLE, 1)]


@pytest.mark.parametrize("trouble", ["slow", "dead"])
async def test_a_shadow_never_slows_or_fails_the_answer(tmp_path: Path, trouble: str) -> None:
    watching = "v20260102_tiny_1.000"
    model = served_model()
    model.versions.append(served_version(watching))
    model.routes.add(version=watching, shadow=True)
    graph = Graph()
    if trouble == "slow":
        graph.slow[watching] = 2.0
    else:
        graph.failing.add(watching)
    async with running_gateway(tmp_path, policy=policy(models=[model]), graph=graph) as gateway:
        response = await gateway.predict(photo("red"))
        await gateway.event_of(response)

    assert response.timings.total.ToNanoseconds() < 1.5e9


async def test_a_shadow_waits_while_every_core_has_a_call_in_hand(tmp_path: Path) -> None:
    watching = "v20260102_tiny_1.000"
    model = served_model()
    model.versions.append(served_version(watching))
    model.routes.add(version=watching, shadow=True)
    async with running_gateway(tmp_path, policy=policy(models=[model])) as gateway:
        asked = gateway.graph.versions_asked
        gateway.graph.hold()
        calls = {asyncio.create_task(gateway.predict(photo("red"))) for _ in range(1 + cores())}
        await until(lambda: len(asked) == len(calls), what="every call is worked on")
        gateway.graph.let_through(1)
        (first,), others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await gateway.event_of(await first)
        assert watching not in asked

        gateway.graph.release()
        await asyncio.gather(*others)
        await until(lambda: watching in asked, what="a shadow looks once a core is free")


async def test_feedback_becomes_an_event_once_for_a_key(gateway: Gateway) -> None:
    response = await gateway.predict(photo())
    request = pb.SubmitFeedbackRequest(
        prediction_id=response.prediction_id,
        true_class_id="blue",
        kind=pb.SubmitFeedbackRequest.KIND_WRONG,
        comment="It is blue.",
        idempotency_key="f",
    )

    first = await gateway.stub.SubmitFeedback(request, metadata=SOMCHAI.metadata)
    second = await gateway.stub.SubmitFeedback(request, metadata=SOMCHAI.metadata)

    assert first.feedback_id == second.feedback_id
    await gateway.event_of(await gateway.predict(photo()))  # events arrive in order
    (given,) = [
        event.feedback for event in gateway.console.events() if event.feedback.prediction_id == response.prediction_id
    ]
    assert (given.feedback_id, given.prediction_id, given.true_class_id, given.client_id) == (
        first.feedback_id,
        response.prediction_id,
        "blue",
        "client-somchai",
    )


async def test_models_are_listed_page_by_page_for_those_who_may_use_them(tmp_path: Path) -> None:
    models = [served_model(name=name) for name in ("a", "b", "c")]
    async with running_gateway(tmp_path, policy=policy(models=models)) as gateway:
        first = await gateway.stub.ListModels(pb.ListModelsRequest(page_size=2), metadata=SOMCHAI.metadata)
        second = await gateway.stub.ListModels(
            pb.ListModelsRequest(page_size=2, page_token=first.next_page_token), metadata=SOMCHAI.metadata
        )

    assert [model.name for model in first.models] == ["a", "b"]
    assert [model.name for model in second.models] == ["c"]
    assert not second.next_page_token


async def test_a_model_shows_the_card_of_the_version_that_answers(gateway: Gateway) -> None:
    model = await gateway.stub.GetModel(pb.GetModelRequest(), metadata=SOMCHAI.metadata)

    assert (model.name, model.version, model.ready) == (NAME, VERSION, True)
    assert [known.id for known in model.card.classes] == list(CLASSES)
    (version,) = model.versions
    assert (version.version, version.alias, version.weight_ratio, version.ready) == (VERSION, "champion", 1.0, True)


async def test_every_answer_carries_its_request_id(gateway: Gateway) -> None:
    call = gateway.stub.ListModels(pb.ListModelsRequest(), metadata=SOMCHAI.metadata)
    await call

    assert is_uuid7(str(dict(await call.trailing_metadata())["x-request-id"]))


async def test_services_describe_themselves(gateway: Gateway) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    answers = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]

    names = {service.name for service in answers[0].list_services_response.service}
    assert {"amulet.v1.PredictionService", "grpc.health.v1.Health"} <= names


async def test_reflection_can_be_turned_off(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(), reflection=False) as gateway:
        stub = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
        with pytest.raises(aio.AioRpcError) as refused:
            _ = [_ async for _ in stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest()]))]

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

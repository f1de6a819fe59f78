"""inference.GRPCInferenceService: the engine of amulet.v1 under the Open Inference Protocol.

The same keys, limits, refusals and events, and the same numbers. A batch is that many
predictions, each with its event; with `one_object` it is that many views of one object, as
in amulet.v1. Refusals are raised as they are, with the field's name in this contract; the
door turns them into statuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as version_of_distribution
from typing import Any, Final

import numpy as np
from grpc import aio
from numpy.typing import NDArray

from gateway import catalogue, errors, tensors
from gateway.admission.shedding import Place
from gateway.answer import CLASS_LEVEL
from gateway.ask import Ask, AskedExplanation, AskedSubject, AskedView, check_text
from gateway.batch import taken_up
from gateway.call import Call, current_call
from gateway.deadline import Deadline
from gateway.door import Admission
from gateway.gathering import all_of
from gateway.health import Health
from gateway.messages import Came
from gateway.prediction import Predictor
from gateway.replays import Replays
from gateway.routing.router import WhyNotReady, model_for
from gateway.snapshot import ServedModel, ServedVersion
from gateway.telemetry import Metrics, facts_of
from gateway.tensors import Result
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.inference import open_inference_pb2 as oip

SERVICE: Final = "inference.GRPCInferenceService"
# What this service takes and gives beyond the protocol's six calls; docs/callers.md describes each.
EXTENSIONS: Final = ("amulet_verdict", "amulet_heatmap", "amulet_raw_pixels", "amulet_one_object", "amulet_idempotency")
_ALL_CANDIDATES: Final = 2**31 - 1
_HEAT_MAP: Final = "heatmap"
_FIXED: Final = ("probabilities", "class_id", "verdict", "reasons", "will_be_reviewed", "prediction_id", _HEAT_MAP)
_SCORE: Final = "score_"
_Context = aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Wishes:
    """The parameters of a request that this service knows; others are for other servers, and pass."""

    idempotency_key: str = ""
    explain_class: str = ""
    subject_pseudonym: str = ""
    consent_reference: str = ""
    keep_photo: bool = False
    one_object: bool = False


class OpenInference:
    def __init__(
        self,
        *,
        request_s_max: float,
        admission: Admission,
        predictor: Predictor,
        replays: Replays,
        health: Health,
        why_not_ready: WhyNotReady,
        metrics: Metrics,
    ) -> None:
        self._request_s_max = request_s_max
        self._admission = admission
        self._predictor = predictor
        self._replays = replays
        self._health = health
        self._why_not_ready = why_not_ready
        self._metrics = metrics

    async def ServerLive(self, request: oip.ServerLiveRequest, context: _Context) -> oip.ServerLiveResponse:
        return oip.ServerLiveResponse(live=True)

    async def ServerReady(self, request: oip.ServerReadyRequest, context: _Context) -> oip.ServerReadyResponse:
        return oip.ServerReadyResponse(ready=not self._health.problems())

    async def ModelReady(self, request: oip.ModelReadyRequest, context: _Context) -> oip.ModelReadyResponse:
        return oip.ModelReadyResponse(ready=self._health.ready(request.name, request.version))

    async def ServerMetadata(self, request: oip.ServerMetadataRequest, context: _Context) -> oip.ServerMetadataResponse:
        return oip.ServerMetadataResponse(
            name="amulet", version=version_of_distribution("amulet"), extensions=EXTENSIONS
        )

    async def ModelMetadata(self, request: oip.ModelMetadataRequest, context: _Context) -> oip.ModelMetadataResponse:
        snapshot, client = self._admission.policy.current, current_call.get().client
        wanted = pb.GetModelRequest(model=request.name, version=request.version)
        try:
            model = catalogue.model(snapshot, client, wanted, self._why_not_ready)
        except errors.Refusal as refusal:
            raise refusal.at({"model": "name"}.get(refusal.field, refusal.field)) from None
        metadata = oip.ModelMetadataResponse(
            name=model.name,
            versions=[known.version for known in model.versions],
            platform="amulet_onnx",
            inputs=[
                _tensor(tensors.PHOTO, "BYTES", -1),
                _tensor(tensors.PIXELS, "UINT8", -1, -1, -1, 3),
            ],
        )
        if model.version:
            _describe(metadata, snapshot.models[model.name].versions[model.version])
        return metadata

    async def ModelInfer(self, request: Came, context: _Context) -> oip.ModelInferResponse:
        call = current_call.get()
        deadline = Deadline.of_call(context.time_remaining(), request_s_max=self._request_s_max)
        came = [request]
        del request
        try:
            async with self._admission.shedder.place(call.client.client_id, deadline) as place:
                return await self._infer(call, came, place, deadline)
        except errors.Refusal as refusal:
            raise refusal.at(_FIELD_OF.get(refusal.field, refusal.field)) from None

    async def _infer(self, call: Call, came: list[Came], place: Place, deadline: Deadline) -> oip.ModelInferResponse:
        """came: the request, which is taken out, so that no frame holds it and the photographs in it meanwhile."""
        request, cut = came[0].message, came[0].cut
        came.clear()
        snapshot = self._admission.policy.current
        model = model_for(snapshot, call.client, request.model_name)
        views = tensors.photographs_of(request, cut)
        wishes = _wishes_of(request)
        names = _outputs_of(request, model)
        ask = _ask_of(request, model, views, wishes, explain=_HEAT_MAP in names, batch_id=call.request_id)
        raw = bool(request.raw_input_contents)
        del request, cut  # with its copy of the photographs
        asks: Sequence[Ask] = [ask] if wishes.one_object else [_one_of(ask, index) for index in range(len(views))]
        if len(asks) > 1:  # the door has counted one
            await self._admission.count(call, "predictions", calls=len(asks) - 1)
            if wishes.idempotency_key:
                asks = await taken_up(
                    asks,
                    call.client.client_id,
                    model=model,
                    replays=self._replays,
                    why_not_ready=self._why_not_ready,
                )
        responses = await self._predict(call, asks, place, deadline)
        answered = {(response.model, response.version) for response in responses}
        if len(answered) != 1:
            raise errors.ModelNotReady("the version changed while the batch was answered", wanted="send it again")
        version = model.versions.get(responses[0].version)
        columns = _columns(responses[0], version)
        answer = oip.ModelInferResponse(
            model_name=responses[0].model, model_version=responses[0].version, id=ask.request_id
        )
        answer.parameters["disclaimer"].string_param = responses[0].disclaimer
        if responses[0].audit_checkpoint:
            answer.parameters["audit_checkpoint"].string_param = responses[0].audit_checkpoint
        results = (result for result in _results_of(responses, columns) if result.name in names)
        tensors.write(answer, results, raw=raw)
        return answer

    async def _predict(
        self, call: Call, asks: Sequence[Ask], place: Place, deadline: Deadline
    ) -> list[pb.PredictResponse]:
        """All of them at once. Raises the refusal of the first that was refused, and names its photograph."""

        async def one(index: int) -> pb.PredictResponse:
            try:
                response = await self._predictor.predict(
                    asks[index],
                    call.client,
                    place=place,
                    deadline=deadline,
                    language=call.language,
                    trace=call.trace,
                )
            except errors.Refusal as refusal:
                view = _VIEW.fullmatch(refusal.field)
                if view is None:
                    raise
                number = index if len(asks) > 1 else int(view["view"])
                raise refusal.at(f"inputs[0].contents[{number}]") from None
            self._metrics.answered(response)
            return response

        responses = await all_of(one(index) for index in range(len(asks)))
        call.facts.update(facts_of(responses[0]))
        if len(responses) > 1:
            call.facts["predictions"] = len(responses)
        return responses


_NOT_FOR_OUTPUTS: Final = {
    tensors.SHARED_MEMORY: "outputs come with the answer: name no shared memory",
    tensors.CLASSIFICATION: "leave it out: class_id and the columns of probabilities name the classes",
}
_VIEW: Final = re.compile(r"views\[(?P<view>\d)\]\.photo")
_FIELD_OF: Final = {
    "model": "model_name",
    "version": "model_version",
    "explain.class_id": "parameters[explain_class]",
    "idempotency_key": "parameters[idempotency_key]",
}


def _wishes_of(request: oip.ModelInferRequest) -> Wishes:
    """Raises FieldInvalid for a parameter of another type than its own."""
    wishes = Wishes()
    for name, parameter in request.parameters.items():
        if name not in Wishes.__slots__:
            continue
        kind = "bool_param" if isinstance(getattr(wishes, name), bool) else "string_param"
        if parameter.WhichOneof("parameter_choice") != kind:
            raise errors.FieldInvalid(
                f"the parameter {name} has another type", field=f"parameters[{name}]", wanted=f"send a {kind}"
            )
        if kind == "string_param":
            check_text(f"parameters[{name}]", parameter.string_param)
        wishes = replace(wishes, **{name: getattr(parameter, kind)})
    return wishes


def _outputs_of(request: oip.ModelInferRequest, model: ServedModel) -> frozenset[str]:
    """The outputs that are wanted: those named, or all.

    Raises FieldInvalid for one that no version has, or that is wanted in another way than in the answer.
    """
    scores = {f"{_SCORE}{limit.name}" for version in model.versions.values() for limit in version.limits.detectors}
    known = scores.union(_FIXED)
    for index, output in enumerate(request.outputs):
        if output.name not in known:
            raise errors.FieldInvalid(
                f"there is no output {output.name[:64]!r}",
                field=f"outputs[{index}].name",
                wanted=f"there are {', '.join(sorted(known))}",
            )
        for name, wanted in _NOT_FOR_OUTPUTS.items():
            if name in output.parameters:
                raise errors.FieldInvalid(
                    f"the output {output.name} cannot be given so",
                    field=f"outputs[{index}].parameters[{name}]",
                    wanted=wanted,
                )
    return frozenset(output.name for output in request.outputs) or frozenset(known)


def _ask_of(
    request: oip.ModelInferRequest,
    model: ServedModel,
    views: tuple[AskedView, ...],
    wishes: Wishes,
    *,
    explain: bool,
    batch_id: str,
) -> Ask:
    check_text("id", request.id)
    check_text("model_version", request.model_version)
    return Ask(
        request_id=request.id,
        views=views,
        model=model.name,
        version=request.model_version,
        top_k=_ALL_CANDIDATES,
        level=CLASS_LEVEL,  # a row has one column a class, whatever the answer would stand on
        explanation=AskedExplanation(pb.Explain.METHOD_GRAD_CAM, wishes.explain_class, overlay=False)
        if explain
        else None,
        idempotency_key=wishes.idempotency_key,
        subject=AskedSubject(
            wishes.subject_pseudonym,
            wishes.consent_reference,
            pb.RETENTION_KEEP if wishes.keep_photo else pb.RETENTION_UNSPECIFIED,
        ),
        batch_id=wishes.idempotency_key or request.id or batch_id,
    )


def _one_of(batch: Ask, index: int) -> Ask:
    """One photograph's own prediction out of a batch."""
    if len(batch.views) == 1:
        return batch
    key = f"{batch.idempotency_key}#{index}" if batch.idempotency_key else ""
    return replace(batch, views=(batch.views[index],), idempotency_key=key)


def _columns(response: pb.PredictResponse, version: ServedVersion | None) -> list[tuple[str, str]]:
    """Class id and its name in the caller's language, in the card's order.

    Of a version that has gone since (an answer given before), in the order of the answer.
    """
    names = {candidate.class_id: candidate.display_name for candidate in response.candidates}
    order = list(names) if version is None else [known.class_id for known in version.classes]
    return [(class_id, names[class_id]) for class_id in order]


def _results_of(responses: Sequence[pb.PredictResponse], columns: Sequence[tuple[str, str]]) -> list[Result]:
    """Every output, in the order in which the metadata lists them; the heat map only where there was time for it."""
    tables = [{one.class_id: one.probability for one in response.candidates} for response in responses]
    parameters = {
        "classes": json.dumps([class_id for class_id, _ in columns], ensure_ascii=False),
        "display_names": json.dumps([name for _, name in columns], ensure_ascii=False),
    }
    results = [
        Result(
            "probabilities",
            np.array([[table[class_id] for class_id, _ in columns] for table in tables], dtype=np.float64),
            parameters,
        ),
        Result("class_id", [response.candidates[0].class_id.encode() for response in responses]),
        Result("verdict", [_short(words.Verdict.Name(response.verdict)) for response in responses]),
        Result("reasons", [_reasons(response) for response in responses]),
        *(
            Result(
                f"{_SCORE}{score.detector}",
                np.array([response.ood_scores[index].score for response in responses], dtype=np.float64),
                {"unsure_at": repr(score.unsure_at), "out_at": repr(score.out_at)},
            )
            for index, score in enumerate(responses[0].ood_scores)
        ),
        Result("will_be_reviewed", np.array([response.will_be_reviewed for response in responses], dtype=np.bool_)),
        Result("prediction_id", [response.prediction_id.encode() for response in responses]),
    ]
    if all(response.heat_maps for response in responses):
        heats = [heat for response in responses for heat in response.heat_maps]
        explained = json.dumps([heat.class_id for heat in heats], ensure_ascii=False)
        results.append(Result(_HEAT_MAP, np.stack([_grid(heat) for heat in heats]), {"classes": explained}))
    return results


def _grid(heat: pb.HeatMap) -> NDArray[np.float32]:
    return np.array(heat.values, dtype=np.float32).reshape(heat.rows, heat.columns)


def _short(name: str) -> bytes:
    """The words of the contract without the name of their kind."""
    return name.partition("_")[2].encode()


def _reasons(response: pb.PredictResponse) -> bytes:
    return json.dumps([_short(words.Reason.Name(finding.reason)).decode() for finding in response.reasons]).encode()


def _tensor(name: str, datatype: str, *shape: int) -> oip.ModelMetadataResponse.TensorMetadata:
    return oip.ModelMetadataResponse.TensorMetadata(name=name, datatype=datatype, shape=shape)


def _describe(metadata: oip.ModelMetadataResponse, version: ServedVersion) -> None:
    """What this version gives, and what its classes are called."""
    metadata.outputs.extend(
        [
            _tensor("probabilities", "FP64", -1, len(version.classes)),
            _tensor("class_id", "BYTES", -1),
            _tensor("verdict", "BYTES", -1),
            _tensor("reasons", "BYTES", -1),
            *(_tensor(f"{_SCORE}{limit.name}", "FP64", -1) for limit in version.limits.detectors),
            _tensor("will_be_reviewed", "BOOL", -1),
            _tensor("prediction_id", "BYTES", -1),
            _tensor(_HEAT_MAP, "FP32", -1, -1, -1),
        ]
    )
    names = {known.class_id: dict(known.display_names) for known in version.classes}
    metadata.properties["version"] = version.version
    metadata.properties["classes"] = json.dumps([known.class_id for known in version.classes], ensure_ascii=False)
    metadata.properties["display_names"] = json.dumps(names, ensure_ascii=False)

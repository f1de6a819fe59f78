"""A gateway's public face for the client's tests: a real gRPC server with canned answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.wording import DISCLAIMER

KEY = "amk_0123456789ab_secret"
_LIMITED_MS = {b"limited": 1500, b"limited for long": 600_000}


class Gateway(rpc.PredictionServiceServicer):
    """Answers by the photograph's text; remembers the metadata it saw."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.keys: list[str] = []  # of predictions and feedback, in the order in which they came
        self.breaks_left = 0  # so many calls are done, and their answer is lost
        self.refusals_left = 0  # so many are refused for now
        self.busy_left = 0
        self.calls = 0
        self.called = threading.Event()

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:
        self.metadata = dict(context.invocation_metadata())
        self.calls += 1
        self.called.set()
        self._done(request.idempotency_key, context)
        if self.busy_left or request.views[0].photo in _LIMITED_MS:
            self.busy_left = max(0, self.busy_left - 1)
            status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="101st call")
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(_LIMITED_MS.get(request.views[0].photo, 40))
            for detail in (
                error_details_pb2.ErrorInfo(
                    reason="REASON_RATE_LIMITED", domain="amulet", metadata={"request_id": "r1"}
                ),
                retry,
                error_details_pb2.LocalizedMessage(locale="th", message="เรียกบ่อยเกินไป"),
            ):
                packed = AnyMessage()
                packed.Pack(detail)
                status.details.append(packed)
            context.abort_with_status(rpc_status.to_status(status))
        return answer_of(request)

    def PredictStream(
        self, request_iterator: Iterator[pb.PredictRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamResult]:
        for request in request_iterator:
            if request.views[0].photo == b"broken":
                error = pb.StreamError(
                    code=3, message="broken", reason=words.REASON_PHOTO_CORRUPT, field="views[0].photo"
                )
                yield pb.StreamResult(request_id=request.request_id, error=error)
            else:
                yield pb.StreamResult(request_id=request.request_id, response=answer_of(request))

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        number = int(request.page_token or "0")
        return pb.ListModelsResponse(
            models=[pb.Model(name=f"model-{number}", ready=True)], next_page_token=str(number + 1) if number < 2 else ""
        )

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.Model:
        return model_of(request.model, request.version or "v20261123_tf_efficientnet_lite0_0.900")

    def SubmitFeedback(
        self, request: pb.SubmitFeedbackRequest, context: grpc.ServicerContext
    ) -> pb.SubmitFeedbackResponse:
        self._done(request.idempotency_key, context)
        return pb.SubmitFeedbackResponse(feedback_id=f"{request.prediction_id}-{request.kind}")

    def _done(self, key: str, context: grpc.ServicerContext) -> None:
        if self.refusals_left:
            self.refusals_left -= 1
            info = error_details_pb2.ErrorInfo(reason="REASON_SHUTTING_DOWN", domain="amulet")
            status = status_pb2.Status(
                code=grpc.StatusCode.UNAVAILABLE.value[0], message="this gateway is shutting down"
            )
            status.details.add().Pack(info)
            context.abort_with_status(rpc_status.to_status(status))
        self.keys.append(key)
        if self.breaks_left:  # what gRPC says of a connection that broke under a call: a status of nobody's
            self.breaks_left -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


def answer_of(request: pb.PredictRequest) -> pb.PredictResponse:
    verdict = words.VERDICT_OUT_OF_DISTRIBUTION if request.views[0].photo == b"coin" else words.VERDICT_IN_DOMAIN
    return pb.PredictResponse(
        prediction_id="p1",
        request_id=request.request_id,
        verdict=verdict,
        candidates=[pb.Candidate(class_id="a", display_name="Alpha", probability=0.875)],
        reasons=[pb.Finding(reason=words.REASON_NOT_OUR_KIND, message="Not like ours.", advice="Ask.", view=-1)]
        if verdict == words.VERDICT_OUT_OF_DISTRIBUTION
        else [],
        disclaimer=DISCLAIMER["en"],
    )


def model_of(name: str, version: str) -> pb.Model:
    """A model with a whole card."""
    card = pb.Card(
        name=name,
        version=version,
        classes=[pb.Class(id="a", display_names={"en": "Alpha", "th": "อัลฟา"})],
        levels=[pb.Level(id="family", groups=[pb.Group(id="f", display_names={"en": "Greek"}, class_ids=["a"])])],
        input_height_px=224,
        input_width_px=192,
        temperature=1.5,
        decision=pb.Decision(
            confidence_min=0.5,
            margin_min=0.1,
            detectors=[pb.DetectorLimits(name="mahalanobis", typical=1, unsure_at=2, out_at=3)],
            set_coverage=0.9,
        ),
        metrics=[pb.Metric(name="macro_f1", value=0.9, low=0.85, high=0.94, data="test part, seed 0")],
        data_fingerprint="f" * 64,
        data_photos=131,
        weights_licence="Apache-2.0",
        archive_sha256="a" * 64,
    )
    card.created_at.FromJsonString("2026-11-23T10:00:00Z")
    card.document.update({"temperature": 1.5})
    versions = [pb.ModelVersion(version=version, alias="champion", weight_ratio=1.0, ready=True)]
    return pb.Model(name=name, version=version, ready=True, versions=versions, card=card)


def full_response() -> pb.PredictResponse:
    """An answer with every field set."""
    response = pb.PredictResponse(
        prediction_id="p1",
        request_id="r1",
        model="amulets",
        version="v1",
        verdict=words.VERDICT_UNSURE,
        reasons=[pb.Finding(reason=words.REASON_LOW_CONFIDENCE, message="Not sure enough.", advice="Ask.", view=-1)],
        candidates=[
            pb.Candidate(class_id="a", display_name="Alpha", probability=0.5),
            pb.Candidate(class_id="b", display_name="Beta", probability=0.375),
        ],
        prediction_set=pb.PredictionSet(class_ids=["a", "b"], coverage=0.9),
        ood_scores=[pb.OodScore(detector="mahalanobis", score=1.5, unsure_at=2, out_at=3)],
        views=[
            pb.ViewReport(
                width_px=480,
                height_px=640,
                side=words.SIDE_BACK,
                quality=pb.Quality(sharpness_var=50, brightness_ratio=0.5, contrast_ratio=0.25),
                weight_ratio=0.5,
                candidates=[pb.Candidate(class_id="a", display_name="Alpha", probability=0.5)],
                findings=[pb.Finding(reason=words.REASON_BLURRED, message="Blurred.", advice="Hold still.", view=0)],
            ),
            pb.ViewReport(width_px=10, height_px=20, weight_ratio=0.5),
        ],
        heat_maps=[
            pb.HeatMap(
                view=0,
                class_id="a",
                method=pb.Explain.METHOD_GRAD_CAM,
                rows=2,
                columns=3,
                values=[0, 1, 2, 3, 4, 8],
                overlay_png=b"png",
            )
        ],
        nearest_examples=[pb.Example(example_id="e", class_id="a", similarity_ratio=0.75, thumbnail_jpeg=b"jpg")],
        disclaimer=DISCLAIMER["en"],
        will_be_reviewed=True,
        audit_checkpoint="checkpoint",
        replayed=True,
        level="group",
        class_candidates=[pb.Candidate(class_id="aa", display_name="Alpha one", probability=0.25)],
    )
    response.timings.total.FromMilliseconds(20)
    response.timings.decode.FromMilliseconds(4)
    response.timings.inference.FromMilliseconds(12)
    response.timings.journal.FromMicroseconds(1500)
    response.answered_at.FromJsonString("2026-11-23T10:00:00.5Z")
    return response

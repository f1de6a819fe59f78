"""A gateway's public face for the page Try it: a real gRPC server with full answers and worded refusals."""

from __future__ import annotations

import uuid

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from protos.amulet.v1 import prediction_pb2 as pb
from tests.unit.client.cast import Gateway, full_response

PREDICTION = str(uuid.UUID(int=7))
# Sent as a photograph -> status and sentence with which the gateway refuses it.
REFUSED = {
    b"corrupt": (grpc.StatusCode.INVALID_ARGUMENT, "REASON_PHOTO_CORRUPT", "ไฟล์ภาพเสียหาย"),
    b"large": (grpc.StatusCode.INVALID_ARGUMENT, "REASON_PHOTO_TOO_LARGE", "ไฟล์ภาพใหญ่เกินไป"),
    b"not ready": (grpc.StatusCode.UNAVAILABLE, "REASON_MODEL_NOT_READY", "โมเดลยังไม่พร้อม"),
    b"stranger": (grpc.StatusCode.UNAUTHENTICATED, "REASON_KEY_REVOKED", "คีย์ถูกเพิกถอน"),
}


class AnyGateway(Gateway):
    """Remembers the requests, refuses what is in REFUSED, and answers all else with every field set."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[pb.PredictRequest] = []

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:
        self.requests.append(request)
        photo = request.views[0].photo
        if photo in REFUSED:
            code, reason, sentence = REFUSED[photo]
            status = status_pb2.Status(code=code.value[0], message="precise")
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="amulet"))
            status.details.add().Pack(error_details_pb2.LocalizedMessage(locale="th", message=sentence))
            context.abort_with_status(rpc_status.to_status(status))
        plain = super().Predict(request, context)
        answer = plain if photo == b"coin" else full_response()
        answer.prediction_id = PREDICTION
        return answer

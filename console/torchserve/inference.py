"""TorchServe's inference contract, as far as a smoke test needs it. Predictions for callers go through the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc

from console.torchserve.errors import BackendAway, BackendRefused
from console.torchserve.tokens import Purpose, Token, Tokens
from protos.amulet.graph.v1 import graph_pb2
from protos.torchserve import inference_pb2 as pb
from protos.torchserve.inference_pb2_grpc import InferenceAPIsServiceStub

CALL_S_MAX: Final = 20.0


class Inference:
    """Asks one version of one model, through its real worker."""

    def __init__(self, *, address: str, tokens: Tokens) -> None:
        self._tokens = tokens
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 64 * 2**20)]
        )
        self._stub = InferenceAPIsServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def predict(self, name: str, version: str, pixels: Sequence[bytes]) -> graph_pb2.GraphAnswer:
        """The graph's answer for photographs of the model's size, uint8 [height, width, 3] row by row.

        Raises BackendAway when nobody answers, BackendRefused when the worker fails.
        """
        request = graph_pb2.GraphRequest(
            images=[graph_pb2.Image(pixels=content, target=-1) for content in pixels], heat_map=True
        )
        wrapped = pb.PredictionsRequest(
            model_name=name, model_version=version, input={"request": request.SerializeToString()}
        )
        token = self._tokens.current(Purpose.INFERENCE)
        try:
            answer = self._predict(wrapped, token)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                raise _translated(error) from None
            try:
                answer = self._predict(wrapped, self._tokens.refused(Purpose.INFERENCE, token))
            except grpc.RpcError as again:
                raise _translated(again) from None
        return graph_pb2.GraphAnswer.FromString(answer.prediction)

    def _predict(self, request: pb.PredictionsRequest, token: Token) -> pb.PredictionResponse:
        metadata = (("protocol", "gRPC"), ("authorization", f"Bearer {token.text}"))
        return self._stub.Predictions(request, timeout=CALL_S_MAX, metadata=metadata)


def _translated(error: grpc.RpcError) -> BackendAway | BackendRefused:
    code, details = error.code(), (error.details() or "").split("\n")[0]
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.PERMISSION_DENIED):
        return BackendAway(f"TorchServe does not answer: {code.name.lower()} {details}".rstrip())
    return BackendRefused(f"TorchServe: {code.name.lower()} {details}".rstrip())

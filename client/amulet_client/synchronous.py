"""The client for threads: blocking calls, one channel, safe to share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from amulet_client.answers import Prediction, ServedModel, View, request_of
from amulet_client.connection import ConnectionOptions, channel_options
from amulet_client.errors import AmuletError, Refused, error_of
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.amulet.v1 import vocabulary_pb2 as words


class Client:
    """Blocking calls to one gateway. Close it, or use it as a context manager."""

    def __init__(
        self,
        address: str,
        *,
        api_key: str,
        ca_file: str | Path | None = None,
        plaintext: bool = False,
        language: str = "en",
        timeout_s: float = 30.0,
    ) -> None:
        """Opens no connection yet. Raises ValueError or OSError as ConnectionOptions does."""
        self._options = ConnectionOptions(
            address=address,
            api_key=api_key,
            ca_file=Path(ca_file) if ca_file else None,
            plaintext=plaintext,
            language=language,
            timeout_s=timeout_s,
        )
        credentials = self._options.credentials()
        self._channel = (
            grpc.insecure_channel(address, options=channel_options())
            if credentials is None
            else grpc.secure_channel(address, credentials, options=channel_options())
        )
        self._stub = rpc.PredictionServiceStub(self._channel)

    def predict(self, views: Sequence[View | bytes | Path | str], **fields: Any) -> Prediction:
        """One object, one to eight views of it, one answer.

        fields: model, version, top_k, explain, overlay, explain_class, idempotency_key, request_id,
        subject, consent, keep (see `answers.request_of`).
        Raises Refused or Unreachable; ValueError and OSError for a request that cannot be made.
        """
        return Prediction.of(self._call(self._stub.Predict, request_of(views, **fields)))

    def predict_stream(self, requests: Iterable[pb.PredictRequest]) -> Iterator[Prediction | Refused]:
        """Bulk work. Outcomes come as they are ready, perhaps in another order, and carry the request's id."""
        call = self._stub.PredictStream(iter(requests), metadata=self._options.metadata())
        try:
            for result in call:
                yield outcome_of(result)
        except grpc.RpcError as error:
            raise self._error(error) from error
        finally:
            call.cancel()

    def feedback(self, prediction_id: str, *, kind: str, true_class_id: str = "", comment: str = "") -> str:
        """Tell what the object turned out to be; kind: confirmed, wrong, not_our_kind or complaint. Returns its id."""
        answer = self._call(self._stub.SubmitFeedback, feedback_of(prediction_id, kind, true_class_id, comment))
        return str(answer.feedback_id)

    def list_models(self) -> tuple[ServedModel, ...]:
        models: list[ServedModel] = []
        token = ""
        while True:
            page = self._call(self._stub.ListModels, pb.ListModelsRequest(page_token=token))
            models += map(ServedModel.of, page.models)
            token = page.next_page_token
            if not token:
                return tuple(models)

    def get_model(self, name: str, version: str = "") -> pb.Model:
        """The model with its whole card, as the contract's own message."""
        model: pb.Model = self._call(self._stub.GetModel, pb.GetModelRequest(model=name, version=version))
        return model

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, metadata=self._options.metadata(), timeout=self._options.timeout_s)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _error(self, error: Any) -> AmuletError:
        return error_of(error, dict(error.trailing_metadata() or ()), self._options.address)


def outcome_of(result: pb.StreamResult) -> Prediction | Refused:
    """What a stream said about one request."""
    if result.WhichOneof("outcome") == "response":
        return Prediction.of(result.response)
    error = result.error
    return Refused(
        message=error.message,
        reason=words.Reason.Name(error.reason),
        code=next((code.name for code in grpc.StatusCode if code.value[0] == error.code), "UNKNOWN"),
        field=error.field,
        retry_after_s=error.retry_after.ToTimedelta().total_seconds() if error.HasField("retry_after") else None,
        request_id=result.request_id,
    )


def feedback_of(prediction_id: str, kind: str, true_class_id: str, comment: str) -> pb.SubmitFeedbackRequest:
    """Raises ValueError for a kind that the contract does not know."""
    try:
        value = pb.SubmitFeedbackRequest.Kind.Value(f"KIND_{kind.upper()}")
    except ValueError:
        raise ValueError(f"{kind} is not a kind of feedback: confirmed, wrong, not_our_kind, complaint") from None
    return pb.SubmitFeedbackRequest(
        prediction_id=prediction_id, kind=value, true_class_id=true_class_id, comment=comment
    )

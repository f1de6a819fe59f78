"""The client for threads: blocking calls, one channel, safe to share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack
from uuid import uuid4

import grpc

from amulet_client import health
from amulet_client.answers import Prediction, View, Wishes, request_of
from amulet_client.connection import ConnectionOptions, channel_options
from amulet_client.errors import AmuletError, ClientClosed, Refused, Unreachable, error_of
from amulet_client.models import ServedModel
from amulet_client.repeating import Attempts
from amulet_client.stall import StallWatch
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.amulet.v1 import vocabulary_pb2 as words


class Client:
    """Blocking calls to one gateway, or to several under one name. Close it, or use it as a context manager."""

    def __init__(
        self,
        address: str,
        *,
        api_key: str,
        ca_file: str | Path | None = None,
        plaintext: bool = False,
        language: str = "en",
        timeout_s: float = 30.0,
        wait_s_max: float = 0.0,
        share_calls: bool = False,
    ) -> None:
        """Opens no connection yet. Raises ValueError or OSError as ConnectionOptions does."""
        self._options = ConnectionOptions(
            address=address,
            api_key=api_key,
            ca_file=Path(ca_file) if ca_file else None,
            plaintext=plaintext,
            language=language,
            timeout_s=timeout_s,
            wait_s_max=wait_s_max,
            share_calls=share_calls,
        )
        credentials = self._options.credentials()
        options = channel_options(self._options)
        self._channel = (
            grpc.insecure_channel(address, options=options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options=options)
        )
        self._stub = rpc.PredictionServiceStub(self._channel)
        self._closed = threading.Event()

    def predict(self, views: Sequence[View | bytes | Path | str], **wishes: Unpack[Wishes]) -> Prediction:
        """One object, one to eight views of it, one answer.

        Without an idempotency key a connection that breaks under the call is Unreachable: it may have been answered.
        With one it is asked again. Raises Refused, Unreachable or ClientClosed; ValueError and OSError for a request
        that cannot be made (see `answers.request_of`).
        """
        request = request_of(views, **wishes)
        attempts = Attempts.of_prediction(self._options, request.idempotency_key)
        return Prediction.of(self._call(self._stub.Predict, request, attempts))

    def predict_stream(
        self, requests: Iterable[pb.PredictRequest], *, stall_s: float | None = None
    ) -> Iterator[Prediction | Refused]:
        """Bulk work. Outcomes come as they are ready, perhaps in another order, and carry the request's id.

        stall_s: how long nothing may come back while requests wait; None: for ever.
        Raises Refused, Unreachable or ClientClosed when the stream itself ends early, and what `requests` raises.
        """
        failures: list[Exception] = []
        watch = StallWatch(stall_s, lambda: call.cancel())
        with self._closing():
            call = self._stub.PredictStream(_given(requests, failures, watch), metadata=self._options.metadata())
        try:
            for result in call:
                watch.came()
                yield outcome_of(result)
        except grpc.RpcError as error:
            if failures:
                raise failures[0] from None
            if watch.stalled:
                raise watch.error(self._options.address) from None
            raise self._error(error) from error
        finally:
            watch.end()
            call.cancel()

    def feedback(
        self, prediction_id: str, *, kind: str, true_class_id: str = "", comment: str = "", idempotency_key: str = ""
    ) -> str:
        """Tell what the object turned out to be; kind: confirmed, wrong, not_our_kind or complaint. Returns its id.

        idempotency_key: what is told again under it counts once; left out, one is made for this call.
        """
        request = feedback_of(prediction_id, kind, true_class_id, comment, idempotency_key)
        return str(self._call(self._stub.SubmitFeedback, request).feedback_id)

    def list_models(self) -> tuple[ServedModel, ...]:
        models: list[ServedModel] = []
        token = ""
        while True:
            page = self._call(self._stub.ListModels, pb.ListModelsRequest(page_token=token))
            models += map(ServedModel.of, page.models)
            token = page.next_page_token
            if not token:
                return tuple(models)

    def get_model(self, name: str, version: str = "") -> ServedModel:
        """One model with the card of a version: the named one, or the one that most of the traffic gets."""
        return ServedModel.of(self._call(self._stub.GetModel, pb.GetModelRequest(model=name, version=version)))

    def health(self, service: str = "") -> str:
        """SERVING, NOT_SERVING or SERVICE_UNKNOWN. service: empty for the process, "model:NAME", "model:NAME/VERSION".

        Needs no key, and grpcio-health-checking (the `cli` extra). Raises Unreachable or ClientClosed.
        """
        try:
            with self._closing():
                answer = health.check_of(self._channel)(health.request_of(service), timeout=self._options.timeout_s)
        except grpc.RpcError as error:
            if health.is_unknown(error):
                return health.UNKNOWN
            raise self._error(error) from error
        return health.name_of(answer)

    def attempts(self) -> Attempts:
        """Of one stream, which is not begun anew by itself."""
        return Attempts.of_prediction(self._options, "")

    def pause(self, wait_s: float) -> None:
        """What a caller waits before asking again. Raises ClientClosed, at once when the client is closed meanwhile."""
        if self._closed.wait(wait_s):
            raise ClientClosed

    def close(self) -> None:
        """Ends calls under way and waits between attempts: they raise ClientClosed, and so does every later call."""
        self._closed.set()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Any, request: Any, attempts: Attempts | None = None) -> Any:
        attempts = attempts or Attempts(self._options)
        while True:
            try:
                with self._closing():
                    return method(request, metadata=self._options.metadata(), timeout=attempts.left_s)
            except grpc.RpcError as error:
                failed = self._error(error)
                wait_s = attempts.wait_s(failed)
                if wait_s is None:
                    raise failed from error
                self.pause(wait_s)

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """Around what begins a call: grpc answers a channel that is closed, perhaps just now, with a ValueError."""
        self.pause(0)
        try:
            yield
        except ValueError:
            self.pause(0)
            raise

    def _error(self, error: Any) -> AmuletError:
        failed = error_of(error, dict(error.trailing_metadata() or ()), self._options.address)
        cut_off = isinstance(failed, Unreachable) and failed.code == grpc.StatusCode.CANCELLED.name
        return ClientClosed() if cut_off and self._closed.is_set() else failed


def _given(
    requests: Iterable[pb.PredictRequest], failures: list[Exception], watch: StallWatch
) -> Iterator[pb.PredictRequest]:
    """The caller's requests. What they raise is kept: grpc ends the call for it with UNKNOWN and no cause."""
    try:
        for request in requests:
            watch.asked()
            yield request
    except Exception as error:
        failures.append(error)
        raise


def outcome_of(result: pb.StreamResult) -> Prediction | Refused:
    """What a stream said about one request."""
    if result.WhichOneof("outcome") == "response":
        return Prediction.of(result.response)
    error = result.error
    return Refused(
        message=error.message,
        reason=_reason(error.reason),
        code=next((code.name for code in grpc.StatusCode if code.value[0] == error.code), "UNKNOWN"),
        field=error.field,
        retry_after_s=error.retry_after.ToTimedelta().total_seconds() if error.HasField("retry_after") else None,
        request_id=result.request_id,
    )


def _reason(number: words.Reason.ValueType) -> str:
    """The name, or the number where a newer gateway has a reason that this client does not know."""
    try:
        return words.Reason.Name(number)
    except ValueError:
        return str(number)


def feedback_of(
    prediction_id: str, kind: str, true_class_id: str, comment: str, idempotency_key: str
) -> pb.SubmitFeedbackRequest:
    """Always under a key: a random one where none is given. Raises ValueError for a kind that nobody knows."""
    try:
        value = pb.SubmitFeedbackRequest.Kind.Value(f"KIND_{kind.upper()}")
    except ValueError:
        raise ValueError(f"{kind} is not a kind of feedback: confirmed, wrong, not_our_kind, complaint") from None
    return pb.SubmitFeedbackRequest(
        prediction_id=prediction_id,
        kind=value,
        true_class_id=true_class_id,
        comment=comment,
        idempotency_key=idempotency_key or uuid4().hex,
    )

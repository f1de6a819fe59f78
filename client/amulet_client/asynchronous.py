"""The client for asyncio: the same calls, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
from grpc import aio

from amulet_client import health
from amulet_client.answers import Prediction, View, Wishes, request_of
from amulet_client.connection import ConnectionOptions, channel_options
from amulet_client.ending import Given, StreamEnd
from amulet_client.errors import AmuletError, ClientClosed, Refused, error_of
from amulet_client.models import ServedModel
from amulet_client.repeating import Attempts
from amulet_client.stall import StallWatch
from amulet_client.synchronous import feedback_of, outcome_of
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc


class AsyncClient:
    """Calls to one gateway, or to several under one name, on the running loop.

    Close it, or use it as an async context manager.
    """

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
            aio.insecure_channel(address, options=options)
            if credentials is None
            else aio.secure_channel(address, credentials, options=options)
        )
        self._stub: Any = rpc.PredictionServiceStub(self._channel)
        self._closed = asyncio.Event()

    async def predict(self, views: Sequence[View | bytes | Path | str], **wishes: Unpack[Wishes]) -> Prediction:
        """As Client.predict; files are read beside the loop."""
        with self._closing():
            if not all(isinstance(view, View | bytes) for view in views):
                views = await asyncio.to_thread(lambda: [View.of(view) for view in views])
        request = request_of(views, **wishes)
        attempts = Attempts.of_prediction(self._options, request.idempotency_key)
        return Prediction.of(await self._call(self._stub.Predict, request, attempts))

    async def predict_stream(
        self,
        requests: Iterable[pb.PredictRequest] | AsyncIterable[pb.PredictRequest],
        *,
        stall_s: float | None = None,
    ) -> AsyncGenerator[Prediction | Refused, None]:
        """As Client.predict_stream; leaving the iteration cancels what is still under way.

        A plain iterable is walked on the loop: requests that read files belong into an async one (see `bulk_async`).
        """
        watch = StallWatch(stall_s, lambda: call.cancel(), timer=asyncio.get_running_loop().call_later)
        given = Given(requests, watch.asked)
        self._check_open()
        call = self._stub.PredictStream(given.requests(), metadata=self._options.metadata())
        end = StreamEnd(call)
        try:
            async for result in call:
                watch.came()
                yield outcome_of(result)
        except aio.AioRpcError as reported:
            error = await end.error(reported)
            if error is not None:
                raise self._error(error) from error
        except (asyncio.CancelledError, aio.UsageError):
            if given.failure is not None:
                raise given.failure from None
            if watch.stalled and not _is_cancelled():
                raise watch.error(self._options.address) from None
            if self._closed.is_set() and not _is_cancelled():
                raise ClientClosed from None
            raise
        finally:
            watch.end()
            call.cancel()

    async def feedback(
        self, prediction_id: str, *, kind: str, true_class_id: str = "", comment: str = "", idempotency_key: str = ""
    ) -> str:
        """As Client.feedback."""
        request = feedback_of(prediction_id, kind, true_class_id, comment, idempotency_key)
        return str((await self._call(self._stub.SubmitFeedback, request)).feedback_id)

    async def list_models(self) -> tuple[ServedModel, ...]:
        models: list[ServedModel] = []
        token = ""
        while True:
            page = await self._call(self._stub.ListModels, pb.ListModelsRequest(page_token=token))
            models += map(ServedModel.of, page.models)
            token = page.next_page_token
            if not token:
                return tuple(models)

    async def get_model(self, name: str, version: str = "") -> ServedModel:
        """As Client.get_model."""
        return ServedModel.of(await self._call(self._stub.GetModel, pb.GetModelRequest(model=name, version=version)))

    async def health(self, service: str = "") -> str:
        """As Client.health."""
        try:
            with self._closing():
                check = health.check_of(self._channel)
                answer = await check(health.request_of(service), timeout=self._options.timeout_s)
        except aio.AioRpcError as error:
            if health.is_unknown(error):
                return health.UNKNOWN
            raise self._error(error) from error
        return health.name_of(answer)

    def attempts(self) -> Attempts:
        """As Client.attempts."""
        return Attempts.of_prediction(self._options, "")

    async def pause(self, wait_s: float) -> None:
        """As Client.pause."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closed.wait()
        self._check_open()

    async def close(self) -> None:
        """As Client.close."""
        self._closed.set()
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, method: Any, request: Any, attempts: Attempts | None = None) -> Any:
        attempts = attempts or Attempts(self._options)
        while True:
            try:
                with self._closing():
                    return await method(request, metadata=self._options.metadata(), timeout=attempts.left_s)
            except grpc.RpcError as error:
                failed = self._error(error)
                wait_s = attempts.wait_s(failed)
                if wait_s is None:
                    raise failed from error
                await self.pause(wait_s)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ClientClosed

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """Around one call: grpc.aio cancels those under way when their channel is closed, as if their tasks were."""
        self._check_open()
        try:
            yield
        except (asyncio.CancelledError, aio.UsageError):
            if not _is_cancelled():
                self._check_open()
            raise

    def _error(self, error: Any) -> AmuletError:
        return error_of(error, dict(error.trailing_metadata() or ()), self._options.address)


def _is_cancelled() -> bool:
    """Whether the caller's own task is being cancelled, and not only a call of ours."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

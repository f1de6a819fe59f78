"""amulet.v1.PredictionService: convert, call, convert back.

Refusals are raised as they are; the door turns them into statuses.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import structlog
from grpc import aio

from gateway import catalogue, errors, feedback
from gateway.admission.keys import still_valid
from gateway.admission.shedding import Place
from gateway.admission.streams import Streams
from gateway.ask import Ask, ask_of
from gateway.background import Background
from gateway.call import Call, current_call
from gateway.deadline import Deadline
from gateway.door import Admission, Door
from gateway.identity import uuid7
from gateway.messages import Came
from gateway.prediction import Predictor
from gateway.record import feedback_event
from gateway.replays import ON_ITS_WAY, Replays, place_of
from gateway.routing.router import WhyNotReady
from gateway.telemetry import Metrics, facts_of
from protos.amulet.events.v1 import events_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words

_log = structlog.get_logger(__name__)
# Requests of one stream that are worked on at once; the next one is read when one is done.
STREAM_REQUESTS_MAX: Final = 8
_Context = aio.ServicerContext[Any, Any]


class PredictionService:
    def __init__(
        self,
        *,
        gateway_id: str,
        request_s_max: float,
        admission: Admission,
        streams: Streams,
        predictor: Predictor,
        background: Background,
        replays: Replays,
        why_not_ready: WhyNotReady,
        door: Door,
        metrics: Metrics,
    ) -> None:
        self._gateway_id = gateway_id
        self._request_s_max = request_s_max
        self._admission = admission
        self._streams = streams
        self._predictor = predictor
        self._background = background
        self._replays = replays
        self._why_not_ready = why_not_ready
        self._metrics = metrics
        self.door = door

    def stop(self) -> None:
        """Let nobody in any more; streams end once what was begun in them is answered."""
        self.door.close()
        self._streams.close()

    async def Predict(self, request: Came, context: _Context) -> pb.PredictResponse:
        call = current_call.get()
        deadline = Deadline.of_call(context.time_remaining(), request_s_max=self._request_s_max)
        async with self._admission.shedder.place(call.client.client_id, deadline) as place:
            ask = _asked(request)
            del request  # with its copy of the photographs
            return await self._answer(call, ask, place, deadline)

    async def PredictStream(self, requests: AsyncIterator[Came], context: _Context) -> None:
        """Answers as they come, at most STREAM_REQUESTS_MAX at once; a refused request does not end the stream.

        A revoked key ends it; and once what was begun is answered, a shutdown or another client that has fewer do.
        """
        call = current_call.get()
        places = asyncio.Semaphore(STREAM_REQUESTS_MAX)
        begun: set[asyncio.Task[None]] = set()
        writing = asyncio.Lock()
        ending = False

        async def one(came: list[Came]) -> None:
            try:
                result = await self._stream_result(call, came, context)
                async with writing:
                    await context.write(result)
            finally:
                places.release()

        async def what_was_begun() -> None:
            nonlocal ending
            ending = True
            if begun:
                await asyncio.wait(begun)

        async with (
            self._streams.place(call.client.client_id, last=what_was_begun),
            asyncio.TaskGroup() as answering,
        ):
            await places.acquire()
            async for request in requests:
                if ending:  # not begun: its caller asks again
                    await asyncio.Event().wait()
                call.key = still_valid(call.owner, self._admission.policy.current.keys)
                came = [request]
                del request  # it is held no longer than its answer needs it: the next one may come in days
                task = answering.create_task(one(came))
                begun.add(task)
                task.add_done_callback(begun.discard)
                await places.acquire()

    async def SubmitFeedback(self, request: pb.SubmitFeedbackRequest, context: _Context) -> pb.SubmitFeedbackResponse:
        call = current_call.get()
        feedback.check(request)
        deadline = Deadline.of_call(context.time_remaining(), request_s_max=self._request_s_max)
        async with self._admission.feedback.place(call.client.client_id, deadline) as place:
            return pb.SubmitFeedbackResponse(feedback_id=await self._feedback(call, request, place, deadline))

    async def _feedback(self, call: Call, request: pb.SubmitFeedbackRequest, place: Place, deadline: Deadline) -> str:
        """Its id, once it is durable. Under a key the work outlives the caller, and keeps the place until it ends."""
        key = f"feedback:{request.idempotency_key}"
        digest = hashlib.sha256(feedback.digest_content(request)).digest()

        async def work() -> bytes:
            feedback_id = uuid7()
            replay = events_pb2.Replay(
                place=place_of(call.client.client_id, key), request_digest=digest, answer=feedback_id.encode()
            )
            event = feedback_event(
                request,
                feedback_id=feedback_id,
                client=call.client,
                gateway_id=self._gateway_id,
                traceparent=call.trace.traceparent,
                replay=replay if request.idempotency_key else None,
            )
            if request.idempotency_key:
                await self._replays.about_to_record(call.client.client_id, key, digest)
            await self._predictor.make_durable(event)
            return feedback_id.encode()

        if not request.idempotency_key:
            async with deadline.while_("making the feedback durable"):
                return (await work()).decode()
        once = self._replays.once(call.client.client_id, key, digest, work, deadline=deadline)
        async with deadline.while_(ON_ITS_WAY):
            content, _ = await asyncio.shield(place.until(self._background.start(once)))
        return content.decode()

    async def ListModels(self, request: pb.ListModelsRequest, context: _Context) -> pb.ListModelsResponse:
        return catalogue.page(self._admission.policy.current, current_call.get().client, request, self._why_not_ready)

    async def GetModel(self, request: pb.GetModelRequest, context: _Context) -> pb.Model:
        return catalogue.model(self._admission.policy.current, current_call.get().client, request, self._why_not_ready)

    async def _stream_result(self, stream: Call, came: list[Came], context: _Context) -> pb.StreamResult:
        """One request of a stream: what a unary call would have answered, errors included.

        came: the request, which is taken out, so that no frame holds it and the photographs in it while it is answered.
        """
        request_id = came[0].message.request_id
        call = Call("PredictStream", stream.language, stream.key, trace=stream.trace.below("request"))
        try:
            deadline = Deadline.of_call(context.time_remaining(), request_s_max=self._request_s_max)
            async with self._admission.shedder.place(call.client.client_id, deadline) as place:
                await self._admission.count(call, "predictions")
                response = await self._answer(call, _asked(came.pop()), place, deadline)
        except Exception as error:
            came.clear()
            status = self.door.status_of(call, error)
            failure = pb.StreamError(code=status.code, message=status.message, reason=words.REASON_INTERNAL)
            if isinstance(error, errors.Refusal):
                failure.reason, failure.field = error.reason, error.field
                after_s = errors.retry_after_s(error)
                if after_s is not None:
                    failure.retry_after.CopyFrom(errors.duration_of(after_s))
            held_s = self._admission.hold_s(call, error, context.peer())
            self.door.tell(call, errors.grpc_code(status.code), reason=failure.reason)
            await self._admission.uncount(call, error)
            if held_s:
                await asyncio.sleep(held_s)  # and with it the place among the stream's requests
            return pb.StreamResult(request_id=request_id, error=failure)
        self.door.tell(call, grpc.StatusCode.OK)
        return pb.StreamResult(request_id=request_id, response=response)

    async def _answer(self, call: Call, ask: Ask, place: Place, deadline: Deadline) -> pb.PredictResponse:
        response = await self._predictor.predict(
            ask, call.client, place=place, deadline=deadline, language=call.language, trace=call.trace
        )
        call.facts.update(facts_of(response))
        self._metrics.answered(response)
        return response


def _asked(came: Came) -> Ask:
    return ask_of(came.message, came.cut)

"""What stands where TorchServe would be: its inference port and its token API, on free ports, told what to answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from protos.amulet.graph.v1 import graph_pb2
from protos.torchserve import inference_pb2, inference_pb2_grpc

NAME, VERSION = "tiny", "v20260101_tiny_1.000"
INTERNAL_SERVER_ERROR = "\norg.pytorch.serve.http.InternalServerException"


@dataclass
class Trouble(Exception):
    """Answer with this status instead."""

    code: grpc.StatusCode
    details: str


Answer = Callable[[graph_pb2.GraphRequest], Awaitable[graph_pb2.GraphAnswer]]


def answer_of(
    request: graph_pb2.GraphRequest, *, probabilities: tuple[float, ...] = (0.9, 0.1), score: float = 1.0
) -> graph_pb2.GraphAnswer:
    """A right answer, the same for every image."""
    output = graph_pb2.Output(logits=[2.0, -2.0], probabilities=probabilities, scores={"mahalanobis": score})
    if request.heat_map:
        output.heat_map_rows, output.heat_map_columns = 2, 3
        output.heat_map.extend(range(6))
    return graph_pb2.GraphAnswer(
        model=NAME,
        version=VERSION,
        outputs=[output] * len(request.images),
        graph_ms=1.5,
        batch_images=len(request.images),
    )


async def right(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
    return answer_of(request)


@dataclass
class FakeTorchServe(inference_pb2_grpc.InferenceAPIsServiceServicer):
    """Checks tokens as TorchServe does; `answer` is replaced by the tests."""

    key_file: Path
    answer: Answer = right
    target: str = ""
    management_url: str = ""
    calls: int = 0
    renewals: int = 0
    token_api_broken: bool = False
    tokens_live_s: float = 3600.0
    requests: list[graph_pb2.GraphRequest] = field(default_factory=list)

    def write_keys(self, inference: str, *, api: str = "api-key") -> None:
        ends_at = datetime.now(UTC) + timedelta(seconds=self.tokens_live_s)
        self.key_file.write_text(
            json.dumps(
                {
                    "management": {"key": "management-key", "expiration time": ends_at.isoformat()},
                    "inference": {"key": inference, "expiration time": ends_at.isoformat()},
                    "API": {"key": api},
                }
            )
        )
        self.token = inference

    async def Predictions(  # noqa: N802 - TorchServe's name
        self,
        request: inference_pb2.PredictionsRequest,
        context: aio.ServicerContext[inference_pb2.PredictionsRequest, inference_pb2.PredictionResponse],
    ) -> inference_pb2.PredictionResponse:
        self.calls += 1
        metadata = dict(context.invocation_metadata() or ())
        if metadata.get("authorization") != f"Bearer {self.token}":
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Token Authorization failed.")
        graph_request = graph_pb2.GraphRequest.FromString(request.input["request"])
        self.requests.append(graph_request)
        try:
            answer = await self.answer(graph_request)
        except Trouble as trouble:
            await context.abort(trouble.code, trouble.details)
        return inference_pb2.PredictionResponse(prediction=answer.SerializeToString())

    async def Ping(  # noqa: N802 - TorchServe's name
        self, request: Empty, context: aio.ServicerContext[Empty, inference_pb2.TorchServeHealthResponse]
    ) -> inference_pb2.TorchServeHealthResponse:
        return inference_pb2.TorchServeHealthResponse(health='{"status": "Healthy"}')

    async def token_api(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        allowed = "GET /token?type=inference " in request and "authorization: bearer api-key" in request.lower()
        if allowed and not self.token_api_broken:
            self.renewals += 1
            self.write_keys(f"token-{self.renewals}")
        status = "200 OK" if allowed and not self.token_api_broken else "400 Bad Request"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def fake_torchserve(folder: Path) -> AsyncIterator[FakeTorchServe]:
    fake = FakeTorchServe(folder / "key_file.json")
    fake.write_keys("token-0")
    server = aio.server()
    inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(fake, server)
    fake.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    http = await asyncio.start_server(fake.token_api, "127.0.0.1", 0)
    fake.management_url = f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        http.close()
        await server.stop(None)

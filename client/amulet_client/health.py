"""The question of `grpc.health.v1`, for both clients. Needs grpcio-health-checking, the `cli` extra."""

from __future__ import annotations

from typing import Any, Final

import grpc

UNKNOWN: Final = "SERVICE_UNKNOWN"


def check_of(channel: Any) -> Any:
    """The call, of a channel of either kind."""
    from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # ships without stubs

    # Not by the generated stub: it registers its methods with the channel, and a closed one dies of that (SIGSEGV).
    return channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )


def request_of(service: str) -> Any:
    from grpc_health.v1 import health_pb2

    return health_pb2.HealthCheckRequest(service=service)


def name_of(answer: Any) -> str:
    """SERVING or NOT_SERVING."""
    from grpc_health.v1 import health_pb2

    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def is_unknown(error: Any) -> bool:
    """Whether the gateway knows no such service, which is an answer."""
    return bool(error.code() is grpc.StatusCode.NOT_FOUND)

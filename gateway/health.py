"""What health checks and operators are told: the truth, and where it is bad, why.

    ""                          this process admits calls: it has a policy, a journal that
                                takes records, is not shutting down, and no other gateway
                                with its id was first
    amulet.v1.PredictionService the same, and every model in production has a version that
                                is ready
    model:NAME                  a version that the weights may give is ready
    model:NAME/VERSION          this version gave the right answer to a golden photograph
                                through the real worker a moment ago

`/readyz` says what PredictionService says, with the reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # ships without stubs

from gateway.journal.journal import Journal
from gateway.policy import PolicyKeeper
from gateway.routing.router import WhyNotReady
from gateway.snapshot import ServedModel

SERVICE: Final = "amulet.v1.PredictionService"
_LOOK_EVERY_S: Final = 0.5
_SERVING: Final[int] = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final[int] = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final[int] = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_Context = aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]


class Health:
    """Gathers what is wrong. Run it as one task; `problems` may be asked at any time on the loop."""

    def __init__(
        self,
        policy: PolicyKeeper,
        journal: Journal,
        why_not_ready: WhyNotReady,
        namesake: Callable[[], str | None],
    ) -> None:
        """namesake: a sentence where another gateway with this one's id was first."""
        self._policy, self._journal, self._why_not_ready, self._namesake = policy, journal, why_not_ready, namesake
        self._stopping = False
        self.servicer = HealthServicer(self.update)

    def process_problems(self) -> dict[str, str]:
        """What keeps this process from admitting calls: subject -> a sentence. Empty: nothing."""
        problems = {}
        namesake = self._namesake()
        if namesake is not None:
            problems["gateway"] = namesake
        if self._stopping:
            problems["gateway"] = "this gateway is shutting down"
        if not self._policy.known:
            problems["policy"] = self._policy.trouble or "no policy was heard from the console yet"
        journal = self._journal.health()
        if not journal.admitting:
            problems["journal"] = journal.sentence
        return problems

    def problems(self) -> dict[str, str]:
        """The same, and every model in production that nothing can answer for."""
        problems = self.process_problems()
        for model in self._models().values():
            why_not = self._why_not(model)
            if model.routes and why_not is not None:
                problems[f"model:{model.name}"] = why_not
        return problems

    def ready(self, model: str, version: str = "") -> bool:
        """Whether this model, or this version of it, can answer now. False for one that nobody knows."""
        known = self._models().get(model)
        if known is None:
            return False
        if version:
            return version in known.versions and self._why_not_ready(known.versions[version]) is None
        return self._why_not(known) is None

    def remarks(self) -> dict[str, str]:
        """What is not right and does not keep anyone from being answered."""
        remarks = {}
        if self._policy.known and self._policy.trouble is not None:
            remarks["policy"] = f"{self._policy.trouble}; the last good one is in force"
        return remarks

    def versions(self) -> list[dict[str, object]]:
        """Every version that the policy names, and whether it is ready: name, version, alias, ready."""
        return [
            {
                "name": model.name,
                "version": version.version,
                "alias": version.alias,
                "ready": self._why_not_ready(version) is None,
            }
            for model in self._models().values()
            for version in model.versions.values()
        ]

    def update(self) -> None:
        """Tell the health service how things stand; call it when something has changed."""
        process_ok = not self.process_problems()
        statuses = {"": process_ok, SERVICE: not self.problems()}
        for model in self._models().values():
            statuses[f"model:{model.name}"] = process_ok and self._why_not(model) is None
            for version in model.versions.values():
                ready = self._why_not_ready(version) is None
                statuses[f"model:{model.name}/{version.version}"] = process_ok and ready
        self.servicer.set({name: _SERVING if good else _NOT_SERVING for name, good in statuses.items()})

    async def run(self) -> None:
        """Look until cancelled: staleness and a full disk announce themselves to nobody."""
        while True:
            self.update()
            await asyncio.sleep(_LOOK_EVERY_S)

    def stop(self) -> None:
        """From now on nothing is serving; whoever watches is told so and let go."""
        self._stopping = True
        self.update()
        self.servicer.close()

    def _models(self) -> Mapping[str, ServedModel]:
        return self._policy.current.models if self._policy.known else {}

    def _why_not(self, model: ServedModel) -> str | None:
        if not model.routes:
            return "no version is in production"
        reasons = [self._why_not_ready(route.version) for route in model.routes]
        return None if None in reasons else reasons[0]


class HealthServicer:
    """grpc.health.v1. A watcher that does not read holds up nobody but itself."""

    def __init__(self, look: Callable[[], None]) -> None:
        """look: brings the statuses up to date, so that a check agrees with `/readyz` at any moment."""
        self._look = look
        self._statuses: Mapping[str, int] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """End the watches: an open one would hold up the server's stop."""
        self._closed = True
        self._changed.set()

    def set(self, statuses: Mapping[str, int]) -> None:
        if statuses != self._statuses:
            self._statuses = statuses
            self._changed.set()
            self._changed = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: _Context) -> health_pb2.HealthCheckResponse:
        self._look()
        if request.service not in self._statuses:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return health_pb2.HealthCheckResponse(status=self._statuses[request.service])

    async def List(  # noqa: N802 - the name is grpc.health.v1's
        self, request: health_pb2.HealthListRequest, context: _Context
    ) -> health_pb2.HealthListResponse:
        self._look()
        response = health_pb2.HealthListResponse()
        for name, status in self._statuses.items():
            response.statuses[name].status = status
        return response

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:
        told: int | None = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, _UNKNOWN)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            if self._closed:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "shutting down")
            await changed.wait()

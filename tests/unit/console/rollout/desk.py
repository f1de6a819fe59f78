"""An approver at the desk, with approved versions and a TorchServe: what tests of routes begin with."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.utils.timezone import now

from console.registry.models import ModelVersion, State
from console.rollout import queries, services
from console.rollout.models import Mode, Route, Rule
from console.site.roles import Role
from console.staff.models import User
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import prediction_pb2
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import prediction_event
from tests.unit.console.people import member
from tests.unit.console.versions import TorchServeInMemory, a_version


class Desk:
    """One approver at the desk, with approved versions and a TorchServe."""

    def __init__(self) -> None:
        self.malee = member(Role.MODEL_ENGINEER)
        self.somchai = member(Role.APPROVER)
        self.backend = TorchServeInMemory()
        self.first, self.second, self.third = (self.approved(number) for number in (1, 2, 3))

    def approved(self, number: int, model: str = "tiny") -> ModelVersion:
        return a_version(self.malee, state=State.APPROVED, number=number, model=model, approver=self.somchai)

    def roll_out(
        self,
        version: ModelVersion,
        mode: Mode = Mode.PRODUCTION,
        ratio: float | None = 1.0,
        actor: User | None = None,
        unguarded: Collection[Rule] = (),
    ) -> Route:
        return services.roll_out(
            actor=actor or self.somchai,
            version_id=version.pk,
            mode=mode,
            weight_ratio=ratio,
            reason="better",
            unguarded=unguarded,
            backend=lambda: self.backend,
        )

    def roll_back(self) -> Route:
        return services.roll_back(actor=self.somchai, model="tiny", reason="worse")

    def shares(self) -> dict[str, float]:
        served = queries.served_model("tiny")
        return {route.version.version: served.weight_ratio(route) for route in served.routes}


def desk_in_production() -> Desk:
    """Its first version has been in production for an hour."""
    made = Desk()
    made.roll_out(made.first)
    Route.objects.update(started_at=now() - timedelta(hours=1))
    return made


def answers(version: ModelVersion, n: int, **fields: Any) -> list[pb.Event]:
    return [prediction_event(model="tiny", version=version.version, **fields) for _ in range(n)]


def shadow(version: ModelVersion, top: str, verdict: Any = words.VERDICT_IN_DOMAIN, ms: float = 22.0) -> Any:
    return pb.ShadowAnswer(
        version=version.version,
        verdict=verdict,
        candidates=[prediction_pb2.Candidate(class_id=top, probability=0.8)],
        inference_ms=ms,
    )

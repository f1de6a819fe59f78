"""An approver at the desk, with approved versions and a TorchServe: what tests of routes begin with."""

from __future__ import annotations

from collections.abc import Collection

from console.registry.models import ModelVersion, State
from console.rollout import queries, services
from console.rollout.models import Mode, Route, Rule
from console.site.roles import Role
from console.staff.models import User
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

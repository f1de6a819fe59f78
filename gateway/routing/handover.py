"""New routes take over when they can be followed: until then the old ones answer.

TorchServe has the new version loaded before the console routes to it, and keeps the old one while a
rollback could lead there. What is missing for a moment is this gateway's own proof, a golden
photograph answered rightly; a model must not be out of service for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from gateway.routing.router import WhyNotReady
from gateway.snapshot import ServedModel, Snapshot

# Longer than a version that works needs. One that does not is then refused, as the console wants it: whoever
# rolls a bad version back must not be served by it for ever. The console keeps what lost its route loaded for as long.
HANDOVER_S_MAX: Final = 10.0


class Handovers:
    """How long the routes of each model may still answer: from when they were to leave, whatever comes meanwhile
    (decision 0239)."""

    def __init__(self, why_not_ready: WhyNotReady, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._why_not_ready = why_not_ready
        self._clock = clock
        self._ends_s: dict[str, float] = {}  # model whose routes are put off -> until when

    def follow(self, wanted: Snapshot, current: Snapshot | None) -> Snapshot:
        """`wanted`, but with the current routes of every model that can follow these and not yet the wanted ones.

        `wanted` itself where nothing is put off.
        """
        now_s = self._clock()
        old = current.models if current is not None else {}
        ends_s = {
            name: self._ends_s.get(name, now_s + HANDOVER_S_MAX)
            for name, model in wanted.models.items()
            if name in old and model.routes and not self._answers(model) and self._answers(old[name])
        }
        self._ends_s = {name: end_s for name, end_s in ends_s.items() if now_s < end_s}
        put_off = {name: _with_routes_of(old[name], wanted.models[name]) for name in self._ends_s}
        return replace(wanted, models=MappingProxyType({**wanted.models, **put_off})) if put_off else wanted

    def _answers(self, model: ServedModel) -> bool:
        return any(self._why_not_ready(route.version) is None for route in model.routes)


def _with_routes_of(old: ServedModel, new: ServedModel) -> ServedModel:
    """Both sets of versions, so that the new ones are proved meanwhile."""
    leaving = {route.version.version: route.version for route in old.routes}
    return replace(new, versions=MappingProxyType({**leaving, **new.versions}), routes=old.routes)

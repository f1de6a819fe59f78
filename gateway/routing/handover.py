"""New routes take over when they can be followed: until then the old ones answer.

TorchServe has the new version loaded before the console routes to it, and keeps the old one while a
rollback could lead there. What is missing for a moment is this gateway's own proof, a golden
photograph answered rightly; a model must not be out of service for it.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Final

from gateway.routing.router import WhyNotReady
from gateway.snapshot import ServedModel, Snapshot

# Longer than a version that works needs. One that does not is then refused, as the console wants it: whoever
# rolls a bad version back must not be served by it for ever.
HANDOVER_S_MAX: Final = 10.0


def hand_over(wanted: Snapshot, current: Snapshot | None, why_not_ready: WhyNotReady) -> Snapshot:
    """`wanted`, but with the current routes of every model that can follow these and not yet the wanted ones.

    `wanted` itself where nothing is put off.
    """
    put_off = {
        name: _with_routes_of(current.models[name], model)
        for name, model in wanted.models.items()
        if current is not None
        and name in current.models
        and model.routes
        and not _answers(model, why_not_ready)
        and _answers(current.models[name], why_not_ready)
    }
    return replace(wanted, models=MappingProxyType({**wanted.models, **put_off})) if put_off else wanted


def _answers(model: ServedModel, why_not_ready: WhyNotReady) -> bool:
    return any(why_not_ready(route.version) is None for route in model.routes)


def _with_routes_of(old: ServedModel, new: ServedModel) -> ServedModel:
    """Both sets of versions, so that the new ones are proved meanwhile."""
    leaving = {route.version.version: route.version for route in old.routes}
    return replace(new, versions=MappingProxyType({**leaving, **new.versions}), routes=old.routes)

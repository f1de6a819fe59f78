"""From what a request names to the version that answers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway import errors
from gateway.ask import check_text
from gateway.routing.weights import choose
from gateway.snapshot import Client, ServedModel, ServedVersion, Snapshot

WhyNotReady = Callable[[ServedVersion], str | None]  # a sentence; None: ready


@dataclass(frozen=True, slots=True)
class Destination:
    version: ServedVersion
    shadows: tuple[ServedVersion, ...]  # other versions that see the same photographs
    drawn: bool  # one that the weights may give: not named, and not without a route because it began a batch


def model_for(snapshot: Snapshot, client: Client, name: str) -> ServedModel:
    """The model that a client means. Raises FieldInvalid, ModelNotFound or ModelNotPermitted."""
    if name:
        check_text("model", name)  # it is told back
        if not client.may_use(name):
            raise errors.ModelNotPermitted(f"this key may not use the model {name!r}", field="model")
        if name not in snapshot.models:
            raise errors.ModelNotFound(f"there is no model {name!r}", field="model", wanted="ListModels names them")
        return snapshot.models[name]
    usable = [model for model in snapshot.models.values() if client.may_use(model.name)]
    if not usable:
        raise errors.ModelNotFound("there is no model that this key may use", field="model")
    if len(usable) > 1:
        names = ", ".join(sorted(model.name for model in usable))
        raise errors.FieldInvalid("several models may be meant", field="model", wanted=f"name one of {names}")
    return usable[0]


def destination(
    model: ServedModel, *, version: str, sticky_key: str, why_not_ready: WhyNotReady, rather: Sequence[str] = ()
) -> Destination:
    """The version that answers: the one named, or the one that the weights give among those that are ready.

    A version that is not ready leaves its share to the others. rather: versions of which the first that is
    ready goes before the weights, with a route or without. Raises VersionNotFound or ModelNotReady.
    """
    if version:
        if version not in model.versions:
            raise errors.VersionNotFound(
                f"the model {model.name!r} has no version {version!r}", field="version", wanted="GetModel names them"
            )
        named = model.versions[version]
        why_not = why_not_ready(named)
        if why_not is not None:
            raise errors.ModelNotReady(f"version {version} of {model.name!r} is not ready: {why_not}")
        return Destination(named, (), drawn=False)
    if not model.routes:
        raise errors.ModelNotReady(f"no version of {model.name!r} is in production")
    chosen = _first_ready(model, rather, why_not_ready) if rather else None
    if chosen is None:
        chosen = _drawn(model, sticky_key, why_not_ready)
    shadows = tuple(
        shadow for shadow in model.shadows if shadow.version != chosen.version and why_not_ready(shadow) is None
    )
    return Destination(chosen, shadows, drawn=any(route.version.version == chosen.version for route in model.routes))


def _first_ready(model: ServedModel, names: Sequence[str], why_not_ready: WhyNotReady) -> ServedVersion | None:
    known = (model.versions[name] for name in names if name in model.versions)
    return next((version for version in known if why_not_ready(version) is None), None)


def _drawn(model: ServedModel, sticky_key: str, why_not_ready: WhyNotReady) -> ServedVersion:
    reasons = [why_not_ready(route.version) for route in model.routes]
    ready = [route for route, why_not in zip(model.routes, reasons, strict=True) if why_not is None]
    if not ready:
        raise errors.ModelNotReady(f"no version of {model.name!r} is ready: {reasons[0]}")
    return choose(ready, sticky_key).version

"""The models as their callers see them: what is served, by which weights, and what each version knows."""

from __future__ import annotations

from typing import Final

from gateway import errors
from gateway.ask import check_text
from gateway.routing.router import WhyNotReady, model_for
from gateway.snapshot import Client, ServedModel, Snapshot
from protos.amulet.v1 import prediction_pb2 as pb

PAGE_DEFAULT: Final = 20
PAGE_MAX: Final = 100


def page(
    snapshot: Snapshot, client: Client, request: pb.ListModelsRequest, why_not_ready: WhyNotReady
) -> pb.ListModelsResponse:
    """The models that the client may use, by name. The token is the last name of the page before.

    Raises FieldInvalid for a page size out of range.
    """
    if not 0 <= request.page_size <= PAGE_MAX:
        raise errors.FieldInvalid(
            f"page_size is {request.page_size}", field="page_size", wanted=f"0 to {PAGE_MAX} are allowed"
        )
    size = request.page_size or PAGE_DEFAULT
    names = sorted(name for name in snapshot.models if client.may_use(name) and name > request.page_token)
    return pb.ListModelsResponse(
        models=[_model_of(snapshot.models[name], "", why_not_ready) for name in names[:size]],
        next_page_token=names[size - 1] if len(names) > size else "",
    )


def model(snapshot: Snapshot, client: Client, request: pb.GetModelRequest, why_not_ready: WhyNotReady) -> pb.Model:
    """Raises ModelNotFound, ModelNotPermitted, VersionNotFound, or FieldInvalid where several may be meant."""
    served = model_for(snapshot, client, request.model)
    check_text("version", request.version)
    if request.version and request.version not in served.versions:
        raise errors.VersionNotFound(
            f"the model {served.name!r} has no version {request.version!r}",
            field="version",
            wanted="GetModel without a version lists them",
        )
    return _model_of(served, request.version, why_not_ready)


def _model_of(served: ServedModel, version: str, why_not_ready: WhyNotReady) -> pb.Model:
    weights = {route.version.version: route.weight_ratio for route in served.routes}
    shadows = {shadow.version for shadow in served.shadows}
    if not version and weights:
        version = max(weights, key=lambda name: weights[name])
    answer = pb.Model(
        name=served.name,
        version=version,
        ready=bool(version) and why_not_ready(served.versions[version]) is None,
        versions=[
            pb.ModelVersion(
                version=known.version,
                alias=known.alias,
                weight_ratio=weights.get(known.version, 0.0),
                shadow=known.version in shadows,
                ready=why_not_ready(known) is None,
            )
            for known in served.versions.values()
        ],
    )
    if version:
        answer.card.CopyFrom(served.versions[version].card)
    return answer

"""What the gateway asks for: `GET /internal/policy`."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.views.decorators.http import require_GET

from console.control import control_token_required
from console.pulse.models import NAME_MAX, Service
from console.pulse.services import beat
from console.rollout.policy import snapshots

CONTENT_TYPE: Final = "application/x-protobuf"


@require_GET
@control_token_required
def policy(request: HttpRequest) -> HttpResponse:
    """The policy snapshot; 304 for a gateway that has it already. `?gateway=`: who asks, by the name in its events."""
    beat(Service.GATEWAY, name=request.GET.get("gateway", "")[:NAME_MAX])
    snapshot = snapshots().newest()
    headers = {"ETag": snapshot.etag, "Cache-Control": "no-store"}
    if request.headers.get("If-None-Match") == snapshot.etag:
        return HttpResponseNotModified(headers=headers)
    return HttpResponse(snapshot.body, content_type=CONTENT_TYPE, headers=headers)

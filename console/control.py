"""The door that only the gateway has the key to: `/internal/…` with the control token."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import wraps
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

_View = Callable[[HttpRequest], HttpResponse]
_SCHEME: Final = "Bearer "


def control_token_required(view: _View) -> _View:
    """Answer 401 unless the request shows the control token. A new token needs no restart."""

    @csrf_exempt  # no cookie opens this door
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        shown = request.headers.get("Authorization", "")
        token = settings.AMULET.control_token()
        if not shown.startswith(_SCHEME) or not hmac.compare_digest(shown.removeprefix(_SCHEME).encode(), token):
            refusal = {"reason": "control_token_wrong", "detail": "Authorization must be: Bearer and the control token"}
            return JsonResponse(refusal, status=401, headers={"WWW-Authenticate": "Bearer"})
        return view(request)

    return guarded

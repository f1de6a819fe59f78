"""Where calls of the REST interface meet their keys: after it is known who calls, before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException

from console.errors import Refusal
from console.idempotency import services
from console.staff.models import User

HEADER: Final = "Idempotency-Key"


class IdempotencyKeys:
    """Middleware for POST with the header; everything else passes. Must be the last in the list."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        answer = self._get_response(request)
        call = getattr(request, "idempotent_call", None)
        if call is None:
            return answer
        # What was refused or failed did nothing and may be tried again; what is streamed is not kept.
        if isinstance(answer, HttpResponse) and 200 <= answer.status_code < 300:
            kept = services.Answer(answer.status_code, answer.headers.get("Content-Type", ""), answer.content)
            services.keep(call, key=request.headers[HEADER], answer=kept)
        else:
            services.release(call)
        return answer

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponseBase | None:
        key = request.headers.get(HEADER)
        if request.method != "POST" or key is None or not hasattr(view, "cls"):
            return None
        rest = view.cls(**view.initkwargs)
        rest.setup(request, *args, **kwargs)
        call = rest.initialize_request(request, *args, **kwargs)
        rest.headers = rest.default_response_headers
        try:
            if not isinstance(call.user, User):
                return None
        except APIException:
            return None  # the view refuses it in its own words
        try:
            found = services.begin(caller=call.user, key=key, path=request.get_full_path(), body=request.body)
        except Refusal as refusal:
            refused: HttpResponse = rest.finalize_response(call, rest.handle_exception(refusal))
            return refused
        if isinstance(found, services.Answer):
            return HttpResponse(
                found.body,
                status=found.status,
                content_type=found.content_type or None,
                headers={"Idempotency-Replayed": "true"},
            )
        request.idempotent_call = found  # type: ignore[attr-defined]  # from here to the way back
        return None

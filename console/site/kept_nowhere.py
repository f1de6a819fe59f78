"""What REST answers is kept by no browser and no proxy: a session reads it too, and a person leaves."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class KeptNowhere:
    """Middleware: an answer below /api/ that does not say itself how it may be kept may not be."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if request.path.startswith("/api/"):
            response.headers.setdefault("Cache-Control", "no-store, private")
        return response

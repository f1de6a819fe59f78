"""A call that takes long ends with the access of whoever makes it: what is read, whichever view gives it, and what is
sent in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from django.contrib.auth import get_user
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django_otp.middleware import OTPMiddleware

from console.errors import NotAllowed
from console.staff import queries
from console.staff.models import ApiToken

LOOK_EVERY_S: Final = 2.0  # below the five seconds in which access ends


class LongAnswers:
    """Middleware behind those of sessions and of the second factor. No view that streams can forget it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        let_in_s = time.monotonic()
        answer = self._get_response(request)
        if isinstance(answer, StreamingHttpResponse) and request.user.is_authenticated:
            # A file, too, goes through here chunk by chunk: the server would send it all by itself.
            chunks: Iterable[bytes] = answer.streaming_content  # type: ignore[assignment]  # nothing here is asynchronous
            answer.streaming_content = while_let_in(request, chunks, since_s=let_in_s)
        return answer


def while_let_in(request: HttpRequest, chunks: Iterable[bytes], *, since_s: float | None = None) -> Iterator[bytes]:
    """The chunks, until the access ends that the request was let in with. Raises NotAllowed then: an answer breaks off
    in its middle, and nobody takes half of one for the whole.

    since_s: when it was let in, on the monotonic clock. None: now.
    """
    looked_s = time.monotonic() if since_s is None else since_s
    for chunk in chunks:
        if time.monotonic() - looked_s >= LOOK_EVERY_S:
            if not would_be_let_in(request):
                raise NotAllowed(_("Your access has changed meanwhile: sign in again."))
            looked_s = time.monotonic()
        yield chunk


def would_be_let_in(request: HttpRequest) -> bool:
    """Whether who was let in with this request's token or session would be let in with it now."""
    token = getattr(request, "auth", None)  # what Django REST framework was shown, if it was asked
    if isinstance(token, ApiToken):
        return queries.in_force().filter(pk=token.pk).exists()
    again = HttpRequest()
    again.session = type(request.session)(request.session.session_key)
    again.user = get_user(again)
    OTPMiddleware(lambda _request: None)(again)
    return again.user.pk == request.user.pk and bool(again.user.is_verified())  # type: ignore[union-attr]  # it puts it there

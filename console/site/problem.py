"""Where refusals become HTTP: RFC 9457 problem documents, with our reason and the wrong field."""

from __future__ import annotations

import secrets
import sqlite3
import sys
from collections.abc import Callable
from typing import Any, Final

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseForbidden, JsonResponse
from django.template import loader
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from console.errors import Conflict, Invalid, NotAllowed, NotAvailable, NotFound, Outdated, Refusal, TooLarge
from console.site import logs

STATUS_OF: Final[dict[type[Refusal], int]] = {
    NotAllowed: 403,
    NotFound: 404,
    Invalid: 400,
    Conflict: 409,
    Outdated: 412,
    TooLarge: 413,
    NotAvailable: 503,
}
# In English for programs; a page says them in its reader's language.
TITLE_OF: Final[dict[int, str]] = {
    400: gettext_noop("The request is not of the form that it must have"),
    401: gettext_noop("Who is calling is not known"),
    403: gettext_noop("Not allowed"),
    404: gettext_noop("Not found"),
    405: gettext_noop("This method is not offered here"),
    406: gettext_noop("This form of answer is not offered"),
    409: gettext_noop("Not in the present state"),
    412: gettext_noop("Not as it was seen any more"),
    413: gettext_noop("Too large"),
    415: gettext_noop("This content type is not read here"),
    429: gettext_noop("Too many calls"),
    503: gettext_noop("Not available now"),
}
CONTENT_TYPE: Final = "application/problem+json"
FAULT_ID_BYTES: Final = 6
AWAY_S: Final = 5  # after which a database that was started anew may answer
_AWAY: Final = (OperationalError, InterfaceError)


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an exception of a view; None for our own faults, which Django logs and answers with 500."""
    del context
    if isinstance(error, Refusal):
        set_rollback()
        return _problem(status_of(error), error.message, error.reason, error.field)
    if isinstance(error, ValidationError):
        set_rollback()
        return _problem(400, " ".join(error.messages), "invalid", next(iter(getattr(error, "error_dict", {})), ""))
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if not isinstance(error, exceptions.APIException):
        return None
    set_rollback()
    field, detail = _first(error.detail)
    response = _problem(error.status_code, detail, _reason(error), field)
    if header := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = header
    if wait := getattr(error, "wait", None):
        response["Retry-After"] = str(int(wait))
    return response


def status_of(error: Refusal) -> int:
    return next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)


def _reason(error: exceptions.APIException) -> str:
    codes: Any = error.get_codes()
    while isinstance(codes, dict | list):
        codes = next(iter(codes.values() if isinstance(codes, dict) else codes), "invalid")
    return str(codes)


def _first(detail: Any, field: str = "") -> tuple[str, str]:
    """The first wrong field of DRF's nested errors and what is said about it."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            inside = "" if name == "non_field_errors" else f"{field}.{name}".lstrip(".")
            return _first(inner, inside)
    if isinstance(detail, list):
        return _first(next((inner for inner in detail if inner), ""), field)
    return field, str(detail)


def _problem(status: int, detail: str, reason: str, field: str) -> Response:
    return Response(_document(status, detail, reason, field), status=status, content_type=CONTENT_TYPE)


def _document(status: int, detail: str, reason: str, field: str) -> dict[str, Any]:
    return {
        "type": f"urn:amulet:problem:{reason}",
        "title": TITLE_OF.get(status, "Refused"),
        "status": status,
        "detail": detail,
        "reason": reason,
        "field": field,
    }


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400: what is refused before a view is found, or while its body is read."""
    if not _is_rest(request):
        return defaults.bad_request(request, exception)
    return _refused(400, "This request cannot be read.", "invalid")


def no_such_address(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    if not _is_rest(request):
        return defaults.page_not_found(request, exception)
    return _refused(404, "There is no such address.", "not_found")


def form_over(request: HttpRequest, reason: str = "") -> HttpResponse:
    """CSRF_FAILURE_VIEW: a form whose token is over, and what else comes without one. It leads back to the form."""
    del reason  # Django logs it
    came_from = request.META.get("HTTP_REFERER", "")
    is_ours = url_has_allowed_host_and_scheme(came_from, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseForbidden(
        loader.render_to_string("403_csrf.html", {"back": came_from if is_ours else ""}, request=request)
    )


def own_fault(request: HttpRequest) -> HttpResponse:
    """Django's handler500: the log has what happened, and its caller the id under which it stands there.

    A database that is away is nobody's mistake, and passes: whoever asked is told to come again.
    """
    fault_id = secrets.token_hex(FAULT_ID_BYTES)
    setattr(request, logs.FAULT_ID, fault_id)  # Django logs the request after this
    away = _is_away(sys.exception())  # it calls this while it handles what happened
    status, reason = (503, "not_available") if away else (500, "internal")
    if _is_rest(request):
        said = "The database does not answer now" if away else "This is our own fault"
        answered = _refused(status, f"{said}: the log has it under {fault_id}.", reason)
    else:
        page = loader.render_to_string("503.html" if away else "500.html", {"fault_id": fault_id})
        answered = HttpResponse(page, status=status)
    if away:
        answered["Retry-After"] = str(AWAY_S)
    return answered


def _is_away(error: BaseException | None) -> bool:
    """Whether it is that the database cannot be asked; a table or column that is not there is a fault of ours."""
    # SQLite's driver has one kind of error for both.
    return isinstance(error, _AWAY) and getattr(error.__cause__, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR


def _refused(status: int, detail: str, reason: str) -> HttpResponse:
    return JsonResponse(_document(status, detail, reason, ""), status=status, content_type=CONTENT_TYPE)


def _is_rest(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


class RefusalsAsPages:
    """Middleware: a refusal that a page did not handle itself becomes a plain page with its sentence.

    Django refuses a method without a word, and a browser then shows a page of its own that leads nowhere.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answered = self._get_response(request)
        if answered.status_code == 405 and not answered.content and not _is_rest(request):
            said = _("This address takes what a form sends, and cannot be opened by itself. Nothing was changed.")
            context = {"title": _(TITLE_OF[405]), "message": said}
            answered.content = loader.render_to_string("console/refusal.html", context, request)
        return answered

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, Refusal):
            return None
        status = status_of(error)
        context = {"title": _(TITLE_OF[status]), "message": error.message, "reason": error.reason}
        return TemplateResponse(request, "console/refusal.html", context, status=status)

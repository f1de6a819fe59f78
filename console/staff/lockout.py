"""What django-axes asks us: who is calling, and what a locked-out caller is told."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _


def client_address(request: HttpRequest) -> str:
    """The caller's address: the last hop that our own TLS proxy wrote, or the peer's."""
    if settings.AMULET.behind_tls:
        forwarded = str(request.META.get("HTTP_X_FORWARDED_FOR", ""))
        if forwarded:
            return forwarded.rsplit(",", 1)[-1].strip()
    return str(request.META.get("REMOTE_ADDR", ""))


def answer(request: HttpRequest, original: HttpResponse | None, credentials: dict[str, Any] | None) -> HttpResponse:
    """The login page again, with the reason; status 429."""
    del original, credentials
    from console.staff.forms import SecondFactorLoginForm

    messages.error(request, _("Too many wrong attempts from here. Try again in 15 minutes, or ask an administrator."))
    form = SecondFactorLoginForm(request)
    context = {**admin.site.each_context(request), "title": _("Log in"), "form": form, "app_path": request.path}
    return TemplateResponse(request, admin.site.login_template or "admin/login.html", context, status=429).render()

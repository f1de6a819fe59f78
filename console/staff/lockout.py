"""What django-axes asks us: who is calling, which attempts count, and what a locked-out caller is told."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.timezone import now
from django.utils.translation import gettext as _

_SUBSCRIBER_BITS: Final = 64


class Attempts(AxesDatabaseHandler):
    """Those kept in the database, but for what a clock that was set back since left in times to come.

    Such an attempt would count for as long as the clock was ahead. One that is less far ahead than a lockout lasts
    counts: it may be the clock of another machine.
    """

    def get_user_attempts(
        self, request: HttpRequest, credentials: dict[str, Any] | None = None
    ) -> list[QuerySet[AccessAttempt]]:
        latest = now() + settings.AXES_COOLOFF_TIME
        found: list[QuerySet[AccessAttempt]] = super().get_user_attempts(request, credentials)
        return [attempts.filter(attempt_time__lte=latest) for attempts in found]

    def clean_expired_user_attempts(
        self, request: HttpRequest | None = None, credentials: dict[str, Any] | None = None
    ) -> int:
        gone: int = super().clean_expired_user_attempts(request, credentials)
        ahead = AccessAttempt.objects.filter(attempt_time__gt=now() + settings.AXES_COOLOFF_TIME)
        return gone + int(ahead.delete()[0])


def client_address(request: HttpRequest) -> str:
    """The caller's address: the last hop that our own TLS proxy wrote, or the peer's. Of IPv6 its /64."""
    address = str(request.META.get("REMOTE_ADDR", ""))
    if settings.AMULET.behind_tls:
        forwarded = str(request.META.get("HTTP_X_FORWARDED_FOR", ""))
        if forwarded:
            address = forwarded.rsplit(",", 1)[-1].strip()
    return _network_of(address)


def _network_of(address: str) -> str:
    """What one subscriber has: a /64 at the least, of which a guesser would take another address for each guess."""
    try:
        found = IPv6Address(address)
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found), _SUBSCRIBER_BITS), strict=False).network_address)


def answer(request: HttpRequest, original: HttpResponse | None, credentials: dict[str, Any] | None) -> HttpResponse:
    """The login page again, with the reason and where it was to lead; status 429."""
    del original, credentials
    from console.staff.forms import SecondFactorLoginForm

    messages.error(request, _("Too many wrong attempts from here. Try again in 15 minutes, or ask an administrator."))
    form = SecondFactorLoginForm(request)
    leads_to = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(leads_to, {request.get_host()}, require_https=request.is_secure())
    context = {
        **admin.site.each_context(request),
        "title": _("Log in"),
        "form": form,
        "app_path": request.get_full_path(),  # as Django's own page: another language leads there, too
        "next": leads_to if is_ours else "",
    }
    headers = {"Retry-After": str(int(settings.AXES_COOLOFF_TIME.total_seconds()))}
    template = admin.site.login_template or "admin/login.html"
    return TemplateResponse(request, template, context, status=429, headers=headers).render()

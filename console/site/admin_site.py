"""The admin site: Unfold's, behind a second factor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, URLResolver, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.sites import UnfoldAdminSite

# Of Django's own, and nobody's way to anything here. The first two look any row up, past what its list shows to whom;
# the third tells who may not see a row whether there is one, and the audit trail has what it would say.
_UNUSED: Final = ("autocomplete", "view_on_site", "_history")


class ConsoleAdminSite(UnfoldAdminSite):
    """Opens only to active staff whose session has shown the second factor."""

    index_title = _("What needs a person")
    enable_nav_sidebar = True
    empty_value_display = "–"  # as our own pages say it

    def __init__(self, name: str = "admin") -> None:
        from console.staff.forms import SecondFactorLoginForm

        super().__init__(name)
        self.login_form = SecondFactorLoginForm

    def admin_view(
        self, view: Callable[..., HttpResponseBase], cacheable: bool = False
    ) -> Callable[..., HttpResponseBase]:
        """Django's, which leads whoever is not signed in to the login page; of a form that came too late it says so."""
        is_texts = view == self.i18n_javascript  # the same for everybody; of other pages nothing stays in a browser
        shown: Callable[..., HttpResponseBase] = super().admin_view(view, cacheable and is_texts)

        @wraps(shown)
        def told(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:
            by_script = "X-CSRFToken" in request.headers  # forms say it in a field; nobody waits for a script's answer
            too_late = request.method == "POST" and not by_script and not self.has_permission(request)
            if too_late and request.path != reverse(f"{self.name}:logout"):
                messages.warning(
                    request,
                    gettext("You were signed out before this was sent: nothing was changed. Sign in, and do it again."),
                )
            return shown(request, *arguments, **named)

        return told

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """Django's page with our form: Unfold's view names its own."""
        from django.contrib.auth.views import PasswordChangeView

        from console.staff.forms import OwnPasswordForm

        request.current_app = self.name  # as every page of the admin does, for its templates
        shown = PasswordChangeView.as_view(
            form_class=OwnPasswordForm,
            success_url=reverse(f"{self.name}:password_change_done"),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return shown(request)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return list(_without_unused(super().get_urls()))

    def has_permission(self, request: HttpRequest) -> bool:
        return bool(super().has_permission(request) and getattr(request.user, "otp_device", None) is not None)


def _without_unused(routes: Iterable[URLPattern | URLResolver]) -> Iterator[URLPattern | URLResolver]:
    for route in routes:
        if isinstance(route, URLResolver):
            kept = list(_without_unused(route.url_patterns))
            yield URLResolver(route.pattern, kept, route.default_kwargs, route.app_name, route.namespace)
        elif not (route.name or "").endswith(_UNUSED):
            yield route

"""The admin site: Unfold's, behind a second factor."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.sites import UnfoldAdminSite


class ConsoleAdminSite(UnfoldAdminSite):
    """Opens only to active staff whose session has shown the second factor."""

    index_title = _("What needs a person")
    enable_nav_sidebar = True

    def __init__(self, name: str = "admin") -> None:
        from console.staff.forms import SecondFactorLoginForm

        super().__init__(name)
        self.login_form = SecondFactorLoginForm

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

    def has_permission(self, request: HttpRequest) -> bool:
        return bool(super().has_permission(request) and getattr(request.user, "otp_device", None) is not None)

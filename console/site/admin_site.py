"""The admin site: Unfold's, behind a second factor."""

from __future__ import annotations

from django.http import HttpRequest
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

    def has_permission(self, request: HttpRequest) -> bool:
        return bool(super().has_permission(request) and getattr(request.user, "otp_device", None) is not None)

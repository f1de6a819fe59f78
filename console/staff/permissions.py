"""Who may read through the REST interface. Whoever changes something is asked by the service."""

from __future__ import annotations

from typing import Any

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request


def may(permission: str) -> type[BasePermission]:
    """A DRF permission: the caller's roles carry `app.codename`."""

    class May(BasePermission):
        message = format_lazy(_("This needs the permission {permission}."), permission=permission)

        def has_permission(self, request: Request, view: Any) -> bool:
            return bool(request.user and request.user.is_active and request.user.has_perm(permission))

    return May

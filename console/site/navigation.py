"""The admin's look and its side bar: what stands where, and who sees it."""

from __future__ import annotations

from typing import Any

from django.utils.functional import Promise


def unfold(*, title: str | Promise) -> dict[str, Any]:
    """The settings of django-unfold."""
    return {
        "SITE_TITLE": title,
        "SITE_HEADER": title,
        "SITE_URL": "/admin/",
        "SITE_SYMBOL": "verified",
        "SHOW_LANGUAGES": True,
        "SHOW_HISTORY": False,
        "SHOW_BACK_BUTTON": True,
        "DASHBOARD_CALLBACK": "console.site.home.fill",
        "SIDEBAR": {
            "show_search": True,
            "show_all_applications": False,
            "navigation": "console.site.navigation.sections",
        },
        "BORDER_RADIUS": "6px",
    }


def sections(request: Any) -> list[dict[str, Any]]:
    """The side bar for this person: only what the roles of this person open."""
    return []

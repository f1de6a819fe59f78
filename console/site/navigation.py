"""The admin's look and its side bar: what stands where, and who sees it."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

# Section -> (text, icon, address, permission; None: everybody).
_SECTIONS: Final[tuple[tuple[str, tuple[tuple[str, str, str, str | None], ...]], ...]] = (
    (
        "",
        ((gettext_noop("Home"), "home", "admin:index", None),),
    ),
    (
        gettext_noop("Models"),
        (
            (
                gettext_noop("Versions"),
                "deployed_code",
                "admin:registry_modelversion_changelist",
                "registry.view_modelversion",
            ),
            (gettext_noop("Routes"), "alt_route", "admin:rollout_route_changelist", "rollout.view_route"),
            (
                gettext_noop("Experiments"),
                "labs",
                "admin:rollout_experiment_changelist",
                "rollout.view_experiment",
            ),
            (gettext_noop("Data sets"), "dataset", "admin:datasets_dataset_changelist", "datasets.view_dataset"),
            (
                gettext_noop("Training jobs"),
                "model_training",
                "admin:retraining_trainingjob_changelist",
                "datasets.view_dataset",
            ),
            (gettext_noop("Drift"), "monitoring", "admin:drift_finding_changelist", "drift.view_finding"),
        ),
    ),
    (
        gettext_noop("Answers"),
        (
            (
                gettext_noop("Expert review"),
                "rate_review",
                "admin:review_reviewitem_changelist",
                "review.view_reviewitem",
            ),
            (gettext_noop("Review sheets"), "fact_check", "admin:sheets_sheet_changelist", "sheets.view_sheet"),
            (
                gettext_noop("Predictions"),
                "photo_library",
                "admin:predictions_prediction_changelist",
                "predictions.view_prediction",
            ),
            (gettext_noop("Try it"), "add_a_photo", "try_it", "predictions.view_prediction"),
        ),
    ),
    (
        gettext_noop("Access"),
        (
            (gettext_noop("Clients"), "apps", "admin:clients_client_changelist", "clients.view_client"),
            (gettext_noop("API keys"), "key", "admin:clients_apikey_changelist", "clients.view_client"),
            (gettext_noop("Staff"), "group", "admin:staff_user_changelist", "staff.view_user"),
            (gettext_noop("Tokens for scripts"), "terminal", "admin:staff_apitoken_changelist", None),
            (gettext_noop("Webhooks"), "webhook", "admin:webhooks_endpoint_changelist", "webhooks.view_endpoint"),
        ),
    ),
    (
        gettext_noop("Accountability"),
        (
            (gettext_noop("Audit trail"), "history_edu", "admin:audit_entry_changelist", "audit.view_entry"),
            (
                gettext_noop("Privacy requests"),
                "shield_person",
                "admin:privacy_privacyrequest_changelist",
                "privacy.view_privacyrequest",
            ),
            (
                gettext_noop("Retention"),
                "auto_delete",
                "admin:retention_applied_changelist",
                "privacy.view_privacyrequest",
            ),
            (
                gettext_noop("Record of processing"),
                "inventory_2",
                "admin:retention_applied_record",
                "privacy.view_privacyrequest",
            ),
            (gettext_noop("Subjects"), "fingerprint", "admin:vault_subject_changelist", "vault.view_subject"),
            (gettext_noop("Consents"), "handshake", "admin:vault_consent_changelist", "vault.view_consent"),
        ),
    ),
)

# What the theme and Django say and ship no Thai for, or another one; here so that the texts are collected with ours.
_WORDS_OF_THE_THEME: Final = (
    gettext_noop("%(model_name)s with this %(field_labels)s already exists."),
    gettext_noop("Date"),
    gettext_noop("Enter a complete value."),
    gettext_noop("Enter a valid JSON."),
    gettext_noop("Enter the same password as before, for verification."),
    gettext_noop("General"),
    gettext_noop("More actions"),
    gettext_noop("Null characters are not allowed."),
    gettext_noop("Remove"),
    gettext_noop("Skip to main content"),
    gettext_noop("The two password fields didn’t match."),
    gettext_noop("This password is too common."),
    gettext_noop("Your password can’t be a commonly used password."),
    gettext_noop("Apply Filters"),
    gettext_noop("Cancel"),
    gettext_noop("Choose file to upload"),
    gettext_noop("Clear all filters"),
    gettext_noop("Dark"),
    gettext_noop("Date from"),
    gettext_noop("Date to"),
    gettext_noop("False"),
    gettext_noop("From"),
    gettext_noop("Go back"),
    gettext_noop("Hide counts"),
    gettext_noop("Light"),
    gettext_noop("Next"),
    gettext_noop("No data"),
    gettext_noop("No results found"),
    gettext_noop("Previous"),
    gettext_noop("Remove from sorting"),
    gettext_noop("Reset filters"),
    gettext_noop("Return to site"),
    gettext_noop("Select value"),
    gettext_noop("Show counts"),
    gettext_noop("System"),
    gettext_noop("This page yielded into no results. Create a new item or reset your filters."),
    gettext_noop("To"),
    gettext_noop("Toggle sorting"),
    gettext_noop("Toggle password visibility"),
    gettext_noop("True"),
    gettext_noop("Type to search"),
    gettext_noop("You have been successfully logged out from the administration"),
)


def unfold(*, title: str | Promise) -> dict[str, Any]:
    """The settings of django-unfold."""
    return {
        "SITE_TITLE": title,
        "SITE_HEADER": title,
        "SITE_URL": None,
        "SITE_SYMBOL": "verified",
        "SHOW_LANGUAGES": True,
        "SHOW_HISTORY": False,
        "SHOW_BACK_BUTTON": True,
        "DASHBOARD_CALLBACK": "console.site.home.fill",
        "SITE_FAVICONS": [
            {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("console/favicon.svg")}
        ],
        "STYLES": [
            lambda _request: static("console/fonts/thai.css"),
            lambda _request: static("console/console.css"),
            lambda _request: static("console/phone.css"),
        ],
        "SCRIPTS": [
            lambda _request: static("console/once.js"),
            lambda _request: static("console/kept.js"),
            lambda _request: static("console/unsaved.js"),
            lambda _request: static("console/names.js"),
            lambda _request: static("console/forms.js"),
        ],
        "SIDEBAR": {
            "show_search": False,
            "show_all_applications": False,
            "navigation": "console.site.navigation.sections",
        },
        "BORDER_RADIUS": "6px",
        "COLORS": {"primary": _AMBER},
    }


def sections(request: HttpRequest) -> list[dict[str, Any]]:
    """The side bar for this person: only what the roles of this person open."""
    found = []
    here = _nearest(request.path)
    for heading, entries in _SECTIONS:
        items = [
            {"title": _(text), "icon": icon, "link": reverse(address), "active": address == here}
            for text, icon, address, permission in entries
            if permission is None or request.user.has_perm(permission)
        ]
        if items:
            found.append({"title": _(heading) if heading else "", "separator": False, "items": items})
    return found


def _nearest(path: str) -> str:
    """The entry that this page belongs to: the theme marks every one whose address is in the page's."""
    home, *others = (address for _heading, entries in _SECTIONS for _text, _icon, address, _permission in entries)
    leading = [address for address in others if path.startswith(reverse(address))]
    return max(leading, key=lambda address: len(reverse(address)), default=home if path == reverse(home) else "")


# The colour of fired clay; every step keeps the contrast of the theme's own.
_AMBER: Final[dict[str, str]] = {
    "50": "oklch(98.0% .016 73.684)",
    "100": "oklch(95.4% .038 75.164)",
    "200": "oklch(90.1% .076 70.697)",
    "300": "oklch(83.7% .128 66.29)",
    "400": "oklch(75.0% .183 55.934)",
    "500": "oklch(68.5% .179 50.2)",
    "600": "oklch(55.3% .150 45.0)",
    "700": "oklch(49.0% .140 41.5)",
    "800": "oklch(42.0% .115 39.0)",
    "900": "oklch(37.0% .095 38.2)",
    "950": "oklch(26.6% .079 36.259)",
}

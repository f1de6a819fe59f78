"""The roles of the console and what each may do: one table, written to the database by `migrate`."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from django.apps import AppConfig, apps
from django.utils.translation import gettext_noop


class Role(StrEnum):
    VIEWER = "viewer"
    REVIEWER = "reviewer"
    MODEL_ENGINEER = "model engineer"
    APPROVER = "approver"
    PRIVACY_OFFICER = "privacy officer"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


# Names for people, by gettext.
_NAMES: Final = (
    gettext_noop("viewer"),
    gettext_noop("reviewer"),
    gettext_noop("model engineer"),
    gettext_noop("approver"),
    gettext_noop("privacy officer"),
    gettext_noop("auditor"),
    gettext_noop("administrator"),
)
_SEE: Final = frozenset(
    {
        "registry.view_modelversion",
        "rollout.view_route",
        "rollout.view_experiment",
        "predictions.view_prediction",
        "drift.view_finding",
    }
)

PERMISSIONS: Final[dict[Role, frozenset[str]]] = {
    Role.VIEWER: _SEE,
    Role.REVIEWER: _SEE
    | {
        "review.view_reviewitem",
        "review.decide_reviewitem",
        "sheets.view_sheet",
        "sheets.answer_sheet",
        "vault.open_storedobject",
    },
    Role.MODEL_ENGINEER: _SEE
    | {
        "registry.upload_modelversion",
        "rollout.change_route",
        "review.view_reviewitem",
        "clients.view_client",
        "datasets.view_dataset",
        "sheets.view_sheet",
        "sheets.import_sheet",
        "vault.train_storedobject",
    },
    Role.APPROVER: _SEE | {"registry.approve_modelversion", "rollout.change_route", "datasets.view_dataset"},
    Role.PRIVACY_OFFICER: _SEE
    | {
        "vault.view_subject",
        "vault.view_consent",
        "vault.add_consent",
        "vault.change_consent",
        "vault.open_storedobject",
        "privacy.view_privacyrequest",
        "privacy.add_privacyrequest",
        "privacy.handle_privacyrequest",
        "privacy.export_privacyrequest",
        "privacy.erase_typed",
    },
    Role.AUDITOR: _SEE
    | {
        "audit.view_entry",
        "audit.view_checkpoint",
        "audit.export_entry",
        "staff.view_user",
        "privacy.view_privacyrequest",
    },
    Role.ADMINISTRATOR: _SEE
    | {
        "clients.view_client",
        "clients.add_client",
        "clients.change_client",
        "staff.view_user",
        "staff.add_user",
        "staff.change_user",
        "staff.view_apitoken",
        "staff.change_apitoken",
        "registry.upload_modelversion",
        "registry.approve_modelversion",
        "rollout.change_route",
        "audit.view_entry",
        "audit.view_checkpoint",
        "audit.export_entry",
        "review.view_reviewitem",
        "review.decide_reviewitem",
        "review.lead_reviewitem",
        "sheets.view_sheet",
        "sheets.answer_sheet",
        "sheets.import_sheet",
        "vault.open_storedobject",
        "vault.train_storedobject",
        "vault.view_subject",
        "vault.view_consent",
        "privacy.view_privacyrequest",
        "datasets.view_dataset",
        "webhooks.view_endpoint",
        "webhooks.change_endpoint",
    },
}


def write_roles(sender: AppConfig, **_: Any) -> None:
    """Make the groups and give each exactly its permissions, once after every `migrate`."""
    # Django signals app by app, and makes each app's permissions on the way.
    if sender is not [config for config in apps.get_app_configs() if config.models_module is not None][-1]:
        return
    from django.contrib.auth.models import Group, Permission

    known = {
        f"{app}.{codename}": key
        for key, app, codename in Permission.objects.values_list("pk", "content_type__app_label", "codename")
    }
    for role, permissions in PERMISSIONS.items():
        group, _made = Group.objects.get_or_create(name=role.value)
        group.permissions.set([known[name] for name in sorted(permissions) if name in known])

"""What a token may be used for: the scopes, and the one that each call of the REST interface needs.

A scope takes away and gives nothing: whoever's token it is, what that person may not do, it may not do either.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

PREFIX: Final = "api/v1/"
_READING: Final = ("GET", "HEAD", "OPTIONS")


class Scope(models.TextChoices):
    ALL = "all", _("everything that its owner may do")
    READ = "read", _("look at everything that its owner may see")
    MODELS = "models:write", _("upload, approve, roll out and retire versions")
    TRAINING = "training:write", _("take labelled photographs out, and train")
    REVIEWS = "reviews:write", _("review, and import review sheets")
    CLIENTS = "clients:write", _("clients and their keys")
    PRIVACY = "privacy:write", _("consents and privacy requests")
    WEBHOOKS = "webhooks:write", _("webhooks")
    STAFF = "staff:write", _("staff and their roles, and tokens for scripts")
    PHOTOGRAPHS = "photographs:read", _("open photographs and heat maps")
    AUDIT = "audit:export", _("export the audit log")


# Which scope writing needs, by the first part of an address; None: nothing is written there.
WRITING: Final[Mapping[str, Scope | None]] = {
    "audit": None,
    "clients": Scope.CLIENTS,
    "consents": Scope.PRIVACY,
    "datasets": Scope.TRAINING,
    "drift": None,
    "experiments": None,
    "guardrails": Scope.MODELS,
    "health": None,
    "keys": Scope.CLIENTS,
    "models": Scope.MODELS,
    "predictions": None,
    "privacy": Scope.PRIVACY,
    "retraining-plans": None,
    "retraining-proposals": None,
    "reviews": Scope.REVIEWS,
    "routes": Scope.MODELS,
    "schema": None,
    "sheets": Scope.REVIEWS,
    "staff": Scope.STAFF,
    "subjects": None,
    "training-jobs": Scope.TRAINING,
    "traffic": None,
    "uploads": Scope.MODELS,
    "versions": Scope.MODELS,
    "waiting": None,
    "webhooks": Scope.WEBHOOKS,
}
# Reading that hands out more than a look; `*` stands for a parameter.
_READING_MORE: Final[Mapping[str, Scope]] = {
    "audit/export/": Scope.AUDIT,
    "audit/entries/*/receipt/": Scope.AUDIT,
    "predictions/*/photographs/*/": Scope.PHOTOGRAPHS,
    "predictions/*/heat-maps/*/": Scope.PHOTOGRAPHS,
    "predictions/*/similar/*/": Scope.PHOTOGRAPHS,
    "versions/*/golden/*/": Scope.PHOTOGRAPHS,
    "sheets/*/items/*/photograph/": Scope.PHOTOGRAPHS,
    "sheets/*/items/*/heat-map/": Scope.PHOTOGRAPHS,
}
_PARAMETER: Final = re.compile(r"<[^<>]+>|\{[^{}]+\}")


def needed(method: str, route: str) -> Scope:
    """The scope that a call needs. route: as Django's addresses have it, or OpenAPI's, after `PREFIX`.

    What nobody declared needs ALL.
    """
    if method in _READING:
        more = _READING_MORE.get(shape_of(route), Scope.READ)
        return more if _first(route) in WRITING else Scope.ALL
    return WRITING.get(_first(route)) or Scope.ALL


def shape_of(route: str) -> str:
    """A route with `*` for each of its parameters, whoever writes it."""
    return _PARAMETER.sub("*", route)


def covers(scopes: Collection[str], wanted: Scope) -> bool:
    return Scope.ALL in scopes or wanted in scopes


def exceeding(scopes: Collection[str], wanted: Collection[str]) -> list[str]:
    """Which of the wanted scopes a token with these ones lacks."""
    return [scope for scope in wanted if not covers(scopes, Scope(scope))]


def everything() -> list[str]:
    """What tokens have unless somebody says less."""
    return [Scope.ALL.value]


def _first(route: str) -> str:
    return route.partition("/")[0]

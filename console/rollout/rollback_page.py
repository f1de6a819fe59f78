"""The question before a rollback: what answers now, what will afterwards, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.urls import reverse
from django.utils.translation import gettext as _

from console.pages import ReasonForm
from console.rollout import services
from console.rollout.models import Mode
from console.rollout.queries import Rollback, Served, rollback_of
from console.staff.models import User

# Where a rollback can be asked for, beside the version's own page.
BACK_TO: Final = {"home": "admin:index", "routes": "admin:rollout_route_changelist"}


class RollbackForm(ReasonForm):
    """The reason is filled in, so that one more click is enough; what was seen to end travels along."""

    ends = forms.IntegerField(required=False, widget=forms.HiddenInput)


@dataclass(frozen=True, slots=True)
class Share:
    """Who answers, and how much of the calls."""

    version: str
    mode: str
    percent: str


def rollback_url(version_id: int, *, back_to: str = "") -> str:
    url = reverse("admin:registry_modelversion_roll_back", args=[version_id])
    return f"{url}?back={back_to}" if back_to else url


def rollback_context(served: Served) -> dict[str, Any]:
    """What `rollout/roll_back.html` shows beside the form."""
    found = rollback_of(served)
    return {
        "now": [
            Share(route.version.version, str(Mode(route.mode).label), f"{served.weight_ratio(route):.0%}")
            for route in served.routes
            if route.mode != Mode.SHADOW
        ],
        "afterwards": _afterwards(found),
        "ends": found.ends.pk if found else None,
    }


def consequence(served: Served) -> str:
    found = rollback_of(served)
    if found is None:
        return _("There is no earlier production version to return to.")
    if found.ends.mode == Mode.CANARY:
        return _("The canary {version} ends; production stays as it is.").format(version=found.ends.version.version)
    return _("{target} takes over from {current} within seconds: TorchServe still holds it.").format(
        target=found.serves.version, current=found.ends.version.version
    )


def initial() -> dict[str, Any]:
    return {"reason": _("It had to be quick: the cause is looked for afterwards.")}


def roll_back(person: User, model: str, given: dict[str, Any]) -> str:
    route = services.roll_back(actor=person, model=model, reason=given["reason"], ends=given["ends"])
    return _("{version} is in production. Gateways hear of it within seconds.").format(version=route.version)


def _afterwards(found: Rollback | None) -> Sequence[Share]:
    if found is None:
        return ()
    return (Share(found.serves.version, str(Mode.PRODUCTION.label), f"{1:.0%}"),)

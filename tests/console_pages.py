"""Every page of the console and the roles that may open it: what tests of permissions and of looks both go by.

A route that is in neither table fails the test of permissions; one that is here and that nobody looks at fails the
tests in the browser. The tables name a role by its letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

ROLES: Final[Mapping[str, str]] = {
    "v": "viewer",
    "r": "reviewer",
    "m": "model engineer",
    "a": "approver",
    "p": "privacy officer",
    "u": "auditor",
    "x": "administrator",
}
EVERYBODY: Final = "vrmapux"
NOBODY: Final = ""
OF_A_ROW: Final = "<path:object_id>/"


class Rows(NamedTuple):
    """Who may do what with the rows of one model; nobody deletes any."""

    see: str
    change: str = NOBODY
    add: str = NOBODY


# Of Django's own pages of a model: the list, one row, a new row.
ROWS: Final[Mapping[str, Rows]] = {
    "staff/user": Rows("ux"),
    "staff/apitoken": Rows(EVERYBODY),  # each sees their own
    "audit/entry": Rows("ux"),
    "audit/checkpoint": Rows("ux"),
    "vault/consent": Rows("px"),
    "vault/subject": Rows("px"),
    "clients/client": Rows("mx", change="x", add="x"),
    "clients/apikey": Rows("mx"),
    "predictions/prediction": Rows(EVERYBODY),
    "review/reviewitem": Rows("rmx"),
    "review/golditem": Rows("x"),
    "datasets/dataset": Rows("max"),
    "retraining/trainingjob": Rows("max"),
    "sheets/sheet": Rows("rmx"),
    "registry/modelversion": Rows(EVERYBODY),
    "rollout/route": Rows(EVERYBODY),
    "rollout/experiment": Rows(EVERYBODY),
    "drift/finding": Rows(EVERYBODY),
    "privacy/privacyrequest": Rows("pux"),
    "retention/applied": Rows("pux"),
    "webhooks/endpoint": Rows("x"),
    "webhooks/delivery": Rows("x"),
}
# Of our own pages, whether they are looked at or sent.
PAGES: Final[Mapping[str, str]] = {
    "": EVERYBODY,
    "search/": EVERYBODY,
    "password_change/": EVERYBODY,
    "password_change/done/": EVERYBODY,
    "jsi18n/": EVERYBODY,
    "try/": EVERYBODY,
    "try/<uuid:prediction_id>/": EVERYBODY,
    "staff/user/add-staff/": "x",
    "staff/user/<path:object_id>/role/": "x",
    "staff/user/<path:object_id>/disable/": "x",
    "staff/user/<path:object_id>/enable/": "x",
    "staff/user/<path:object_id>/end-sessions/": "x",
    "staff/user/<path:object_id>/reset-access/": "x",
    "staff/apitoken/new-token/": EVERYBODY,
    "staff/apitoken/<path:object_id>/revoke/": EVERYBODY,
    "audit/entry/verify/": "ux",
    "audit/entry/export/": "ux",
    "vault/consent/give/": "p",
    "vault/consent/<path:object_id>/withdraw/": "p",
    "clients/client/<path:object_id>/new-key/": "x",
    "clients/client/<path:object_id>/keys/": "mx",
    "clients/apikey/<path:object_id>/revoke/": "x",
    "predictions/prediction/<uuid:prediction_id>/photograph/<int:part>.png": "rpx",
    "predictions/prediction/<uuid:prediction_id>/heat-map/<int:part>.png": "rpx",
    "review/reviewitem/next/": "rx",
    "review/reviewitem/settle/": "rx",
    "review/reviewitem/accuracy/": "rmx",
    "review/reviewitem/figures/": "rx",
    "review/reviewitem/ahead/": "rx",
    "review/reviewitem/known/": "x",
    "review/reviewitem/<path:object_id>/gold/": "x",
    "review/golditem/<path:object_id>/retire/": "x",
    "drift/finding/performance/": EVERYBODY,
    "datasets/dataset/export/": "mx",
    "retraining/trainingjob/start/": "mx",
    "retraining/trainingjob/<path:object_id>/cancel/": "mx",
    "sheets/sheet/import/": "mx",
    "sheets/sheet/<path:object_id>/judge/": "rx",
    "sheets/sheet/<path:object_id>/answers/": "mx",
    "sheets/sheet/<path:object_id>/remove/": "mx",
    "registry/modelversion/upload/": "mx",
    "registry/modelversion/compare/": EVERYBODY,
    "registry/modelversion/<path:object_id>/approve/": "ax",
    "registry/modelversion/<path:object_id>/roll-out/": "max",
    "registry/modelversion/<path:object_id>/experiment/": "max",
    "registry/modelversion/<path:object_id>/roll-back/": "max",
    "registry/modelversion/<path:object_id>/retry/": "mx",
    "registry/modelversion/<path:object_id>/retire/": "ax",
    "rollout/route/then/": EVERYBODY,
    "rollout/route/<path:object_id>/end/": "max",
    "rollout/route/<path:object_id>/see/": "max",
    "privacy/privacyrequest/enter/": "p",
    "privacy/privacyrequest/typed/": "p",
    "privacy/privacyrequest/typed/<str:place>/<str:key>/erase/": "p",
    "privacy/privacyrequest/<path:object_id>/identity/": "p",
    "privacy/privacyrequest/<path:object_id>/start/": "p",
    "privacy/privacyrequest/<path:object_id>/finish/": "p",
    "privacy/privacyrequest/<path:object_id>/export/": "p",
    "privacy/privacyrequest/<path:object_id>/pause/": "p",
    "privacy/privacyrequest/<path:object_id>/resume/": "p",
    "privacy/privacyrequest/<path:object_id>/extend/": "p",
    "privacy/privacyrequest/<path:object_id>/refuse/": "p",
    "privacy/privacyrequest/<path:object_id>/lift/": "p",
    "privacy/privacyrequest/<path:object_id>/certificate/": "pux",
    "privacy/privacyrequest/<path:object_id>/certificate/pdf/": "pux",
    "retention/applied/record/": "pux",
    "retention/applied/record/csv/": "pux",
    "retention/applied/record/json/": "pux",
    "webhooks/endpoint/new/": "x",
    "webhooks/endpoint/<path:object_id>/secret/": "x",
    "webhooks/endpoint/<path:object_id>/test/": "x",
    "webhooks/endpoint/<path:object_id>/events/": "x",
    "webhooks/delivery/<path:object_id>/again/": "x",
    "webhooks/delivery/<path:object_id>/now/": "x",
    "webhooks/endpoint/<path:object_id>/switch/": "x",
    "webhooks/endpoint/<path:object_id>/remove/": "x",
}
# Logging in and out, and addresses that only lead elsewhere.
OPEN: Final = {
    "login/",
    "logout/",
    "retention/applied/<path:object_id>/change/",
    "staff/user/<path:object_id>/change/",
    "(?P<url>.*)$",
}


def declared() -> dict[str, tuple[str, str]]:
    """Route -> who may look, who may send."""
    table = {route: (roles, roles) for route, roles in PAGES.items()}
    for model, may in ROWS.items():
        table[f"{model}/"] = (may.see, may.see)
        table[f"{model}/add/"] = (may.add, may.add)
        table[f"{model}/{OF_A_ROW}change/"] = (may.see, may.change)
        table[f"{model}/{OF_A_ROW}delete/"] = (NOBODY, NOBODY)
    return {route: roles for route, roles in table.items() if not leads_elsewhere(route)}


def leads_elsewhere(route: str) -> bool:
    return route in OPEN or route.startswith("^") or route.endswith(f"/{OF_A_ROW}")

"""Every route of the REST interface × every role × every method that it offers: who may, and who may not.

A route that is not in the table fails, and so does a method that it offers without being listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from console.clients.models import Client
from console.errors import Invalid
from console.site.roles import PERMISSIONS, Role
from console.staff.models import User
from console.staff.scopes import WRITING, Scope, needed
from console.staff.services import create_token
from tests.unit.console.people import caller, member

pytestmark = pytest.mark.django_db
LETTERS = dict(zip("vrmapux", Role, strict=True))
EVERYBODY = "vrmapux"
NOBODYS = UUID(int=0)
LONG_AGO = "2020-01-01T00:00:00Z"
REASON = {"reason": "because"}
UPLOAD = {"filename": "a.mar", "size": 1, "sha256": "0" * 64}
EXPERIMENT = {
    "hypothesis": "h", "measure": "in_domain", "baseline_ratio": 0.8, "effect_ratio": 0.1, "share_ratio": 0.5, **REASON,
}  # fmt: skip
ASKED = {"subject": "s-1", "kind": "access", "channel": "web"}
CONSENT = {"subject": "s-1", "purpose": "training", "text_version": "1", "channel": "web"}

# Route -> method -> (roles that may, a body of the right form). Nothing in these calls exists, so who may
# gets 404, 409 or the like; who may not gets 403.
MATRIX: dict[str, dict[str, tuple[str, Any]]] = {
    "clients/": {"GET": ("mx", None), "POST": ("x", {"name": "a client"})},
    "clients/<int:pk>/": {"GET": ("mx", None), "PUT": ("x", {"calls_per_minute": 1, "models": []})},
    "clients/<int:pk>/keys/": {"POST": ("x", {})},
    "keys/": {"GET": ("mx", None)},
    "keys/<str:key_id>/revoke/": {"POST": ("x", None)},
    "uploads/": {"POST": ("mx", UPLOAD)},
    "uploads/<uuid:pk>/": {"GET": ("mx", None), "PATCH": ("mx", b""), "DELETE": ("mx", None)},
    "uploads/<uuid:pk>/finish/": {"POST": ("mx", None)},
    "staff/": {"GET": ("ux", None), "POST": ("x", {"name": "a b", "role": "viewer"})},
    "staff/<int:pk>/": {"GET": ("ux", None)},
    "staff/<int:pk>/role/": {"POST": ("x", {"role": "viewer"})},
    "staff/<int:pk>/disable/": {"POST": ("x", None)},
    "staff/<int:pk>/enable/": {"POST": ("x", None)},
    "staff/<int:pk>/end-sessions/": {"POST": ("x", None)},  # and everybody their own
    "staff/<int:pk>/reset-access/": {"POST": ("x", None)},
    "staff/tokens/": {
        "GET": (EVERYBODY, None),
        "POST": (EVERYBODY, {"name": "n", "scopes": ["read"], "expires_at": LONG_AGO}),
    },
    "staff/tokens/<str:key_id>/revoke/": {"POST": (EVERYBODY, None)},
    "subjects/": {"GET": ("px", None)},
    "subjects/<uuid:pk>/": {"GET": ("px", None)},
    "subjects/<uuid:pk>/predictions/": {"GET": ("px", None)},
    "reviews/accuracy/": {"GET": ("rmx", None)},
    "retraining-proposals/": {"GET": ("max", None)},
    "versions/": {"GET": (EVERYBODY, None)},
    "versions/<int:pk>/": {"GET": (EVERYBODY, None)},
    "versions/<int:pk>/golden/<int:number>/": {"GET": (EVERYBODY, None)},
    "versions/<int:pk>/approve/": {"POST": ("ax", REASON)},
    "versions/<int:pk>/rollout/": {"POST": ("max", {"mode": "production", **REASON})},
    "versions/<int:pk>/retry/": {"POST": ("mx", None)},
    "versions/<int:pk>/retire/": {"POST": ("ax", REASON)},
    "versions/<int:pk>/experiment/": {"POST": ("max", EXPERIMENT)},
    "experiments/": {"GET": (EVERYBODY, None)},
    "experiments/<int:pk>/": {"GET": (EVERYBODY, None)},
    "models/<str:model>/rollback/": {"GET": (EVERYBODY, None), "POST": ("max", REASON)},
    "routes/": {"GET": (EVERYBODY, None)},
    "versions/compare/": {"GET": (EVERYBODY, None)},
    "versions/best/": {"GET": (EVERYBODY, None)},
    "routes/then/": {"GET": (EVERYBODY, None)},
    "routes/<int:pk>/": {"GET": (EVERYBODY, None)},
    "guardrails/": {"GET": (EVERYBODY, None)},
    "guardrails/<int:pk>/seen/": {"POST": ("max", None)},
    "routes/<int:pk>/end/": {"POST": ("max", REASON)},
    "audit/entries/": {"GET": ("ux", None)},
    "audit/entries/<int:pk>/": {"GET": ("ux", None)},
    "audit/entries/<int:pk>/receipt/": {"GET": ("ux", None)},
    "audit/checkpoints/": {"GET": ("ux", None)},
    "audit/verification/": {"GET": ("ux", None)},
    "audit/export/": {"GET": ("ux", None)},
    "consents/": {"GET": ("px", None), "POST": ("p", CONSENT)},
    "consents/<str:reference>/withdraw/": {"POST": ("p", {"channel": "web"})},
    "privacy/requests/": {"GET": ("pux", None), "POST": ("p", ASKED)},
    "privacy/requests/<int:pk>/": {"GET": ("pux", None)},
    "privacy/requests/<int:pk>/identity/": {"POST": ("p", {"method": "card"})},
    "privacy/requests/<int:pk>/start/": {"POST": ("p", None)},
    "privacy/requests/<int:pk>/pause/": {"POST": ("p", REASON)},
    "privacy/requests/<int:pk>/resume/": {"POST": ("p", None)},
    "privacy/requests/<int:pk>/extend/": {"POST": ("p", REASON)},
    "privacy/requests/<int:pk>/refuse/": {"POST": ("p", REASON)},
    "privacy/requests/<int:pk>/finish/": {"POST": ("p", {"outcome": "handed out"})},
    "privacy/requests/<int:pk>/lift/": {"POST": ("p", REASON)},
    "privacy/requests/<int:pk>/export/": {"POST": ("p", None)},
    "privacy/requests/<int:pk>/certificate/": {"GET": ("pux", None)},
    "privacy/requests/<int:pk>/certificate/pdf/": {"GET": ("pux", None)},
    "privacy/typed/find/": {"POST": ("p", {"part": "nobody"})},
    "privacy/typed/erase/": {"POST": ("p", {"place": "audit_entry", "key": "999999", "ground": "names"})},
    "privacy/retention/": {"GET": ("pux", None)},
    "drift/findings/": {"GET": (EVERYBODY, None)},
    "drift/findings/<int:pk>/": {"GET": (EVERYBODY, None)},
    "drift/performance/": {"GET": (EVERYBODY, None)},
    "privacy/record/": {"GET": ("pux", None)},
    "predictions/": {"GET": (EVERYBODY, None)},
    "predictions/<uuid:pk>/": {"GET": (EVERYBODY, None)},
    "predictions/<uuid:pk>/photographs/<int:part>/": {"GET": ("rpx", None)},
    "predictions/<uuid:pk>/heat-maps/<int:part>/": {"GET": ("rpx", None)},
    "predictions/<uuid:pk>/similar/<int:number>/": {"GET": (EVERYBODY, None)},
    "reviews/": {"GET": ("rmx", None)},
    "reviews/<int:pk>/": {"GET": ("rmx", None)},
    "reviews/<int:pk>/decisions/": {"GET": ("rmx", None)},
    "reviews/agreement/": {"GET": ("rmx", None)},
    "reviews/figures/": {"GET": ("rx", None)},
    "reviews/people/": {"GET": ("x", None)},
    "reviews/settle/": {"POST": ("rx", None)},
    "reviews/next/": {"POST": ("rx", None)},
    "reviews/<int:pk>/take/": {"POST": ("rx", None)},
    "reviews/<int:pk>/give-back/": {"POST": (EVERYBODY, None)},
    "reviews/<int:pk>/decide/": {"POST": ("rx", {"decided": "unsure"})},
    "reviews/<int:pk>/take-back/": {"POST": ("rx", None)},
    "reviews/<int:pk>/gold/": {"POST": ("x", {"reason": "a certificate"})},
    "reviews/gold/": {"GET": ("x", None)},
    "reviews/gold/<int:pk>/retire/": {"POST": ("x", {"reason": "a certificate"})},
    "datasets/": {"GET": ("max", None), "POST": ("mx", {"model": "no-such"})},
    "datasets/<int:pk>/": {"GET": ("max", None)},
    "retraining-plans/": {"GET": ("max", None)},
    "training-jobs/": {"GET": ("max", None), "POST": ("mx", {"model": "no-such"})},
    "training-jobs/<int:pk>/": {"GET": ("max", None)},
    "training-jobs/<int:pk>/cancel/": {"POST": ("mx", None)},
    "sheets/": {"GET": ("rmx", None), "POST": ("mx", b"")},
    "sheets/<int:pk>/": {"GET": ("rmx", None), "DELETE": ("mx", REASON)},
    "sheets/<int:pk>/answers/": {"GET": ("mx", None)},
    "sheets/<int:pk>/next/": {"GET": ("rx", None)},
    "sheets/<int:pk>/items/<int:number>/photograph/": {"GET": ("rx", None)},
    "sheets/<int:pk>/items/<int:number>/heat-map/": {"GET": ("rx", None)},
    "sheets/<int:pk>/items/<int:number>/judge/": {"POST": ("rx", {"verdict": "unsure"})},
    "sheets/<int:pk>/take-back/": {"POST": ("rx", None)},
    "webhooks/": {"GET": ("x", None), "POST": ("x", {"url": "ftp://nowhere", "events": ["drift.alert_opened"]})},
    "webhooks/<int:pk>/": {"GET": ("x", None), "PUT": ("x", {"active": True}), "DELETE": ("x", None)},
    "webhooks/<int:pk>/secret/": {"POST": ("x", None)},
    "webhooks/<int:pk>/test/": {"POST": ("x", None)},
    "webhooks/<int:pk>/deliveries/": {"GET": ("x", None)},
    "webhooks/<int:pk>/deliveries/<int:number>/again/": {"POST": ("x", None)},
    "webhooks/<int:pk>/deliveries/<int:number>/now/": {"POST": ("x", None)},
    "waiting/": {"GET": (EVERYBODY, None)},
    "health/": {"GET": (EVERYBODY, None)},
    "traffic/": {"GET": (EVERYBODY, None)},
    "schema": {"GET": (EVERYBODY, None)},
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def routes() -> list[str]:
    """Every route under /api/v1/."""
    found = []
    for entry in get_resolver().url_patterns:
        prefix = str(entry.pattern)
        if isinstance(entry, URLResolver) and prefix == "api/v1/":
            found += [str(inner.pattern) for inner in entry.url_patterns]
        elif isinstance(entry, URLPattern) and prefix.startswith("api/v1/"):
            found.append(prefix.removeprefix("api/v1/"))
    return found


def url_of(route: str) -> str:
    for kind, value in (
        ("<int:pk>", "999999"),
        ("<int:part>", "0"),
        ("<int:number>", "1"),
        ("<uuid:pk>", str(NOBODYS)),
        ("<str:", None),
    ):
        if value is not None:
            route = route.replace(kind, value)
    return (
        f"/api/v1/{route}".replace("<str:key_id>", "0" * 12)
        .replace("<str:model>", "no-such")
        .replace("<str:reference>", "no-such")
    )


def status_of(client: APIClient, method: str, route: str, body: Any) -> int:
    if isinstance(body, bytes):
        return client.generic(
            method, url_of(route), body.decode(), content_type="application/offset+octet-stream", HTTP_UPLOAD_OFFSET="0"
        ).status_code
    return client.generic(method, url_of(route), _json(body), content_type="application/json").status_code


def _json(body: Any) -> str:
    return "" if body is None else json.dumps(body)


def test_every_route_is_declared_and_no_other() -> None:
    assert sorted(routes()) == sorted(MATRIX)


@pytest.mark.parametrize("letter", LETTERS)
def test_each_role_may_exactly_what_the_table_says(letter: str) -> None:
    assert mismatches(caller(LETTERS[letter]), letter, MATRIX) == []


def mismatches(client: APIClient, letter: str, wanted: Iterable[str]) -> list[str]:
    """Where one of these routes lets somebody of this role do something else than the table says."""
    wrong = []
    for route in wanted:
        methods = MATRIX[route]
        for method in METHODS:
            if method not in methods:
                if status_of(client, method, route, None) not in (403, 405):
                    wrong.append(f"{method} {route} is offered and not declared")
                continue
            roles, body = methods[method]
            status = status_of(client, method, route, body)
            if (status != 403) != (letter in roles) or status >= 500:
                wrong.append(f"{method} {route}: {status} for the {LETTERS[letter]}")
    return wrong


def test_a_door_that_is_open_and_what_is_not_declared_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of the three tests above."""
    monkeypatch.setitem(MATRIX, "clients/", {"GET": MATRIX["clients/"]["GET"]})
    assert mismatches(caller(LETTERS["x"]), "x", ["clients/"]) == ["POST clients/ is offered and not declared"]
    monkeypatch.delitem(MATRIX, "clients/")
    assert set(routes()) - set(MATRIX) == {"clients/"}

    guarded = [route for route, methods in MATRIX.items() if "v" not in methods.get("GET", ("v",))[0]]
    viewer = caller(LETTERS["v"])
    assert mismatches(viewer, "v", guarded) == []
    monkeypatch.setattr(User, "has_perm", lambda *_: True)
    wrong = mismatches(viewer, "v", guarded)
    assert {route for route in guarded if any(each.startswith(f"GET {route}:") for each in wrong)} == set(guarded)


# What a token needs besides its owner's rights: reading, or the area that is written to.
AREAS = {
    "models:write": ("uploads/", "versions/", "models/", "routes/", "guardrails/"),
    "training:write": ("datasets/", "training-jobs/"),
    "reviews:write": ("reviews/", "sheets/"),
    "clients:write": ("clients/", "keys/"),
    "privacy:write": ("consents/", "privacy/"),
    "staff:write": ("staff/",),
    "webhooks:write": ("webhooks/",),
}


PICTURES = (
    "/photographs/<int:part>/", "/heat-maps/<int:part>/", "/similar/<int:number>/", "/golden/<int:number>/",
    "/photograph/", "/heat-map/",
)  # fmt: skip


def scope_of(route: str, method: str) -> str:
    if route in ("audit/export/", "audit/entries/<int:pk>/receipt/"):
        return "audit:export"
    if route.endswith(PICTURES):
        return "photographs:read"
    if method == "GET":
        return "read"
    (area,) = (area for area, beginnings in AREAS.items() if route.startswith(beginnings))
    return area


@pytest.mark.parametrize("scope", Scope.values)
def test_a_token_may_what_its_owner_may_within_its_scope(scope: str) -> None:
    owner = member(Role.ADMINISTRATOR, "owner")
    owner.groups.set(Group.objects.all())
    client = APIClient()
    token = create_token(user=owner, name="narrow", actor=owner, scopes=[scope]).text
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    wrong = [
        f"{method} {route}"
        for route, methods in MATRIX.items()
        for method, (_roles, body) in methods.items()
        if (status_of(client, method, route, body) != 403) != (scope in ("all", scope_of(route, method)))
    ]
    assert wrong == []


def test_every_first_part_of_an_address_says_what_writing_there_needs() -> None:
    assert {route.partition("/")[0] for route in routes()} == WRITING.keys()
    assert needed("GET", "not-declared/") == needed("POST", "not-declared/") == needed("POST", "schema") == Scope.ALL


def test_a_token_that_lacks_a_scope_is_told_which_and_does_nothing() -> None:
    owner = member(Role.ADMINISTRATOR, "owner")
    client = APIClient()
    token = create_token(user=owner, name="looks", actor=owner, scopes=["read"]).text
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    keyed = {"HTTP_IDEMPOTENCY_KEY": "k" * 16}
    for extra in ({}, keyed, keyed):
        refused = client.post("/api/v1/clients/", {"name": "a client"}, **extra)  # type: ignore[arg-type]  # headers
        assert (refused.status_code, refused.json()["reason"]) == (403, "insufficient_scope")
        assert refused.json()["detail"] == "This token lacks the scope clients:write."
    assert not Client.objects.exists()


@pytest.mark.parametrize("scopes", [[], ["admin"]])
def test_a_token_has_scopes_that_there_are(scopes: list[str]) -> None:
    owner = member(Role.VIEWER)
    with pytest.raises(Invalid) as refused:
        create_token(user=owner, name="odd", actor=owner, scopes=scopes)
    assert refused.value.field == "scopes"


def test_without_a_token_every_route_answers_401() -> None:
    client = APIClient()
    answers = {
        (route, method): status_of(client, method, route, body)
        for route, methods in MATRIX.items()
        for method, (_, body) in methods.items()
        if route != "schema"
    }
    assert set(answers.values()) == {401}, answers


def test_every_permission_that_a_role_names_exists() -> None:
    from django.contrib.auth.models import Permission

    known = {f"{app}.{name}" for app, name in Permission.objects.values_list("content_type__app_label", "codename")}
    for role, permissions in PERMISSIONS.items():
        assert permissions <= known, role
        assert Group.objects.get(name=role).permissions.count() == len(permissions)

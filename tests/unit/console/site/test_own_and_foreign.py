"""What belongs to somebody × every role: asked for by whoever it belongs to, and by a colleague of the same role.

Every model says whose its rows are, every address of the REST interface that names something and every list says
whether it is one person's, with what each role may do with its own and with another's, or everybody's whose role may.
One that says neither fails. What is one person's on pages: `test_own_pages`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from django.apps import apps
from django.contrib.admin import site
from rest_framework.serializers import ModelSerializer
from rest_framework.test import APIClient

from console.idempotency.models import Call
from console.site.roles import Role
from console.staff.models import User
from console.staff.services import create_token
from tests.unit.console.people import browser, member
from tests.unit.console.site.test_own_pages import OWNED_PAGES
from tests.unit.console.site.test_permission_matrix import EVERYBODY, LETTERS, MATRIX, routes, url_of
from tests.unit.console.site.things import (
    Thing,
    access_of,
    at,
    decided_by,
    held_by,
    judged_by,
    token_of,
    upload_of,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("consent")]


@dataclass(frozen=True, slots=True)
class Owned:
    """`own` and `foreign`: the answer for the roles that get it; every other role gets 403."""

    make: Callable[[User], Thing]
    own: dict[str, int]
    foreign: dict[str, int]
    body: Any = None
    changes: str = ""  # the roles for which another's is theirs to change


@dataclass(frozen=True, slots=True)
class OwnList:
    """`own` and `foreign`: the roles that see there what is theirs, and what is another's."""

    make: Callable[[User], Thing]
    shows: Callable[[Any], bool]
    own: str
    foreign: str = ""


def all_of(roles: str, status: int) -> dict[str, int]:
    return dict.fromkeys(roles, status)


_BYTES: Final = b"1"
OWNED: Final[dict[tuple[str, str], Owned]] = {
    ("GET", "uploads/<uuid:pk>/"): Owned(upload_of, all_of("mx", 200), all_of("mx", 404)),
    ("PATCH", "uploads/<uuid:pk>/"): Owned(upload_of, all_of("mx", 204), all_of("mx", 404), _BYTES),
    ("DELETE", "uploads/<uuid:pk>/"): Owned(upload_of, all_of("mx", 204), all_of("mx", 404)),
    ("POST", "uploads/<uuid:pk>/finish/"): Owned(upload_of, all_of("mx", 409), all_of("mx", 404)),
    ("POST", "staff/tokens/<str:key_id>/revoke/"): Owned(
        token_of, all_of(EVERYBODY, 200), all_of(EVERYBODY, 404) | all_of("x", 200), {}, changes="x"
    ),
    ("POST", "staff/<int:pk>/end-sessions/"): Owned(access_of, all_of(EVERYBODY, 204), all_of("x", 204), changes="x"),
    # Nobody changes their own access.
    ("POST", "staff/<int:pk>/role/"): Owned(access_of, {}, all_of("x", 200), {"role": "viewer"}, changes="x"),
    ("POST", "staff/<int:pk>/disable/"): Owned(access_of, {}, all_of("x", 200), changes="x"),
    ("POST", "staff/<int:pk>/enable/"): Owned(access_of, {}, all_of("x", 200), changes="x"),
    ("POST", "staff/<int:pk>/reset-access/"): Owned(access_of, {}, all_of("x", 200), changes="x"),
    ("POST", "reviews/<int:pk>/take/"): Owned(held_by, all_of("rx", 200), all_of("rx", 409)),
    ("POST", "reviews/<int:pk>/decide/"): Owned(held_by, all_of("rx", 201), all_of("rx", 409), {"decided": "unsure"}),
    # Giving back what one does not hold is harmless, and does nothing.
    ("POST", "reviews/<int:pk>/give-back/"): Owned(held_by, all_of(EVERYBODY, 204), all_of(EVERYBODY, 204)),
    ("POST", "reviews/<int:pk>/take-back/"): Owned(decided_by, all_of("rx", 200), all_of("rx", 409)),
    ("POST", "sheets/<int:pk>/take-back/"): Owned(judged_by, all_of("rx", 200), all_of("rx", 404)),
}
# What the house has, and no single person: who may is the role's affair (`test_permission_matrix`).
EVERYBODYS: Final = {
    "clients/<int:pk>/", "clients/<int:pk>/keys/", "keys/<str:key_id>/revoke/",
    "staff/<int:pk>/",
    "subjects/<uuid:pk>/", "subjects/<uuid:pk>/predictions/",
    "versions/<int:pk>/", "versions/<int:pk>/golden/<int:number>/", "versions/<int:pk>/approve/",
    "versions/<int:pk>/rollout/", "versions/<int:pk>/retry/", "versions/<int:pk>/retire/",
    "versions/<int:pk>/experiment/", "experiments/<int:pk>/", "models/<str:model>/rollback/",
    "routes/<int:pk>/", "routes/<int:pk>/end/", "guardrails/<int:pk>/seen/",
    "audit/entries/<int:pk>/", "audit/entries/<int:pk>/receipt/",
    "consents/<str:reference>/withdraw/",
    # Any officer goes on with what a colleague began, and the audit trail says who did what.
    "privacy/requests/<int:pk>/", "privacy/requests/<int:pk>/identity/", "privacy/requests/<int:pk>/start/",
    "privacy/requests/<int:pk>/pause/", "privacy/requests/<int:pk>/resume/", "privacy/requests/<int:pk>/extend/",
    "privacy/requests/<int:pk>/refuse/", "privacy/requests/<int:pk>/finish/", "privacy/requests/<int:pk>/lift/",
    "privacy/requests/<int:pk>/export/", "privacy/requests/<int:pk>/certificate/",
    "privacy/requests/<int:pk>/certificate/pdf/",
    "drift/findings/<int:pk>/",
    "predictions/<uuid:pk>/", "predictions/<uuid:pk>/photographs/<int:part>/",
    "predictions/<uuid:pk>/heat-maps/<int:part>/", "predictions/<uuid:pk>/similar/<int:number>/",
    "reviews/<int:pk>/", "reviews/<int:pk>/decisions/", "reviews/<int:pk>/gold/", "reviews/gold/<int:pk>/retire/",
    "datasets/<int:pk>/", "training-jobs/<int:pk>/", "training-jobs/<int:pk>/cancel/",
    "sheets/<int:pk>/", "sheets/<int:pk>/answers/", "sheets/<int:pk>/next/",
    "sheets/<int:pk>/items/<int:number>/photograph/", "sheets/<int:pk>/items/<int:number>/heat-map/",
    "sheets/<int:pk>/items/<int:number>/judge/",
    "webhooks/<int:pk>/", "webhooks/<int:pk>/secret/", "webhooks/<int:pk>/deliveries/", "webhooks/<int:pk>/test/",
    "webhooks/<int:pk>/deliveries/<int:number>/again/", "webhooks/<int:pk>/deliveries/<int:number>/now/",
}  # fmt: skip


# Lists that show each person their own, and those that show the house's.
OWN_LISTS: Final[dict[str, OwnList]] = {
    "staff/tokens/": OwnList(
        token_of, lambda told: any(token["name"] == "nightly" for token in told["results"]), EVERYBODY, foreign="x"
    ),
    "reviews/figures/": OwnList(decided_by, lambda told: told["decisions"] > 0, "rx"),
}
EVERYBODYS_LISTS: Final = {
    "clients/", "keys/", "staff/", "subjects/", "consents/", "versions/", "versions/compare/", "versions/best/",
    "experiments/", "routes/", "routes/then/", "guardrails/", "audit/entries/", "audit/checkpoints/",
    "audit/verification/", "audit/export/", "privacy/requests/", "privacy/retention/", "privacy/record/",
    "drift/findings/", "drift/performance/", "predictions/", "reviews/", "reviews/accuracy/", "reviews/agreement/",
    "reviews/people/", "reviews/gold/", "datasets/", "retraining-proposals/", "retraining-plans/", "training-jobs/",
    "sheets/", "webhooks/", "waiting/", "health/", "traffic/", "schema",
}  # fmt: skip

# Model -> where its own and foreign rows are tried: an address, a page, or nowhere, since none shows them.
NOWHERE: Final = "nowhere"
OF_SOMEBODY: Final = {
    "staff.User": "staff/<int:pk>/reset-access/",
    "staff.User_groups": "staff/<int:pk>/role/",
    "staff.ApiToken": "staff/tokens/<str:key_id>/revoke/",
    "registry.Upload": "uploads/<uuid:pk>/",
    "review.ReviewItem": "reviews/<int:pk>/take/",
    "review.ExpertDecision": "reviews/<int:pk>/take-back/",
    "review.GoldAnswer": "review/reviewitem/<path:object_id>/change/",
    "sheets.SheetAnswer": "sheets/<int:pk>/take-back/",
    "staff.User_user_permissions": NOWHERE,
    "staff.FailedSignIns": NOWHERE,
    "otp_totp.TOTPDevice": NOWHERE,
    "staff.SpentCode": NOWHERE,
    "sessions.Session": NOWHERE,
    "idempotency.Call": NOWHERE,
    "admin.LogEntry": NOWHERE,
    "axes.AccessAttempt": NOWHERE,
    "axes.AccessAttemptExpiration": NOWHERE,
    "axes.AccessFailureLog": NOWHERE,
    "axes.AccessLog": NOWHERE,
}
# Some name who did it; it is the house's all the same.
OF_THE_HOUSE: Final = {
    "auth.Group", "auth.Group_permissions", "auth.Permission", "contenttypes.ContentType", "pulse.Pulse",
    "audit.Entry", "audit.Payload", "audit.Head", "audit.Checkpoint",
    "vault.Subject", "vault.Erased", "vault.Consent", "vault.StoredObject",
    "clients.Client", "clients.ApiKey", "registry.ModelVersion",
    "predictions.Prediction", "predictions.Tally", "predictions.Feedback", "review.GoldItem",
    "datasets.Dataset", "datasets.Proposal", "datasets.Label", "retraining.Plan", "retraining.TrainingJob",
    "sheets.Sheet", "sheets.SheetItem", "rollout.Route", "rollout.Observed", "rollout.Firing", "rollout.Experiment",
    "rollout.PolicyIssue", "rollout.PolicyRecord", "drift.Pending", "drift.Distribution", "drift.Finding",
    "ingest.AppliedEvent", "privacy.PrivacyRequest", "privacy.Erasure", "webhooks.Endpoint", "webhooks.Delivery",
    "retention.Applied",
}  # fmt: skip


def asked(person: User, method: str, address: str, body: Any) -> int:
    """By a script with a token of this person."""
    client = APIClient()
    token = create_token(user=person, name="script", actor=person).text
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    if isinstance(body, bytes):
        return client.generic(
            method, f"/api/v1/{address}", body, content_type="application/offset+octet-stream", HTTP_UPLOAD_OFFSET="0"
        ).status_code
    text = "" if body is None else json.dumps(body)
    return client.generic(method, f"/api/v1/{address}", text, content_type="application/json").status_code


def test_every_address_that_names_something_says_whose_it_is() -> None:
    owned = {route for _method, route in OWNED}
    assert not owned & EVERYBODYS
    assert {route for route in routes() if "<" in route} == owned | EVERYBODYS


def test_every_list_says_whose_it_shows() -> None:
    assert not OWN_LISTS.keys() & EVERYBODYS_LISTS
    listed = {route for route, methods in MATRIX.items() if "<" not in route and "GET" in methods}
    assert listed == OWN_LISTS.keys() | EVERYBODYS_LISTS


def test_every_model_says_whose_its_rows_are() -> None:
    assert not OF_SOMEBODY.keys() & OF_THE_HOUSE
    models = {model._meta.label for model in apps.get_models(include_auto_created=True)}
    assert models == OF_SOMEBODY.keys() | OF_THE_HOUSE
    tried = {route for _method, route in OWNED} | {page for page, _what in OWNED_PAGES}
    assert {place for place in OF_SOMEBODY.values() if place != NOWHERE} <= tried


def test_what_is_shown_nowhere_has_neither_page_nor_document() -> None:
    assert routes()  # every document there is has been imported

    def below(kind: type[Any]) -> Iterator[type[Any]]:
        for inner in kind.__subclasses__():
            yield inner
            yield from below(inner)

    told = {meta.model for kind in below(ModelSerializer) if hasattr(meta := getattr(kind, "Meta", None), "model")}
    shown = {model._meta.label for model in told | site._registry.keys()}
    assert "staff.ApiToken" in shown
    assert shown & {label for label, place in OF_SOMEBODY.items() if place == NOWHERE} == set()


@pytest.mark.parametrize("letter", LETTERS)
def test_each_role_may_what_is_said_with_its_own_and_with_what_is_anothers(letter: str) -> None:
    role = LETTERS[letter]
    wrong = []
    for number, ((method, route), owned) in enumerate(OWNED.items()):
        for whose, expected in (("own", owned.own), ("foreign", owned.foreign)):
            owner = member(role, f"owner-{number}-{whose}")
            who = owner if whose == "own" else member(role, f"other-{number}")
            thing = owned.make(owner)
            before = thing.state()
            nothing = asked(who, method, url_of(route).removeprefix("/api/v1/"), owned.body)
            status = asked(who, method, at(route, thing.key), owned.body)
            if status != expected.get(letter, 403):
                wrong.append(f"{method} {route}: {status} for the {role} and {whose}, not {expected.get(letter, 403)}")
            if whose == "foreign" and status in (403, 404) and status != nothing:
                wrong.append(f"{method} {route}: the {role} hears {status} of another's and {nothing} of what is not")
            may_change = status < 300 and (whose == "own" or letter in owned.changes)
            if not may_change and thing.state() != before:
                wrong.append(f"{method} {route}: {whose} was changed by the {role}, who got {status}")
    assert wrong == []


@pytest.mark.parametrize("letter", LETTERS)
def test_a_list_of_ones_own_shows_no_others(letter: str) -> None:
    role, wrong = LETTERS[letter], []
    for number, (route, listed) in enumerate(OWN_LISTS.items()):
        owner, other = member(role, f"owner-{number}"), member(role, f"other-{number}")
        listed.make(owner)
        for whose, who, roles in (("own", owner, listed.own), ("foreign", other, listed.foreign)):
            for asking in (route, f"{route}?of={owner.username}") if route == "staff/tokens/" else (route,):
                answer = browser(who).get(f"/api/v1/{asking}")
                seen = answer.status_code == 200 and listed.shows(answer.json())
                if answer.status_code != (200 if letter in listed.own else 403) or seen != (letter in roles):
                    wrong.append(f"{asking}: {answer.status_code}, {whose} seen by the {role}: {seen}")
    assert wrong == []


def test_a_key_answers_nobody_but_who_sent_it_first() -> None:
    """Two administrators by one Idempotency-Key: two persons are hired, and neither hears the other's secret."""
    told = []
    for name in ("one", "other"):
        answer = browser(member(Role.ADMINISTRATOR, name)).post(
            "/api/v1/staff/tokens/",
            {"name": "nightly", "scopes": ["read"]},
            content_type="application/json",
            headers={"Idempotency-Key": "k" * 16},
        )
        assert (answer.status_code, answer.has_header("Idempotency-Replayed")) == (201, False)
        told.append(answer.json()["token"])
    assert told[0] != told[1]
    assert Call.objects.values("caller").distinct().count() == 2

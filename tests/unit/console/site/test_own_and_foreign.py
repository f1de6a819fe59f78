"""What belongs to somebody × every role: asked for by whoever it belongs to, and by a colleague of the same role.

Every address of the REST interface that names something says whose it is: one person's, with what each role may do
with its own and with another's, or everybody's whose role may. An address that says neither fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from django.contrib.auth.models import Permission
from django.utils.timezone import now
from rest_framework.test import APIClient

from console.registry.models import Upload
from console.review import services as review
from console.review.models import Decided, ExpertDecision
from console.review.services import HOLD, Decision
from console.sheets.models import Kind, Sheet, SheetAnswer, SheetItem
from console.staff.models import ApiToken, User
from console.staff.services import create_token
from tests.unit.console import shop
from tests.unit.console.people import browser, member
from tests.unit.console.site.test_permission_matrix import EVERYBODY, LETTERS, routes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("consent")]


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that belongs to a person."""

    address: str
    state: Callable[[], Any]  # what nobody but its owner may change


@dataclass(frozen=True, slots=True)
class Owned:
    """`own` and `foreign`: the answer for the roles that get it; every other role gets 403."""

    make: Callable[[User], Thing]
    own: dict[str, int]
    foreign: dict[str, int]
    body: Any = None
    changes: str = ""  # the roles for which another's is theirs to change


def upload_of(person: User) -> Thing:
    made = Upload.objects.create(filename="a.mar", size_bytes=9, sha256="0" * 64, created_by=person)
    return Thing(f"uploads/{made.pk}/", lambda: list(Upload.objects.values_list("pk", "offset_bytes")))


def upload_to_finish(person: User) -> Thing:
    thing = upload_of(person)
    return Thing(f"{thing.address}finish/", thing.state)


def token_of(person: User) -> Thing:
    token = create_token(user=person, name="nightly", actor=person).token
    return Thing(
        f"staff/tokens/{token.key_id}/revoke/", lambda: ApiToken.objects.values_list("revoked_at").get(pk=token.pk)
    )


def access_of(what: str) -> Callable[[User], Thing]:
    def make(person: User) -> Thing:
        return Thing(
            f"staff/{person.pk}/{what}/",
            lambda: User.objects.values_list("is_active", "sessions_round", "password", "groups").get(pk=person.pk),
        )

    return make


def held_by(person: User, what: str) -> Thing:
    item = shop.queued()
    rows = type(item).objects.filter(pk=item.pk)
    rows.update(held_by=person, held_since=now(), held_until=now() + HOLD)
    return Thing(f"reviews/{item.pk}/{what}/", lambda: rows.values_list("held_by", "state", "rounds").get())


def decided_by(person: User) -> Thing:
    item = shop.queued()
    lent = Permission.objects.get(codename="decide_reviewitem")
    person.user_permissions.add(lent)  # they decided it before they had the role that they have now
    expert = User.objects.get(pk=person.pk)
    review.take(actor=expert, item_id=item.pk)
    review.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.UNSURE))
    person.user_permissions.remove(lent)
    return Thing(f"reviews/{item.pk}/take-back/", lambda: list(ExpertDecision.objects.values_list("pk", "expert")))


def judged_by(person: User) -> Thing:
    sheet = Sheet.objects.create(kind=Kind.SYNTHETIC, sha256=str(person.pk).zfill(64), size=2, imported_by=person)
    items = [
        SheetItem.objects.create(sheet=sheet, number=number, name="", photo=b"", predicted="a") for number in (1, 2)
    ]
    SheetAnswer.objects.create(item=items[0], expert=person, verdict="unsure", problems=[], note="")
    return Thing(f"sheets/{sheet.pk}/take-back/", lambda: list(SheetAnswer.objects.values_list("pk", "expert")))


def all_of(roles: str, status: int) -> dict[str, int]:
    return dict.fromkeys(roles, status)


_BYTES: Final = b"1"
OWNED: Final[dict[tuple[str, str], Owned]] = {
    ("GET", "uploads/<uuid:pk>/"): Owned(upload_of, all_of("mx", 200), all_of("mx", 404)),
    ("PATCH", "uploads/<uuid:pk>/"): Owned(upload_of, all_of("mx", 204), all_of("mx", 404), _BYTES),
    ("DELETE", "uploads/<uuid:pk>/"): Owned(upload_of, all_of("mx", 204), all_of("mx", 404)),
    ("POST", "uploads/<uuid:pk>/finish/"): Owned(upload_to_finish, all_of("mx", 409), all_of("mx", 404)),
    ("POST", "staff/tokens/<str:key_id>/revoke/"): Owned(
        token_of, all_of(EVERYBODY, 200), all_of("x", 200), {}, changes="x"
    ),
    ("POST", "staff/<int:pk>/end-sessions/"): Owned(
        access_of("end-sessions"), all_of(EVERYBODY, 204), all_of("x", 204), changes="x"
    ),
    # Nobody changes their own access.
    ("POST", "staff/<int:pk>/role/"): Owned(access_of("role"), {}, all_of("x", 200), {"role": "viewer"}, changes="x"),
    ("POST", "staff/<int:pk>/disable/"): Owned(access_of("disable"), {}, all_of("x", 200), changes="x"),
    ("POST", "staff/<int:pk>/enable/"): Owned(access_of("enable"), {}, all_of("x", 200), changes="x"),
    ("POST", "staff/<int:pk>/reset-access/"): Owned(access_of("reset-access"), {}, all_of("x", 200), changes="x"),
    ("POST", "reviews/<int:pk>/take/"): Owned(
        lambda person: held_by(person, "take"), all_of("rx", 200), all_of("rx", 409)
    ),
    ("POST", "reviews/<int:pk>/decide/"): Owned(
        lambda person: held_by(person, "decide"), all_of("rx", 201), all_of("rx", 409), {"decided": "unsure"}
    ),
    # Giving back what one does not hold is harmless, and does nothing.
    ("POST", "reviews/<int:pk>/give-back/"): Owned(
        lambda person: held_by(person, "give-back"), all_of(EVERYBODY, 204), all_of(EVERYBODY, 204)
    ),
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
    "webhooks/<int:pk>/", "webhooks/<int:pk>/secret/", "webhooks/<int:pk>/deliveries/",
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
            status = asked(who, method, thing.address, owned.body)
            if status != expected.get(letter, 403):
                wrong.append(f"{method} {route}: {status} for the {role} and {whose}, not {expected.get(letter, 403)}")
            may_change = status < 300 and (whose == "own" or letter in owned.changes)
            if not may_change and thing.state() != before:
                wrong.append(f"{method} {route}: {whose} was changed by the {role}, who got {status}")
    assert wrong == []


@pytest.mark.parametrize("letter", LETTERS)
def test_the_pages_of_tokens_show_and_end_ones_own_and_no_others(letter: str, static_files: None) -> None:
    owner, other = member(LETTERS[letter], "owner"), member(LETTERS[letter], "other")
    token = create_token(user=owner, name="nightly", actor=owner).token
    page = f"/admin/staff/apitoken/{token.pk}"
    listed = "nightly" in browser(other).get("/admin/staff/apitoken/").content.decode()
    shown = browser(other).get(f"{page}/change/").status_code == 200
    assert (listed, shown) == (letter == "x", letter == "x")
    browser(other).post(f"{page}/revoke/")
    token.refresh_from_db()
    assert (token.revoked_at is not None) == (letter == "x")
    if letter != "x":
        assert browser(owner).get(f"{page}/change/").status_code == 200
        browser(owner).post(f"{page}/revoke/")
        token.refresh_from_db()
        assert token.revoked_at is not None

"""A POST that is sent again is done once and answered twice; a key never answers for another call or another caller."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now
from rest_framework.test import APIClient

from console.clients.models import ApiKey, Client
from console.idempotency import services
from console.idempotency.models import Call
from console.retention import services as retention
from console.site.roles import Role
from console.staff.models import ApiToken, User
from console.staff.services import create_token, set_role
from tests.unit.console.people import caller, member

pytestmark = pytest.mark.django_db
KEY = "6b1f8a52-9c1e-4e3b-8d65-0f3b0a1c7e11"
A_CLIENT = {"name": "a client"}


def post(script: APIClient, path: str, body: Any, key: str = KEY) -> Any:
    return script.post(f"/api/v1/{path}", body, HTTP_IDEMPOTENCY_KEY=key)


@pytest.fixture
def script() -> APIClient:
    return caller(Role.ADMINISTRATOR)


def test_the_same_call_is_done_once_and_answered_alike(script: APIClient) -> None:
    first, second = post(script, "clients/", A_CLIENT), post(script, "clients/", A_CLIENT)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second["Content-Type"] == first["Content-Type"]
    assert (first.has_header("Idempotency-Replayed"), second["Idempotency-Replayed"]) == (False, "true")
    assert Client.objects.count() == 1


def test_a_secret_is_answered_again_and_stands_in_no_table(script: APIClient) -> None:
    made = post(script, "clients/", A_CLIENT, "k" * 16).json()
    first = post(script, f"clients/{made['id']}/keys/", {})
    assert post(script, f"clients/{made['id']}/keys/", {}).json() == first.json()
    assert ApiKey.objects.count() == 1
    rows = b"".join(bytes(call.sealed) for call in Call.objects.all())
    assert first.json()["key"].encode() not in rows
    assert KEY.encode() not in b"".join(bytes(call.key_digest) for call in Call.objects.all())


def test_whoever_guesses_what_was_sent_learns_from_no_table_that_it_was(script: APIClient) -> None:
    post(script, "clients/", A_CLIENT)
    (call,) = Call.objects.all()
    body, path = json.dumps(A_CLIENT, separators=(",", ":")).encode(), b"/api/v1/clients/"
    kept = bytes(call.call_digest)
    guesses = [body, path + body, b"0\0" + path + b"\0" + body]
    keyless = [hashlib.sha256(guess).digest() for guess in guesses]
    known = [bytes(call.key_digest), str(call.pk).encode(), str(call.caller_id).encode()]
    assert kept not in keyless
    assert kept not in [hmac.digest(key, guess, "sha256") for guess in guesses for key in known]
    assert kept == hmac.digest(hashlib.sha256(b"call\0" + KEY.encode()).digest(), guesses[2], "sha256")


def test_another_call_under_the_same_key_is_refused(script: APIClient) -> None:
    post(script, "clients/", A_CLIENT)
    refused = post(script, "clients/", {"name": "another"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "key_reused")
    assert refused["Content-Type"] == "application/problem+json"
    assert post(script, "uploads/", A_CLIENT).status_code == 409
    assert Client.objects.count() == 1


def test_who_has_another_role_is_not_told_again_what_they_might_do_before() -> None:
    """The answer that was lost on its way lets somebody in: the key of a client, a new person's password."""
    person, boss = member(Role.ADMINISTRATOR, "before"), member(Role.ADMINISTRATOR)

    def asked() -> Any:
        script = APIClient()
        token = create_token(user=User.objects.get(pk=person.pk), name="script", actor=boss).text
        script.credentials(HTTP_AUTHORIZATION=f"Token {token}")
        return post(script, "staff/", {"name": "hired", "role": "administrator"})

    told = asked()
    assert asked().json() == told.json()
    set_role(actor=boss, user_id=person.pk, role="viewer")
    refused = asked()
    assert refused.status_code == 409
    assert told.json()["password"] not in refused.content.decode()


def test_a_key_is_its_callers_own(script: APIClient) -> None:
    post(script, "clients/", A_CLIENT)
    assert post(caller(Role.VIEWER), "clients/", A_CLIENT).status_code == 403


def test_who_may_call_no_more_is_answered_nothing(script: APIClient) -> None:
    post(script, "clients/", A_CLIENT)
    ApiToken.objects.update(revoked_at=now())
    assert post(script, "clients/", A_CLIENT).status_code == 401
    assert post(APIClient(), "clients/", A_CLIENT).status_code == 401


def test_what_was_refused_may_be_tried_again(script: APIClient) -> None:
    Client.objects.create(name="a client")
    assert post(script, "clients/", A_CLIENT).status_code == 409
    Client.objects.all().delete()
    assert post(script, "clients/", A_CLIENT).status_code == 201


def test_a_call_whose_end_nobody_knows_is_not_done_again(script: APIClient) -> None:
    post(script, "clients/", A_CLIENT)
    Call.objects.update(status=None, sealed=b"")
    refused = post(script, "clients/", A_CLIENT)
    assert (refused.status_code, refused.json()["reason"]) == (409, "not_answered")


@pytest.mark.parametrize("key", ["short", "k" * 129, "ก" * 20])
def test_an_unfit_key_is_refused(script: APIClient, key: str) -> None:
    refused = post(script, "clients/", A_CLIENT, key.encode().decode("latin-1"))
    assert (refused.status_code, refused.json()["field"]) == (400, "Idempotency-Key")
    assert not Client.objects.exists()


def test_old_keys_are_forgotten(script: APIClient) -> None:
    post(script, "clients/", A_CLIENT)
    Call.objects.update(begun_at=now() - timedelta(hours=23))
    assert services.tidy(at=now()) == 0
    Call.objects.update(begun_at=now() - timedelta(hours=25))
    assert services.tidy(at=now()) == 1


def test_a_clock_that_is_set_a_day_on_does_no_call_twice(
    script: APIClient, clock_was_set: Callable[[timedelta], None]
) -> None:
    post(script, "clients/", A_CLIENT)
    Call.objects.update(begun_at=now() - timedelta(hours=25))  # an hour ago, and the clock was set
    clock_was_set(timedelta(days=1))
    retention.apply_due(at=now())
    assert post(script, "clients/", A_CLIENT)["Idempotency-Replayed"] == "true"
    assert Client.objects.count() == 1


def test_nor_one_that_is_set_back(script: APIClient, clock_was_set: Callable[[timedelta], None]) -> None:
    post(script, "clients/", A_CLIENT)
    Call.objects.update(begun_at=now() + timedelta(hours=23))  # an hour ago, and the clock was set back
    clock_was_set(-timedelta(days=1))
    retention.apply_due(at=now())
    assert post(script, "clients/", A_CLIENT)["Idempotency-Replayed"] == "true"

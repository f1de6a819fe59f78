"""Clients and keys: shown once, digested, revoked, audited; and the same through the REST interface."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.audit.queries import entries_about
from console.clients import services
from console.clients.models import ApiKey, Client
from console.errors import Conflict, Invalid, NotAllowed, NotFound
from console.site.roles import Role
from console.staff.models import User
from tests.unit.console.people import caller, member

pytestmark = pytest.mark.django_db


@pytest.fixture
def suda() -> User:
    return member(Role.ADMINISTRATOR)


@pytest.fixture
def shop(suda: User) -> Client:
    return services.create_client(actor=suda, name="web-shop")


def test_a_key_has_the_agreed_form_and_only_its_digest_is_kept(suda: User, shop: Client) -> None:
    issued = services.create_key(actor=suda, client_id=shop.pk)
    assert re.fullmatch(r"amk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", issued.text)
    secret = settings.AMULET.key_secret_file.read_bytes()
    stored = ApiKey.objects.get()
    assert bytes(stored.digest) == hmac.digest(secret, issued.text.encode(), hashlib.sha256)
    assert issued.text.split("_")[1] == stored.key_id
    assert issued.text not in repr(issued)
    assert not any(issued.text in entry.payload.text for entry in entries_about("client", str(shop.client_id)))


def test_a_revoked_key_stays_revoked_and_listed(suda: User, shop: Client) -> None:
    issued = services.create_key(actor=suda, client_id=shop.pk)
    first = services.revoke_key(actor=suda, key_id=issued.key.key_id)
    again = services.revoke_key(actor=suda, key_id=issued.key.key_id)
    assert first.revoked_at == again.revoked_at is not None
    assert [entry.type for entry in entries_about("client", str(shop.client_id))] == [
        "clients.client_created",
        "clients.key_created",
        "clients.key_revoked",
    ]


def test_a_key_that_would_expire_in_the_past_is_refused(suda: User, shop: Client) -> None:
    with pytest.raises(Invalid) as refused:
        services.create_key(actor=suda, client_id=shop.pk, expires_at=now() - timedelta(seconds=1))
    assert refused.value.field == "expires_at"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a", "calls_per_minute": 0}, "calls_per_minute"),
        ({"name": "a", "calls_per_minute": 1_000_001}, "calls_per_minute"),
        ({"name": "a", "models": [""]}, "models"),
    ],
)
def test_an_unfit_client_names_its_field(suda: User, given: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        services.create_client(actor=suda, **given)  # type: ignore[arg-type]  # a table of wrong values
    assert refused.value.field == field


def test_names_are_given_once(suda: User, shop: Client) -> None:
    with pytest.raises(Conflict):
        services.create_client(actor=suda, name=shop.name)


def test_what_is_not_there_is_not_found(suda: User) -> None:
    with pytest.raises(NotFound):
        services.create_key(actor=suda, client_id=4711)
    with pytest.raises(NotFound):
        services.revoke_key(actor=suda, key_id="000000000000")


def test_others_change_nothing(suda: User, shop: Client) -> None:
    key = services.create_key(actor=suda, client_id=shop.pk).key
    malee = member(Role.MODEL_ENGINEER)
    with pytest.raises(NotAllowed):
        services.create_client(actor=malee, name="mine")
    with pytest.raises(NotAllowed):
        services.revoke_key(actor=malee, key_id=key.key_id)


def test_a_client_and_its_key_through_rest() -> None:
    script = caller(Role.ADMINISTRATOR)
    made = script.post("/api/v1/clients/", {"name": "web-shop", "calls_per_minute": 7, "models": ["tiny"]})
    assert made.status_code == 201
    client = made.json()
    assert (client["calls_per_minute"], client["models"]) == (7, ["tiny"])
    key = script.post(f"/api/v1/clients/{client['id']}/keys/").json()
    assert key["key"].startswith(f"amk_{key['key_id']}_")
    changed = script.put(f"/api/v1/clients/{client['id']}/", {"calls_per_minute": 9, "models": []}).json()
    assert (changed["calls_per_minute"], changed["models"]) == (9, [])
    revoked = script.post(f"/api/v1/keys/{key['key_id']}/revoke/")
    assert revoked.json()["revoked_at"] is not None
    listed = script.get("/api/v1/clients/").json()["results"][0]
    assert "digest" not in listed["keys"][0]
    assert key["key"] not in str(listed)


def test_a_wrong_value_through_rest_names_its_field() -> None:
    answer = caller(Role.ADMINISTRATOR).post("/api/v1/clients/", {"name": "a", "calls_per_minute": 0})
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["field"] == "calls_per_minute"


def test_the_list_costs_the_same_however_long_it_is(
    suda: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        client = services.create_client(actor=suda, name=f"client {number}")
        services.create_key(actor=suda, client_id=client.pk)
    script = caller(Role.ADMINISTRATOR)
    with django_assert_max_num_queries(6):  # token, two for its permissions, count, clients, keys
        assert len(script.get("/api/v1/clients/").json()["results"]) == 30


@pytest.mark.parametrize("name", ["ร้านพระเครื่องท่าพระจันทร์", "น้ำทิพย์ สาขา 2", "web-shop", "ก@b.c/d+e"])
def test_a_client_may_have_a_thai_name(suda: User, name: str) -> None:
    """Vowels above and below, and tones, are no letters to a regular expression."""
    assert services.create_client(actor=suda, name=name).name == name


@pytest.mark.parametrize("name", ["", " shop", "ิร้าน", "shop\u0301", "shop\n", "<shop>"])
def test_a_name_that_reads_as_another_one_is_refused(suda: User, name: str) -> None:
    with pytest.raises(Invalid) as refused:
        services.create_client(actor=suda, name=name)
    assert refused.value.field == "name"

"""The pages of one API key and of one token for scripts: what it is, whether it lets in, and how it ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client as Browser
from django.urls import reverse
from django.utils.timezone import now

from console.clients import queries
from console.clients import services as clients
from console.clients.models import ApiKey
from console.site.roles import Role
from console.staff.models import ApiToken, User
from console.staff.scopes import Scope
from console.staff.services import create_token, revoke_token, set_active
from tests.unit.console.people import browser, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


@pytest.fixture
def suda() -> User:
    return member(Role.ADMINISTRATOR)


@pytest.fixture
def issued(suda: User) -> clients.IssuedKey:
    client = clients.create_client(actor=suda, name="web-shop", calls_per_minute=50, models=["coins"])
    return clients.create_key(actor=suda, client_id=client.pk)


def read(desk: Browser, address: str, language: str = "en") -> str:
    answered = desk.get(address, headers={"Accept-Language": language})
    assert answered.status_code == 200
    return answered.content.decode()


def of_key(key: ApiKey) -> str:
    return reverse("admin:clients_apikey_change", args=[key.pk])


def of_token(token: ApiToken) -> str:
    return reverse("admin:staff_apitoken_change", args=[token.pk])


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Programs of web-shop that show it are let in.", "Calls a minute at most", "by suda")),
        ("th", ("โปรแกรมของ web-shop ที่แสดงคีย์นี้เรียกใช้ได้", "เรียกได้สูงสุดต่อนาที", "โดย suda")),
    ],
)
def test_a_keys_page_says_what_it_is_and_never_its_text(
    issued: clients.IssuedKey, suda: User, language: str, words: tuple[str, ...]
) -> None:
    page = read(browser(suda), of_key(issued.key), language)
    assert [word for word in (*words, str(issued.key), "coins", "50") if word not in page] == []
    assert issued.text not in page
    assert issued.text.split("_", 2)[2] not in page


def test_a_keys_page_leads_to_its_end_for_who_may_end_it(issued: clients.IssuedKey, suda: User) -> None:
    revoke = reverse("admin:clients_apikey_revoke", args=[issued.key.pk])
    assert revoke in read(browser(suda), of_key(issued.key))
    assert revoke not in read(browser(member(Role.MODEL_ENGINEER)), of_key(issued.key))
    clients.revoke_key(actor=suda, key_id=issued.key.key_id)
    page = read(browser(suda), of_key(issued.key))
    assert revoke not in page
    assert "are refused, for good." in page
    assert page.index("API key created") < page.index("API key revoked")


def test_a_key_whose_day_has_come_is_said_to_be_expired(issued: clients.IssuedKey, suda: User) -> None:
    ApiKey.objects.update(expires_at=now() - timedelta(seconds=1))
    assert "Its day has come" in read(browser(suda), of_key(issued.key))


def test_the_trail_on_a_keys_page_is_that_keys_alone(issued: clients.IssuedKey, suda: User) -> None:
    other = clients.create_key(actor=suda, client_id=issued.key.client_id)
    clients.revoke_key(actor=suda, key_id=other.key.key_id)
    assert "API key revoked" not in read(browser(suda), of_key(issued.key))


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.MODEL_ENGINEER])
def test_the_trail_is_a_link_only_for_who_may_open_it(issued: clients.IssuedKey, suda: User, role: Role) -> None:
    entry = reverse("admin:audit_entry_change", args=[queries.told_of(issued.key).get().pk])
    may_open = role is Role.ADMINISTRATOR
    assert (entry in read(browser(suda if may_open else member(role)), of_key(issued.key))) is may_open


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Scripts that show it act as anong", "look at everything that its owner may see", "viewer")),
        ("th", ("สคริปต์ที่แสดงโทเคนนี้ทำงานในนามของ anong", "ดูทุกอย่างที่เจ้าของโทเคนดูได้", "ผู้ชม")),
    ],
)
def test_a_tokens_page_says_whose_it_is_and_what_for(language: str, words: tuple[str, ...]) -> None:
    anong = member(Role.VIEWER)
    made = create_token(user=anong, name="nightly", actor=anong, scopes=[Scope.READ])
    page = read(browser(anong), of_token(made.token), language)
    assert [word for word in (*words, "nightly", made.token.key_id) if word not in page] == []
    assert made.text not in page
    assert reverse("admin:staff_apitoken_revoke", args=[made.token.pk]) in page


def test_a_tokens_page_shows_what_was_made_with_it_and_where_it_comes_from() -> None:
    anong = member(Role.VIEWER)
    first = create_token(user=anong, name="first-one", actor=anong).token
    second = create_token(user=anong, name="second-one", actor=anong, asked_with=first).token
    desk = browser(anong)
    assert of_token(second) in read(desk, of_token(first))
    assert of_token(first) in read(desk, of_token(second))


def test_a_revoked_token_says_so_and_a_disabled_persons_is_stopped(suda: User) -> None:
    anong = member(Role.VIEWER)
    token = create_token(user=anong, name="nightly", actor=anong).token
    set_active(actor=suda, user_id=anong.pk, active=False)
    ApiToken.objects.filter(pk=token.pk).update(revoked_at=None)
    assert "anong is disabled: scripts that show it are refused" in read(browser(suda), of_token(token))
    revoke_token(key_id=token.key_id, actor=suda)
    page = read(browser(suda), of_token(token))
    assert "Scripts that show it are refused, for good." in page
    assert reverse("admin:staff_apitoken_revoke", args=[token.pk]) not in page


def test_nobody_opens_the_page_of_anothers_token_without_a_right_to_it() -> None:
    token = create_token(user=member(Role.VIEWER), name="nightly", actor=None).token
    assert browser(member(Role.REVIEWER)).get(of_token(token)).status_code == 404

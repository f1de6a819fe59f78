"""Two people change one client: who saves second overwrites nothing that they have not seen."""

from __future__ import annotations

import re

import pytest
from drf_spectacular.generators import SchemaGenerator

from console.clients import queries, services
from console.clients.models import Client
from console.errors import Outdated
from console.site.roles import Role
from console.staff.models import User
from tests.unit.console.people import browser, caller, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
SEEN = re.compile(r'name="seen"[^>]*value="(\d+)"|value="(\d+)"[^>]*name="seen"')


@pytest.fixture
def suda() -> User:
    return member(Role.ADMINISTRATOR)


@pytest.fixture
def shop(suda: User) -> Client:
    return services.create_client(actor=suda, name="web-shop", calls_per_minute=100)


def seen_on(page: str) -> str:
    found = SEEN.search(page)
    assert found is not None
    return found[1] or found[2]


def terms_of(client: Client) -> tuple[int, list[str]]:
    client.refresh_from_db()
    return client.calls_per_minute, client.model_names


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "calls a minute 100 → 500; models all → tablets. Nothing of yours was saved."),
        ("th", "จำนวนครั้งต่อนาที 100 → 500; โมเดล ทั้งหมด → tablets ยังไม่ได้บันทึกสิ่งที่คุณแก้ไข"),
    ],
)
def test_a_page_from_before_a_change_is_refused_and_says_what_changed(
    suda: User, shop: Client, language: str, told: str
) -> None:
    person, address = browser(suda), f"/admin/clients/client/{shop.pk}/change/"
    headers = {"accept-language": language}
    old = seen_on(person.get(address, headers=headers).content.decode())
    services.change_client(actor=suda, client_id=shop.pk, calls_per_minute=500, models=["tablets"])

    typed = {"calls_per_minute": "9", "models": "coins", "seen": old}
    refused = person.post(address, typed, headers=headers)
    page = refused.content.decode()
    assert refused.status_code == 200
    assert told in page
    assert f"{suda}, " in page
    assert terms_of(shop) == (500, ["tablets"])
    assert 'value="9"' in page  # what was typed stays
    assert 'value="coins"' in page

    saved = person.post(address, typed | {"seen": seen_on(page)}, headers=headers)
    assert saved.status_code == 302
    assert terms_of(shop) == (9, ["coins"])


def test_a_page_that_nobody_was_faster_than_is_saved(suda: User, shop: Client) -> None:
    person, address = browser(suda), f"/admin/clients/client/{shop.pk}/change/"
    seen = seen_on(person.get(address).content.decode())
    services.create_client(actor=suda, name="another")
    assert person.post(address, {"calls_per_minute": "9", "models": "", "seen": seen}).status_code == 302
    assert terms_of(shop) == (9, [])


def test_the_service_refuses_what_was_meant_for_another_state(suda: User, shop: Client) -> None:
    seen = queries.revision(shop)
    for calls in (1, 2, 3, 4):
        services.change_client(actor=suda, client_id=shop.pk, calls_per_minute=calls, models=[])
    with pytest.raises(Outdated) as refused:
        services.change_client(actor=suda, client_id=shop.pk, calls_per_minute=9, models=[], seen=seen)
    assert "…" in refused.value.message
    assert "3 → 4" in refused.value.message
    assert "100 → 1" not in refused.value.message  # the newest three
    assert terms_of(shop) == (4, [])


def test_a_script_that_says_what_it_saw_overwrites_nothing_else(shop: Client) -> None:
    script, address = caller(Role.ADMINISTRATOR), f"/api/v1/clients/{shop.pk}/"
    seen = script.get(address)["ETag"]
    first = script.put(address, {"calls_per_minute": 7, "models": []}, headers={"If-Match": seen})
    assert (first.status_code, first["ETag"] == seen) == (200, False)
    second = script.put(address, {"calls_per_minute": 8, "models": []}, headers={"If-Match": seen})
    assert (second.status_code, second.json()["reason"]) == (412, "changed_meanwhile")
    assert "calls a minute 100 → 7" in second.json()["detail"]
    assert terms_of(shop) == (7, [])
    again = script.put(address, {"calls_per_minute": 8, "models": []}, headers={"If-Match": f'"x", {first["ETag"]}'})
    assert again.status_code == 200


def test_a_new_key_changes_what_a_script_saw(shop: Client) -> None:
    script, address = caller(Role.ADMINISTRATOR), f"/api/v1/clients/{shop.pk}/"
    seen = script.get(address)["ETag"]
    script.post(f"{address}keys/")
    refused = script.put(address, {"calls_per_minute": 8, "models": []}, headers={"If-Match": seen})
    assert refused.status_code == 412
    assert "key created" in refused.json()["detail"]


@pytest.mark.parametrize("named", ['"other"', 'W/"{}"', "7", '"99999999999999999999"'])
def test_what_is_no_validator_of_ours_matches_nothing(shop: Client, named: str) -> None:
    script, address = caller(Role.ADMINISTRATOR), f"/api/v1/clients/{shop.pk}/"
    header = named.format(queries.revision(shop))
    refused = script.put(address, {"calls_per_minute": 8, "models": []}, headers={"If-Match": header})
    assert refused.status_code == 412
    assert terms_of(shop) == (100, [])


@pytest.mark.parametrize("headers", [{}, {"If-Match": "*"}])
def test_a_script_that_does_not_say_is_not_asked(shop: Client, headers: dict[str, str]) -> None:
    script = caller(Role.ADMINISTRATOR)
    changed = script.put(f"/api/v1/clients/{shop.pk}/", {"calls_per_minute": 8, "models": []}, headers=headers)
    assert changed.status_code == 200


def test_the_document_says_so() -> None:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # no annotations
    of_client = document["paths"]["/api/v1/clients/{id}/"]
    assert "ETag" in of_client["get"]["responses"]["200"]["headers"]
    assert "If-Match" in [each["name"] for each in of_client["put"]["parameters"]]
    assert "412" in of_client["put"]["responses"]
    assert "412" not in of_client["get"]["responses"]

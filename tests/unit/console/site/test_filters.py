"""What a page's list can be narrowed by, a script can narrow the list of the REST interface by too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

import pytest
from django.contrib import admin
from django.contrib.admin import FieldListFilter
from django.contrib.admin.utils import get_fields_from_path
from django.test import RequestFactory
from django.urls import get_resolver
from django.utils.timezone import now
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from console.audit.models import Entry
from console.clients.models import ApiKey, Client
from console.clients.services import create_client, create_key
from console.pages import BOXES_MAX, ReadOnlyAdmin
from console.privacy.services import receive
from console.registry.models import ModelVersion, State
from console.sheets.models import Kind, Sheet
from console.site.roles import Role
from console.staff.models import User
from console.staff.services import create_token
from console.webhooks.models import Delivery, Endpoint
from console.webhooks.models import State as Sent
from tests.unit.console.people import browser, caller, member
from tests.unit.console.shop import OWNER, REFERENCE, agreed
from tests.unit.console.versions import a_version

OF_ITS_ADDRESS: Final = "{id}"  # what the address of the list says already


class Rest(NamedTuple):
    """The list of the REST interface, and for each filter or column of the page's search the name of its filter."""

    path: str
    named: Mapping[str, str]


PAGES: Final[Mapping[str, Rest]] = {
    "audit.entry": Rest("audit/entries/", {"type": "type", "recorded_at": "since", "?": "subject_id"}),
    "clients.apikey": Rest("keys/", {"client__name": "client", "?": "search"}),
    "clients.client": Rest("clients/", {"?": "search"}),
    "datasets.dataset": Rest("datasets/", {"model": "model", "?": "fingerprint"}),
    "drift.finding": Rest(
        "drift/findings/",
        {"outcome": "outcome", "against": "against", "model": "model", "version": "version", "client": "client"},
    ),
    "predictions.prediction": Rest(
        "predictions/",
        {
            "verdict": "verdict", "top_class": "class_id", "version": "version", "client_id": "client_id",
            "happened_at": "since", "?": "request_id",
        },
    ),
    "privacy.privacyrequest": Rest(
        "privacy/requests/", {"state": "state", "kind": "kind", "laws": "laws", "?": "subject"}
    ),
    "registry.modelversion": Rest("versions/", {"state": "state", "model": "model", "?": "search"}),
    "retraining.trainingjob": Rest("training-jobs/", {"state": "state"}),
    "review.reviewitem": Rest("reviews/", {"state": "state", "why": "why", "with_photograph": "with_photograph"}),
    "rollout.experiment": Rest("experiments/", {"outcome": "outcome", "measure": "measure"}),
    "rollout.route": Rest("routes/", {"model": "model", "mode": "mode", "ended_at": "ended"}),
    "sheets.sheet": Rest("sheets/", {"kind": "kind"}),
    "staff.apitoken": Rest("staff/tokens/", {"user__username": "of", "?": "search"}),
    "staff.user": Rest("staff/", {"?": "search"}),
    "vault.consent": Rest("consents/", {"purpose": "purpose", "?": "subject"}),
    "vault.subject": Rest("subjects/", {"?": "subject"}),
    "webhooks.delivery": Rest("webhooks/{id}/deliveries/", {"endpoint": OF_ITS_ADDRESS, "state": "state"}),
}  # fmt: skip


def filters_of(page: Any) -> set[str]:
    """Names of what a page's list can be narrowed by; its search as "?"."""
    found = {"?"} if page.search_fields else set()
    for each in page.list_filter:
        match each:
            case str():
                found.add(each)
            case (name, _kind):
                found.add(name)
            case kind:
                found.add(kind.column)
    return found


def test_every_filter_of_a_page_has_one_by_rest() -> None:
    narrowed = {
        model._meta.label_lower: filters_of(page)
        for model, page in admin.site._registry.items()
        if model.__module__.startswith("console.") and filters_of(page)
    }
    assert {name: set(rest.named) for name, rest in PAGES.items()} == narrowed
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    for name, rest in PAGES.items():
        parameters = {each["name"] for each in document["paths"][f"/api/v1/{rest.path}"]["get"]["parameters"]}
        wanted = {each for each in rest.named.values() if each != OF_ITS_ADDRESS}
        assert wanted <= parameters, name


def read_only_pages() -> list[ReadOnlyAdmin]:
    get_resolver().url_patterns  # noqa: B018 - with the addresses the pages are registered
    return [page for page in admin.site._registry.values() if isinstance(page, ReadOnlyAdmin)]


def parameters_of(page: ReadOnlyAdmin) -> set[str]:
    """What the filters of a page ask in an address, by their own word."""
    request, found = RequestFactory().get("/"), set()
    request.user = member(Role.ADMINISTRATOR, f"asks-{page.model._meta.label_lower}")
    for each in page.list_filter:
        if isinstance(each, type):
            found.add(str(each.parameter_name))
            continue
        path, kind = (each, FieldListFilter.create) if isinstance(each, str) else each
        made = kind(get_fields_from_path(page.model, path)[-1], request, {}, page.model, page, field_path=path)
        found.update(name for name in made.expected_parameters() if name)
    return found


@pytest.mark.django_db
def test_a_list_is_narrowed_by_what_its_filters_ask_and_by_no_other_column() -> None:
    assert read_only_pages()
    for page in read_only_pages():
        offered = parameters_of(page)
        assert [name for name in offered if not page.lookup_allowed(name, "1")] == [], page
        columns = {field.name for field in page.model._meta.get_fields()} | {"pk", "password"}
        shut = {name for name in columns if not any(each.startswith(name) for each in offered)}
        asked = [f"{name}{how}" for name in shut for how in ("", "__exact", "__gte", "__regex", "__in", "__isnull")]
        assert [name for name in asked if page.lookup_allowed(name, "1")] == [], page
        assert not any(page.lookup_allowed(f"{name}__regex", "1") for name in columns), page


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files")
def test_the_list_of_staff_tells_an_auditor_nothing_of_a_password() -> None:
    boss, auditor = member(Role.ADMINISTRATOR, "boss"), browser(member(Role.AUDITOR))
    assert auditor.get("/admin/staff/user/", {"q": "boss"}).status_code == 200
    for begins in (boss.password[:20], "wrong"):
        for how in ("startswith", "regex", "gte", "exact"):
            answer = auditor.get("/admin/staff/user/", {"username": "boss", f"password__{how}": begins})
            assert answer.status_code == 400, how
    assert not any("password" in name for page in read_only_pages() for name in filters_of(page))


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files")
def test_a_client_leads_to_its_keys_and_to_no_others() -> None:
    lead = member(Role.ADMINISTRATOR)
    kiosk, other = (create_client(actor=lead, name=name) for name in ("Kiosk @ Co + 1", "web-shop"))
    keys = [create_key(actor=lead, client_id=client.pk, expires_at=None).key for client in (kiosk, other)]
    shown = browser(lead).get(f"/admin/clients/client/{kiosk.pk}/keys/", follow=True)
    assert shown.status_code == 200
    assert [key.pk for key in shown.context["cl"].result_list] == [keys[0].pk]


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files")
def test_a_filter_offers_what_its_list_has_and_of_many_what_was_asked_for() -> None:
    viewer, lead = member(Role.VIEWER), member(Role.ADMINISTRATOR)

    def offered(person: User, address: str, asked: Mapping[str, str]) -> list[str]:
        page = browser(person).get(address, asked).content.decode()
        return sorted(re.findall(r'type="checkbox" name="(?:client__name|user__username)" value="([^"]*)"', page))

    tokens, keys = "/admin/staff/apitoken/", "/admin/clients/apikey/"
    assert offered(viewer, tokens, {}) == [viewer.username]  # and nobody whose tokens they are not shown
    assert offered(lead, tokens, {}) == sorted([viewer.username, lead.username])
    for number in range(3):
        create_key(actor=lead, client_id=create_client(actor=lead, name=f"kiosk-{number}").pk, expires_at=None)
    assert offered(lead, keys, {}) == ["kiosk-0", "kiosk-1", "kiosk-2"]
    many = Client.objects.bulk_create(Client(name=f"stall {number}") for number in range(BOXES_MAX))
    ApiKey.objects.bulk_create(
        ApiKey(client=client, key_id=f"{client.pk:012x}", digest=b"%032d" % client.pk, created_by=lead)
        for client in many
    )
    assert offered(lead, keys, {}) == []
    assert offered(lead, keys, {"client__name": "kiosk-1"}) == ["kiosk-1"]
    assert [found.client.name for found in browser(lead).get(keys, {"q": "kiosk-2"}).context["cl"].result_list] == [
        "kiosk-2"
    ]


@pytest.mark.django_db
class TestNewOnes:
    def found(self, script: APIClient, path: str, field: str, **wanted: Any) -> list[Any]:
        answer = script.get(f"/api/v1/{path}", wanted)
        assert answer.status_code == 200, answer.content
        return [row[field] for row in answer.json()["results"]]

    def test_clients_and_keys(self) -> None:
        lead, script = member(Role.ADMINISTRATOR), caller(Role.MODEL_ENGINEER)
        made = {
            name: create_client(actor=lead, name=name, calls_per_minute=5, models=[]) for name in ("web-shop", "kiosk")
        }
        keys = {
            name: create_key(actor=lead, client_id=client.pk, expires_at=None).key.key_id
            for name, client in made.items()
        }
        assert self.found(script, "clients/", "name", name="kiosk") == ["kiosk"]
        assert self.found(script, "clients/", "name", name="kios") == []
        assert self.found(script, "clients/", "name", search="SHOP") == ["web-shop"]
        assert self.found(script, "clients/", "name", search="shop web") == ["web-shop"]
        assert self.found(script, "clients/", "name", client_id=made["kiosk"].client_id) == ["kiosk"]
        assert self.found(script, "keys/", "key_id") == [keys["kiosk"], keys["web-shop"]]
        assert self.found(script, "keys/", "key_id", client="kiosk") == [keys["kiosk"]]
        assert self.found(script, "keys/", "client", client_id=made["web-shop"].client_id) == ["web-shop"]
        assert script.get("/api/v1/keys/?client_id=web-shop").json()["field"] == "client_id"
        assert self.found(script, "keys/", "client", key_id=keys["kiosk"]) == ["kiosk"]
        assert self.found(script, "keys/", "created_by", search="shop") == [lead.username]

    def test_staff_and_their_tokens(self) -> None:
        member(Role.VIEWER, "malee.k")
        other = member(Role.VIEWER, "somsri")
        create_token(user=other, name="nightly", actor=other)
        lead = caller(Role.ADMINISTRATOR)
        assert self.found(lead, "staff/", "name", search="MALEE") == ["malee.k"]
        assert self.found(lead, "staff/", "name", search="malee somsri") == []
        assert "nightly" in self.found(lead, "staff/tokens/", "name", of="somsri")
        assert set(self.found(lead, "staff/tokens/", "of", of="somsri")) == {"somsri"}
        # Who sees their own alone is told of nobody else's.
        assert self.found(caller(Role.VIEWER), "staff/tokens/", "of", of="somsri") == []

    def test_entries_of_a_member_of_staff(self) -> None:
        lead = member(Role.ADMINISTRATOR)
        create_client(actor=lead, name="kiosk", calls_per_minute=5, models=[])
        script = caller(Role.AUDITOR)
        of_lead = list(Entry.objects.filter(actor=str(lead.pseudonym)).values_list("sequence", flat=True))
        assert of_lead
        assert self.found(script, "audit/entries/", "sequence", staff=lead.username) == of_lead
        assert self.found(script, "audit/entries/", "sequence", staff="nobody") == []

    def test_what_is_known_of_a_person_by_pseudonym(self) -> None:
        consent, officer = agreed(), member(Role.PRIVACY_OFFICER, "anan")
        mine = receive(actor=officer, pseudonym=OWNER, kind="access", laws="both", channel="web")
        receive(actor=officer, pseudonym="somebody", kind="access", laws="both", channel="web")
        script = browser(officer)
        assert self.found(script, "consents/", "reference", subject=f" {OWNER} ") == [REFERENCE]
        assert self.found(script, "consents/", "reference", subject="nobody") == []
        assert self.found(script, "subjects/", "id", subject=OWNER) == [str(consent.subject_id)]
        assert self.found(script, "subjects/", "id", subject=OWNER[:-1]) == []
        assert self.found(script, "privacy/requests/", "id", subject=OWNER) == [mine.pk]
        assert self.found(script, "privacy/requests/", "id", subject=OWNER, kind="erasure") == []

    def test_versions_sheets_and_deliveries(self) -> None:
        malee, script = member(Role.MODEL_ENGINEER), caller(Role.ADMINISTRATOR)
        first, second = (a_version(malee, state=State.SMOKE_TESTED, number=number) for number in (1, 2))
        ModelVersion.objects.filter(pk=first.pk).update(note="for Worn pieces")
        assert self.found(script, "versions/", "id", search="worn") == [first.pk]
        assert self.found(script, "versions/", "id", sha256=second.sha256) == [second.pk]
        for kind in Kind:
            Sheet.objects.create(kind=kind, sha256=kind.value, size=1, imported_by=malee)
            assert self.found(script, "sheets/", "kind", kind=kind.value) == [kind.value]
        assert script.get("/api/v1/sheets/?kind=other").status_code == 400
        endpoint = Endpoint.objects.create(
            url="https://a.example/", events=[], nonce=b"", told_through=0, created_by=malee
        )
        for number, state in enumerate(Sent):
            Delivery.objects.create(
                endpoint=endpoint, sequence=number, type="drift.alert_opened", body="{}", state=state,
                next_try_at=now() + timedelta(hours=1),
            )  # fmt: skip
        address = f"webhooks/{endpoint.pk}/deliveries/"
        assert self.found(script, address, "state", state="given_up") == ["given_up"]
        assert len(self.found(script, address, "state")) == len(Sent)

"""The photographs that a version is tried on: on its page and by REST, the same ones."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from django.conf import settings
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from console.audit.models import Entry
from console.datasets.models import Dataset
from console.registry.models import ModelVersion, State
from console.site.roles import Role
from model_store import store
from tests import tiny_archive
from tests.unit.console.people import browser, caller, member
from tests.unit.console.versions import a_version

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> store.StoredArchive:
    folder = tmp_path_factory.mktemp("archive")
    return store.place(tiny_archive.write_archive(folder, folder / "tiny.mar").path, settings.AMULET.model_store)


@pytest.fixture
def version(archive: store.StoredArchive) -> ModelVersion:
    made = a_version(member(Role.MODEL_ENGINEER), state=State.SMOKE_TESTED)
    ModelVersion.objects.filter(pk=made.pk).update(sha256=archive.sha256)
    return made


def test_a_version_names_them_with_what_its_card_expects(
    version: ModelVersion, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    viewer = caller(Role.VIEWER)
    with django_assert_max_num_queries(15):
        told: list[dict[str, Any]] = viewer.get(f"/api/v1/versions/{version.pk}/").json()["golden"]
    card = version.card()
    assert [each["photo"] for each in told] == [golden.file for golden in card.golden]
    assert [each["probability"] for each in told] == [max(golden.probabilities) for golden in card.golden]
    assert {each["class_id"] for each in told} <= {known.id for known in card.classes}
    page = browser(member(Role.VIEWER)).get(reverse("admin:registry_modelversion_change", args=[version.pk]))
    for each in told:
        picture = viewer.get(each["photograph"])
        assert (picture.status_code, picture["Content-Type"]) == (200, "image/png")
        assert picture["Cache-Control"] == "no-store, private"
        assert base64.b64encode(picture.content).decode() in page.content.decode()


@pytest.mark.parametrize("number", [0, 99])
def test_what_is_not_among_them_is_not_there(version: ModelVersion, number: int) -> None:
    refused = caller(Role.VIEWER).get(f"/api/v1/versions/{version.pk}/golden/{number}/")
    assert (refused.status_code, refused.json()["reason"]) == (404, "not_found")


@pytest.mark.parametrize("state", [State.UPLOADED, State.REFUSED, State.APPROVED])
def test_a_version_without_its_archive_has_none(state: State) -> None:
    approver = member(Role.APPROVER) if state == State.APPROVED else None
    made = a_version(member(Role.MODEL_ENGINEER), state=state, number=9, approver=approver)
    viewer = caller(Role.VIEWER)
    assert viewer.get(f"/api/v1/versions/{made.pk}/").json()["golden"] == []
    assert viewer.get(f"/api/v1/versions/{made.pk}/golden/1/").status_code == 404


@pytest.fixture
def lent(version: ModelVersion) -> ModelVersion:
    """A version from before golden photographs were drawn, trained on a data set of this console."""
    Dataset.objects.create(
        model=version.model,
        made_by=version.uploaded_by,
        fingerprint=version.card().data.fingerprint,
        photographs=1,
        per_class={},
        outside=0,
        left_out=0,
    )
    return version


def entries() -> list[Any]:
    rows = Entry.objects.filter(type="registry.golden_opened").select_related("payload").order_by("pk")
    return [json.loads(row.payload.text)["photographs"] for row in rows]


def test_photographs_that_people_lent_are_shown_to_whom_kept_photographs_are_and_each_look_is_audited(
    lent: ModelVersion, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    address, page = f"/api/v1/versions/{lent.pk}/", reverse("admin:registry_modelversion_change", args=[lent.pk])
    viewer, expert = caller(Role.VIEWER), caller(Role.REVIEWER)
    with django_assert_max_num_queries(15):
        told = viewer.get(address).json()["golden"]
    assert told
    assert {each["photograph"] for each in told} == {None}
    refused = viewer.get(f"{address}golden/1/")
    assert (refused.status_code, refused.json()["reason"]) == (403, "not_allowed")
    seen = browser(member(Role.VIEWER)).get(page).content.decode()
    assert "data:image/png" not in seen
    assert "Your roles do not let you see photographs." in seen
    assert entries() == []
    told = expert.get(address).json()["golden"]
    assert expert.get(told[1]["photograph"]).status_code == 200
    assert entries() == [[2]]
    assert "data:image/png" in browser(member(Role.REVIEWER)).get(page).content.decode()
    assert entries() == [[2], [each["number"] for each in told]]


def test_drawn_ones_are_shown_to_everybody_whatever_the_version_learnt_from(lent: ModelVersion) -> None:
    document = dict(lent.card_document or {})
    document["training"]["config"]["golden"] = "drawn"
    ModelVersion.objects.filter(pk=lent.pk).update(card_document=document)
    assert caller(Role.VIEWER).get(f"/api/v1/versions/{lent.pk}/golden/1/").status_code == 200
    assert entries() == []

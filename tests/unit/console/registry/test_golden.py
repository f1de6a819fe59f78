"""The photographs that a version is tried on: on its page and by REST, the same ones."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.conf import settings
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

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

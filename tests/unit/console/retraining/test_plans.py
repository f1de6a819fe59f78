"""After an erasure: which versions learnt from that person, by when they are to be replaced, and who is told what."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries, Settings

from console.audit.models import Entry
from console.datasets import queries as datasets
from console.datasets.models import Dataset
from console.datasets.services import export
from console.privacy import erasure
from console.privacy.models import Erasure
from console.registry.models import ModelVersion, State
from console.retraining import queries
from console.retraining.models import Plan
from console.retraining.tasks import find_work
from console.rollout.models import Mode, Route
from console.site.roles import Role
from console.staff.models import User
from tests.console_events import CLASSES, png
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import caller, member
from tests.unit.console.predictions.test_pages import browser
from tests.unit.console.privacy.planted import PERSON, ask_erasure
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_folder(settings: Settings, tmp_path: Path) -> None:
    django_settings.AMULET.erasure_ledger.unlink(missing_ok=True)
    settings.AMULET = settings.AMULET.model_copy(update={"training_dir": tmp_path / "training"})


@pytest.fixture
def malee() -> User:
    return member(Role.MODEL_ENGINEER)


def learnt_from(dataset: Dataset, malee: User, number: int) -> ModelVersion:
    version = a_version(
        malee, model=MODEL, number=number, state=State.APPROVED, approver=member(Role.APPROVER, f"a{number}")
    )
    assert version.card_document is not None
    version.card_document["data"]["fingerprint"] = dataset.fingerprint
    version.save()
    return version


@pytest.fixture
def versions(malee: User, officer: User) -> list[ModelVersion]:
    """Two versions that learnt from the person who will be erased, and one that learnt from somebody else alone."""
    expert = member(Role.REVIEWER)
    consenting(officer, "somebody-else")
    labelled(expert, "somebody-else", is_a(CLASSES[0]), photo=png(80))
    without = export(actor=malee, model=MODEL, write=lambda *_: None)
    consenting(officer, PERSON)
    labelled(expert, PERSON, is_a(CLASSES[1]), photo=png(81))
    with_person = export(actor=malee, model=MODEL, write=lambda *_: None)
    return [learnt_from(with_person, malee, 1), learnt_from(with_person, malee, 2), learnt_from(without, malee, 3)]


def test_an_erasure_plans_to_replace_what_learnt_from_the_person_what_answers_first(
    versions: list[ModelVersion], officer: User
) -> None:
    older, newer, other = versions
    assert older.card_document is not None
    older.card_document["training"]["config"]["golden"] = "drawn"
    older.save()
    Route.objects.create(version=newer, model=MODEL, mode=Mode.PRODUCTION, started_by=officer, reason="because")
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    find_work()
    find_work()  # may run twice
    assert [plan.version for plan in queries.plans()] == [newer, older]
    assert {plan.photographs for plan in queries.plans()} == {1}
    statement = Erasure.objects.get(pk=request.pk).statement
    assert statement is not None
    assert statement["versions_that_learnt"] == sorted([str(older), str(newer)])
    assert statement["versions_with_photographs"] == [str(newer)]
    assert PERSON not in str(statement)
    assert Entry.objects.filter(type="retraining.planned").count() == 2
    told = caller(Role.APPROVER).get("/api/v1/retraining-plans/").json()["results"]
    assert [(plan["version_name"], plan["photographs"]) for plan in told] == [(newer.version, 1), (older.version, 1)]
    assert not datasets.versions_that_learnt_from([])
    ModelVersion.objects.filter(pk=older.pk).update(state=State.RETIRED)
    find_work()
    assert [plan.version for plan in queries.plans()] == [newer]
    assert other.pk not in Plan.objects.values_list("version", flat=True)


def test_a_certificate_names_no_version_of_another_model_that_has_the_same_name(
    versions: list[ModelVersion], officer: User, malee: User
) -> None:
    """What learnt from the person has drawn golden photographs; another model's version of that name has real ones."""
    older, newer, _other = versions
    for version in (older, newer):
        assert version.card_document is not None
        version.card_document["training"]["config"]["golden"] = "drawn"
        version.save()
    namesake = a_version(malee, model="coins", number=1, state=State.APPROVED, approver=officer)
    assert (namesake.version, namesake.card().golden_are_drawn) == (older.version, False)
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    statement = Erasure.objects.get(pk=request.pk).statement
    assert statement is not None
    assert statement["versions_that_learnt"] == [f"{MODEL} {older.version}", f"{MODEL} {newer.version}"]
    assert statement["versions_with_photographs"] == []


def test_what_an_erasure_noted_before_it_knew_models_is_still_found(versions: list[ModelVersion]) -> None:
    older, newer, _other = versions
    assert datasets.versions_with_lent_golden([older.version, str(newer)]) == [str(older), str(newer)]
    assert datasets.versions_with_lent_golden([f"coins {older.version}"]) == []


@pytest.mark.usefixtures("static_files")
def test_home_and_the_page_say_what_is_overdue(versions: list[ModelVersion], officer: User, malee: User) -> None:
    assert erasure.carry_out(ask_erasure(officer).pk)
    find_work()
    desk: Client = browser(malee)
    assert "is-late" not in desk.get("/admin/").content.decode()
    Plan.objects.filter(version=versions[0]).update(due_at=now() - timedelta(days=1))
    home = desk.get("/admin/").content.decode()
    assert "is-late" in home
    assert "1 of them is overdue" in home
    listed = desk.get(reverse("admin:retraining_trainingjob_changelist")).content.decode()
    assert listed.count("learnt from 1 photograph whose person was erased since.") == 2
    assert listed.count("overdue") == 1


def test_looking_for_what_to_plan_counts_no_labels_of_data_sets_that_nothing_serves_from(
    versions: list[ModelVersion], officer: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """It is done every half minute, and exports only ever become more."""
    assert erasure.carry_out(ask_erasure(officer).pk)
    living = (State.VERIFIED, State.SMOKE_TESTED, State.APPROVED)
    found = datasets.versions_with_erased(living)
    assert found
    ModelVersion.objects.exclude(pk=min(found, key=lambda version: version.pk).pk).update(state=State.RETIRED)
    with django_assert_num_queries(3) as asked:
        assert len(datasets.versions_with_erased(living)) == 1
    (counting,) = [query["sql"] for query in asked if "COUNT" in query["sql"]]
    of_living = ModelVersion.objects.filter(state__in=living).values_list("card_document__data__fingerprint", flat=True)
    exported = set(Dataset.objects.values_list("fingerprint", flat=True))
    assert {fingerprint for fingerprint in exported if fingerprint in counting} == set(of_living)
    assert len(exported) > 1

"""A restriction or an objection is done when nobody works with what is kept, and undone when it is lifted."""

from __future__ import annotations

import zipfile
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction
from django.utils.timezone import now

from console.audit.models import Entry
from console.datasets.services import export_zip
from console.errors import Conflict, Invalid, NotAllowed, NotFound
from console.privacy import services
from console.privacy.access import export_person
from console.privacy.models import PrivacyRequest, State
from console.retention.services import apply_due
from console.site.roles import Role
from console.staff.models import User
from console.vault import opening
from console.vault import queries as vault_queries
from console.vault.models import Consent, Kind, StoredObject, Subject
from tests.console_events import CLASSES
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import caller, member

pytestmark = pytest.mark.django_db
PERSON = "shop-1"


def begun(officer: User, kind: str, person: str = PERSON) -> PrivacyRequest:
    request = services.receive(actor=officer, pseudonym=person, kind=kind, laws="both", channel="letter")
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    return services.start(actor=officer, request_id=request.pk)


def is_restricted(person: str = PERSON) -> bool:
    subject = vault_queries.subject_of(person)
    assert subject is not None
    return subject.restricted_at is not None


@pytest.mark.parametrize("kind", ["restriction", "objection"])
def test_what_is_kept_is_neither_opened_nor_learnt_from_until_it_is_lifted(
    officer: User, expert: User, kind: str
) -> None:
    engineer = member(Role.MODEL_ENGINEER)
    for person in (PERSON, "shop-2"):
        consenting(officer, person)
    mine = str(labelled(expert, PERSON, is_a(CLASSES[0])))
    labelled(expert, "shop-2", is_a(CLASSES[1]))
    request = begun(officer, kind)
    services.finish(actor=officer, request_id=request.pk, outcome="restricted")

    with pytest.raises(NotFound, match="restricted"):
        opening.open_kept(actor=expert, kind=Kind.PHOTOGRAPH, owner=mine, part=0)
    assert vault_queries.kept_of([mine]) == {}
    made, content = export_zip(actor=engineer, model=MODEL)
    content.close()
    assert (made.photographs, made.left_out) == (1, 1)

    services.lift_restriction(actor=officer, request_id=request.pk, reason="the data were corrected")
    assert opening.open_kept(actor=expert, kind=Kind.PHOTOGRAPH, owner=mine, part=0)
    made, content = export_zip(actor=engineer, model=MODEL)
    content.close()
    assert (made.photographs, made.left_out) == (2, 0)
    with pytest.raises(Conflict):
        services.lift_restriction(actor=officer, request_id=request.pk, reason="again")


def test_the_person_gets_their_data_all_the_same(officer: User, expert: User) -> None:
    consenting(officer, PERSON)
    labelled(expert, PERSON, is_a(CLASSES[0]))
    begun(officer, "restriction")
    with export_person(actor=officer, request_id=begun(officer, "access").pk) as file:
        assert b"photographs/" in file.read()


def test_the_person_gets_what_only_a_restriction_still_holds_and_nobody_else_does(officer: User, expert: User) -> None:
    consenting(officer, PERSON)
    owner = str(labelled(expert, PERSON, is_a(CLASSES[0])))
    begun(officer, "restriction")
    Consent.objects.update(expires_at=now() - timedelta(minutes=1))
    assert apply_due(at=now()) == 0
    with export_person(actor=officer, request_id=begun(officer, "access").pk) as file, zipfile.ZipFile(file) as archive:
        assert f"photographs/{owner}-0.png" in archive.namelist()
    with pytest.raises(NotFound):
        opening.open_kept(actor=expert, kind=Kind.PHOTOGRAPH, owner=owner, part=0)


def test_what_has_run_out_and_nothing_holds_is_handed_to_nobody(officer: User, expert: User) -> None:
    consenting(officer, PERSON)
    labelled(expert, PERSON, is_a(CLASSES[0]))
    Consent.objects.update(expires_at=now() - timedelta(minutes=1))
    with export_person(actor=officer, request_id=begun(officer, "access").pk) as file, zipfile.ZipFile(file) as archive:
        assert not any(name.startswith("photographs/") for name in archive.namelist())


def test_what_has_run_out_is_held_while_it_is_restricted(officer: User, expert: User) -> None:
    consenting(officer, PERSON)
    labelled(expert, PERSON, is_a(CLASSES[0]))
    request = begun(officer, "restriction")
    Consent.objects.update(expires_at=now() - timedelta(minutes=1))
    kept = StoredObject.objects.count()
    assert apply_due(at=now()) == 0
    told = {row["rule"]: row for row in caller(Role.AUDITOR).get("/api/v1/privacy/retention/").json()}["photographs"]
    assert (told["held"], told["overdue"]) == (kept, False)
    services.lift_restriction(actor=officer, request_id=request.pk, reason="settled")
    assert apply_due(at=now() + timedelta(minutes=11)) == kept


def test_it_begins_with_the_work_and_ends_with_a_refusal_unless_another_keeps_it(officer: User) -> None:
    consenting(officer, PERSON)
    services.receive(actor=officer, pseudonym=PERSON, kind="restriction", laws="both", channel="letter")
    assert not is_restricted()
    objection = begun(officer, "objection")
    assert is_restricted()
    PrivacyRequest.objects.filter(kind="restriction").delete()
    restriction = begun(officer, "restriction")
    services.refuse(actor=officer, request_id=objection.pk, reason="our reasons weigh more")
    assert is_restricted()
    services.refuse(actor=officer, request_id=restriction.pk, reason="unfounded")
    assert not is_restricted()


def test_somebody_who_is_not_known_yet_is_restricted_from_the_first_photograph_on(officer: User) -> None:
    begun(officer, "objection", "newcomer")
    assert is_restricted("newcomer")
    assert Subject.objects.count() == 1


def test_what_was_begun_or_done_before_restrictions_took_effect_takes_effect_with_the_migration(officer: User) -> None:
    people = ("in-work", "waiting", "done", "checked", "refused", "lifted")
    for person in people:
        consenting(officer, person)
    requests = {person: checked(officer, person) for person in people[:-1]}
    lifted = begun(officer, "restriction", "lifted")
    services.lift_restriction(actor=officer, request_id=lifted.pk, reason="settled")
    closed_at = now() - timedelta(days=3)
    changes: dict[str, dict[str, Any]] = {  # as the work was noted when nothing was restricted by it
        "in-work": {"state": State.IN_PROGRESS},
        "waiting": {"state": State.PAUSED, "paused_from": State.IN_PROGRESS, "reason": "asked back"},
        "done": {"state": State.DONE, "closed_at": closed_at, "found_by": b""},
        "refused": {"state": State.REFUSED, "closed_at": closed_at, "found_by": b"", "reason": "unfounded"},
    }
    for person, change in changes.items():
        PrivacyRequest.objects.filter(pk=requests[person].pk).update(**change)
    told = Entry.objects.filter(type="vault.restricted")
    before = told.count()

    migration = import_module("console.privacy.migrations.0004_restrictions_from_before")
    for _ in range(2):  # a second run finds nothing left to do
        with transaction.atomic():
            migration.restrict(apps, None)
        assert {person for person in people if is_restricted(person)} == {"in-work", "waiting", "done"}
        assert told.count() == before + 3
    done = vault_queries.subject_of("done")
    assert done is not None
    assert done.restricted_at == closed_at
    services.lift_restriction(actor=officer, request_id=requests["done"].pk, reason="settled long ago")
    assert not is_restricted("done")


def checked(officer: User, person: str) -> PrivacyRequest:
    request = services.receive(actor=officer, pseudonym=person, kind="restriction", laws="both", channel="letter")
    return services.check_identity(actor=officer, request_id=request.pk, method="card")


def test_lifting_takes_a_privacy_officer_and_a_reason(officer: User) -> None:
    request = begun(officer, "restriction")
    with pytest.raises(NotAllowed):
        services.lift_restriction(actor=member(Role.AUDITOR), request_id=request.pk, reason="because")
    with pytest.raises(Invalid):
        services.lift_restriction(actor=officer, request_id=request.pk, reason=" ")
    script = caller(Role.PRIVACY_OFFICER)
    address = f"/api/v1/privacy/requests/{request.pk}/"
    assert script.get(address).json()["restricted"] is True
    assert script.post(f"{address}lift/", {"reason": "settled"}).json()["restricted"] is False

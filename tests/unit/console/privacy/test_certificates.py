"""What the certificate of an erasure says, and that it proves itself."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from django.utils.timezone import now
from pytest_django import Settings

from console.audit.commands import check_document
from console.audit.export import export
from console.audit.notes import load_public_key
from console.audit.receipt import ReceiptInvalid
from console.audit.signer import Signer
from console.audit.verifier import verify
from console.errors import NotAvailable
from console.privacy import erasure
from console.privacy.certificate import certificate_of
from console.privacy.clocks import day_of
from console.privacy.models import Erasure, PrivacyRequest, Step
from console.site.roles import Role
from console.staff.models import User
from tests.unit.console.people import caller
from tests.unit.console.privacy.planted import (
    CANARY,
    ask_erasure,
    plant,
)

pytestmark = pytest.mark.django_db


def test_a_certificate_says_what_learnt_and_when_and_what_a_folder_held_that_is_gone_since(
    officer: User, expert: User, settings: Settings, tmp_path: Path
) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    while erasure._advance(request.pk)[1] != Step.FINISH:
        pass
    row = Erasure.objects.get(pk=request.pk)
    row.before["journal"], row.learnt = 2, ["tiny 1"]
    row.save()
    settings.AMULET = settings.AMULET.model_copy(update={"journal_dir": tmp_path / "gone"})
    assert erasure.carry_out(request.pk)
    row.refresh_from_db()
    assert row.statement is not None
    assert row.statement["stores"]["journal"] == {"before": 2, "after": 0}
    assert row.statement["versions_that_learnt"] == ["tiny 1"]
    assert row.key_destroyed_at is not None
    assert row.statement["key_destroyed_at"] == row.key_destroyed_at.isoformat()
    limits = request.limits().by_law
    assert row.statement["due_on"] == {law.value: day.isoformat() for law, day in limits.items()}


def test_no_nought_is_certified_of_a_journal_that_is_on_another_machine(
    officer: User, expert: User, settings: Settings, tmp_path: Path
) -> None:
    plant(officer, expert)
    elsewhere = settings.AMULET.model_copy(update={"journal_dir": tmp_path / "in another pod"})
    (tmp_path / "here").mkdir()
    here = settings.AMULET.model_copy(update={"journal_dir": tmp_path / "here"})
    said = []
    for settings.AMULET in (elsewhere, here):
        request = ask_erasure(officer)
        assert erasure.carry_out(request.pk)
        statement = Erasure.objects.get(pk=request.pk).statement
        assert statement is not None
        said.append({name: statement["stores"][name] for name in ("journal", "refused", "predictions")})
        assert any("Journals on other machines are not searched" in limit for limit in statement["limits"])
    unsearched, nothing = {"before": None, "after": None}, {"before": 0, "after": 0}
    assert said[0] == {"journal": unsearched, "refused": unsearched, "predictions": {"before": 4, "after": 0}}
    assert said[1] == {"journal": nothing, "refused": nothing, "predictions": nothing}


def test_the_chain_verifies_afterwards_and_the_certificate_proves_itself(
    officer: User, expert: User, signer: Signer, tmp_path: Path
) -> None:
    plant(officer, expert)
    signer.sign(now())
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    with pytest.raises(NotAvailable):
        certificate_of(request.pk)  # no checkpoint covers it yet
    auditor = caller(Role.AUDITOR)
    for form in ("certificate/", "certificate/pdf/"):
        refused = auditor.get(f"/api/v1/privacy/requests/{request.pk}/{form}")
        assert (refused.status_code, refused.json()["reason"]) == (503, "not_signed_yet")
    signer.sign(now())
    key = load_public_key(tmp_path / "checkpoints" / "audit_public.pem")
    certificate = certificate_of(request.pk)
    proved = check_document(json.loads(json.dumps(certificate)), key)
    assert (proved.type, proved.payload["about"]) == ("erasure.done", ["privacy_request", str(request.pk)])
    assert certificate["statement"]["stores"]["predictions"] == {"before": 4, "after": 0}
    assert CANARY not in json.dumps(certificate)
    spoilt = json.loads(json.dumps(certificate))
    spoilt["statement"]["stores"]["predictions"]["before"] = 3
    with pytest.raises(ReceiptInvalid):
        check_document(spoilt, key)
    report = verify(b"".join(export(key)).splitlines(), key)
    assert report.whole
    assert report.erased == 4 + 1 + 1 + 1  # predictions, feedback, decision, consent


@pytest.mark.parametrize("begun", ["begun_at", "key_destroyed_at", "searched_at"])
def test_a_certificate_keeps_its_order_when_the_clock_is_set_back_meanwhile(
    officer: User, expert: User, begun: str
) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    while Erasure.objects.get(pk=request.pk).step < Step.FINISH:
        erasure._advance(request.pk)
    tomorrow = now() + timedelta(days=1)
    PrivacyRequest.objects.update(received_at=tomorrow)
    Erasure.objects.update(**{begun: tomorrow})
    assert erasure.carry_out(request.pk)
    statement = Erasure.objects.get(pk=request.pk).statement
    assert statement is not None
    times = [statement[name] for name in ("begun_at", "key_destroyed_at", "searched_at", "finished_at")]
    assert times == sorted(times)
    finished_at = datetime.fromisoformat(times[-1])
    assert finished_at <= now()
    assert statement["received_on"] <= day_of(finished_at).isoformat()
    assert date.fromisoformat(statement["due_on"]["pdpa"]) - date.fromisoformat(statement["received_on"]) == timedelta(
        days=90
    )

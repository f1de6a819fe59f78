"""What was typed with an act can be erased, and until then is as sure as the act; the act stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from django.utils.timezone import now

from console.audit.export import export
from console.audit.models import Entry, Payload
from console.audit.notes import load_public_key
from console.audit.receipt import check
from console.audit.receipts import receipt_of
from console.audit.services import record
from console.audit.signer import Signer
from console.audit.verifier import Report, verify
from console.audit.words import erase_typed, record_with_words, typed_about, words_with
from console.site.roles import Role
from tests.unit.console.people import browser, caller, member

pytestmark = pytest.mark.django_db
TYPED = "canary-somchai asked by telephone"


@pytest.fixture
def key(tmp_path: Path) -> Any:
    """The public key of a log: request 12 extended with a reason, paused before words stood apart, and 13 paused."""
    (tmp_path / "key").write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    with transaction.atomic():
        act("privacy.extended", "12", TYPED)
        record(
            actor=None,
            action="privacy.paused",
            subject_type="privacy_request",
            subject_id="12",
            details={"reason": TYPED},
        )
        act("privacy.paused", "13", "canary-other")
    Signer(tmp_path / "key", tmp_path / "checkpoints").sign(now())
    return load_public_key(tmp_path / "checkpoints" / "audit_public.pem")


def act(action: str, request: str, reason: str) -> int:
    return record_with_words(
        actor=None,
        action=action,
        subject_type="privacy_request",
        subject_id=request,
        details={},
        words={"reason": reason},
    )


def exported(key: Any) -> list[bytes]:
    return b"".join(export(key)).splitlines()


def checked(lines: list[bytes], key: Any) -> Report:
    return verify(lines, key)


def erased() -> int:
    return erase_typed("privacy_request", ["12"], fields=("reason", "outcome"))


def test_what_was_typed_goes_and_the_act_stays_proved(key: Any) -> None:
    assert typed_about("privacy_request", ["12"], fields=("reason",)) == [2, 3]
    assert erased() == 2
    assert erased() == 0
    left = b"".join(exported(key))
    assert TYPED.encode() not in left
    assert b"canary-other" in left
    report = checked(exported(key), key)
    assert (report.whole, report.entries, report.erased) == (True, 5, 2)
    proved = check(receipt_of(1), key)
    assert (proved.type, proved.payload["about"]) == ("privacy.extended", ["privacy_request", "12"])


def test_until_then_it_is_as_sure_as_the_act(key: Any) -> None:
    lines = exported(key)
    assert checked(lines, key).whole
    place = next(number for number, line in enumerate(lines) if b'"audit.words"' in line)
    other = [line.replace(TYPED.encode(), b"canary-somsak asked by telephone") for line in lines]
    assert "its payload is not the one" in str(checked(other, key).problems[0])
    assert not checked(lines[:place] + lines[place + 1 :], key).whole
    half = json.loads(lines[place]) | {"commitment": None}
    assert not checked([*lines[:place], json.dumps(half).encode(), *lines[place + 1 :]], key).whole
    elsewhere = [
        line.replace(b'"about":["words","privacy_request:12"]', b'"about":["words","privacy_request:13"]')
        for line in lines
    ]
    assert "is filed under" in str(checked(elsewhere, key).problems[0])


def test_an_export_from_before_words_stood_apart_verifies_and_so_does_one_from_before_an_erasure(key: Any) -> None:
    before = exported(key)
    erased()
    assert checked(before, key).whole
    assert checked(before, key).erased == 0


@pytest.mark.usefixtures("static_files")
def test_page_and_rest_show_it_with_the_act_until_it_is_erased(key: Any) -> None:
    reader, script = browser(member(Role.AUDITOR)), caller(Role.AUDITOR)
    page, entry = "/admin/audit/entry/1/change/", "/api/v1/audit/entries/1/"
    assert TYPED in reader.get(page).content.decode()
    said = script.get(entry).json()
    assert said["payload"] == {"about": ["privacy_request", "12"]}
    assert said["words"] == {
        "sequence": 2,
        "payload": {"about": ["words", "privacy_request:12"], "act": "privacy.extended", "reason": TYPED},
    }
    erased()
    shown = reader.get(page).content.decode()
    assert "What was typed with it was erased." in shown
    assert script.get(entry).json()["words"] == {"sequence": 2, "payload": None}
    for address in (page, "/admin/audit/entry/2/change/", "/admin/audit/entry/3/change/"):
        assert TYPED not in reader.get(address).content.decode()
    assert TYPED not in script.get("/api/v1/audit/entries/").content.decode()


def test_an_act_without_words_has_none_although_another_follows_it(db: None) -> None:
    with transaction.atomic():
        record(actor=None, action="privacy.resumed", subject_type="privacy_request", subject_id="1", details={})
        act("privacy.paused", "1", "why")
    assert words_with(Entry.objects.get(pk=1)) is None
    assert Payload.objects.count() == 3

from __future__ import annotations

import base64
import io
import re
import time
import unicodedata
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client as Browser
from django.urls import reverse
from django.utils.timezone import now
from django_otp.oath import TOTP
from pypdf import PdfReader
from pytest_django import DjangoAssertNumQueries, Settings

from console.audit.receipt import statement_digest
from console.audit.signer import Signer
from console.privacy import certificate, clocks, erasure, services
from console.privacy.certificate import certificate_of
from console.privacy.models import Erasure, PrivacyRequest, State
from console.site.roles import Role
from console.staff.models import User
from console.staff.services import create_user
from tests.unit.console.people import caller, member
from tests.unit.console.privacy.planted import CANARY, PERSON, ask_erasure, plant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
LIST = "admin:privacy_privacyrequest_changelist"


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def at_the_desk(role: Role) -> tuple[Browser, User]:
    staff = create_user(name=f"desk-{role.value.replace(' ', '-')}", role=role)
    factor = TOTP(base64.b32decode(staff.totp_seed))
    factor.time = time.time()
    browser = Browser()
    given = {"username": staff.user.username, "password": staff.password, "code": f"{factor.token():06d}"}
    assert browser.post("/admin/login/", given).status_code == 302
    return browser, staff.user


def address(name: str, request: PrivacyRequest) -> str:
    return reverse(f"admin:privacy_privacyrequest_{name}", args=[request.pk])


def test_an_erasure_from_the_first_word_to_the_certificate() -> None:
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    plant(member(Role.PRIVACY_OFFICER, "second-officer"), member(Role.REVIEWER))
    asked = {"subject": PERSON, "kind": "erasure", "laws": "both", "channel": "letter"}
    answer = browser.post(reverse("admin:privacy_privacyrequest_enter"), asked, follow=True)
    assert "is entered" in answer.content.decode()
    assert PERSON not in answer.content.decode()
    request = PrivacyRequest.objects.get()
    (row,) = browser.get(reverse(LIST), {"q": PERSON}).context["cl"].result_list
    assert row.pk == request.pk
    page = browser.get(address("change", request)).content.decode()
    assert address("identity", request) in page
    assert address("start", request) not in page
    assert browser.post(address("identity", request), {"method": "card"}).status_code == 302
    assert "There is no way back" in browser.get(address("start", request)).content.decode()
    assert Erasure.objects.count() == 0  # looking begins nothing
    assert browser.post(address("start", request), {}).status_code == 302
    request.refresh_from_db()
    assert request.handled_by == officer
    assert erasure.carry_out(request.pk)
    later = services.receive(actor=officer, pseudonym="p", kind="access", laws="pdpa", channel="web")
    later_one = services.receive(actor=officer, pseudonym="p", kind="erasure", laws="pdpa", channel="web")
    listed = browser.get(reverse(LIST)).context["cl"].result_list
    assert [row.pk for row in listed] == [later.pk, later_one.pk, request.pk]  # closed ones last
    page = browser.get(address("change", request)).content.decode()
    assert "a second search found nothing" in page
    assert "The certificate is ready as soon as" in page
    assert browser.get(address("certificate", request)).status_code == 503


def test_who_enters_a_request_sees_it_and_not_a_more_urgent_one() -> None:
    """The list begins with the most urgent request, and the first one that was opened there was somebody else's."""
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    urgent = services.receive(
        actor=officer, pseudonym="p", kind="erasure", laws="both", channel="web", received_at=now() - timedelta(days=20)
    )
    asked = {"subject": PERSON, "kind": "erasure", "laws": "both", "channel": "letter"}
    answer = browser.post(reverse("admin:privacy_privacyrequest_enter"), asked, follow=True)
    entered = PrivacyRequest.objects.exclude(pk=urgent.pk).get()
    assert answer.redirect_chain == [(address("change", entered), 302)]
    assert f"Request {entered.pk} is entered." in answer.content.decode()
    again = browser.post(reverse("admin:privacy_privacyrequest_enter"), asked, follow=True)
    joined = PrivacyRequest.objects.get(duplicate_of=entered)
    assert again.redirect_chain == [(address("change", joined), 302)]
    assert address("change", entered) in again.content.decode()  # which is the one to work on


def test_an_erasure_that_has_counted_nothing_yet_does_not_say_that_there_is_nothing() -> None:
    """Until its first step was done the page said "0" of each store, of a person with photographs."""
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    plant(officer, member(Role.REVIEWER))
    request = ask_erasure(officer)
    assert {before for _text, before, _after in browser.get(address("change", request)).context["stores"]} == {"–"}
    assert erasure.carry_out(request.pk)
    assert "–" not in [before for _, before, _ in browser.get(address("change", request)).context["stores"]][:4]


def test_a_certificate_as_pdf_says_in_both_languages_what_its_json_says_and_names_nobody(tmp_path: Path) -> None:
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    planted = plant(officer, member(Role.REVIEWER))
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    (tmp_path / "key").write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    Signer(tmp_path / "key", tmp_path / "checkpoints").sign(now())
    shown = browser.get(address("change", request)).content.decode()
    assert address("pdf", request) in shown
    answer = browser.get(address("pdf", request))
    assert answer["Content-Type"] == "application/pdf"
    assert "no-store" in answer["Cache-Control"]
    assert browser.get(address("pdf", request)).content == answer.content  # to the byte
    pdf = PdfReader(io.BytesIO(answer.content))
    thai, english = (_letters(page.extract_text()) for page in pdf.pages)
    whole = certificate_of(request.pk)
    for language, text in (("th", thai), ("en", english)):
        assert _letters(whole["receipt"]["checkpoint"].splitlines()[2]) in text
        assert _letters(statement_digest(whole["statement"])) in text
        for day in (request.received_at, now()):
            assert _letters(clocks.date_text(clocks.day_of(day), language)) in text
    for words in ("Certificate of erasure", "Found by the second search", *certificate.LIMITS):
        assert _letters(words) in english
    for words in ("ใบรับรองการลบข้อมูล", "ภาพถ่ายและแผนที่ความร้อน"):
        assert _letters(words) in thai
    metadata = repr({**(pdf.metadata or {})})
    assert f"Certificate of erasure {request.pk}" in metadata
    for word in (CANARY, str(planted.subject_id), planted.subject_id.hex, *map(str, planted.prediction_ids)):
        assert _letters(word) not in thai + english
        assert word not in metadata
    other = services.receive(actor=officer, pseudonym="p", kind="access", laws="pdpa", channel="web")
    assert browser.get(address("pdf", other)).status_code == 404


def _letters(text: str) -> str:
    """Without white space and Thai marks, which a PDF places one by one and readers find in another order."""
    return "".join(letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Mn")


def test_the_list_shows_both_clocks_and_in_thai_the_buddhist_year() -> None:
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    services.receive(actor=officer, pseudonym="p", kind="erasure", laws="both", channel="web")
    by_law = PrivacyRequest.objects.get().limits().by_law
    english = browser.get(reverse(LIST), headers={"Accept-Language": "en"}).content.decode()
    thai = browser.get(reverse(LIST), headers={"Accept-Language": "th"}).content.decode()
    for day in by_law.values():
        assert clocks.date_text(day, "en") in english
        assert clocks.date_text(day, "th") in thai
    assert "เหลือ" in thai
    home = browser.get("/admin/", headers={"Accept-Language": "th"}).content.decode()
    assert "คำขอ" in home


@pytest.mark.parametrize(
    ("language", "late", "in_time"), [("en", "3 days too late", "in time"), ("th", "เกินกำหนด 3 วัน", "ทันเวลา")]
)
def test_an_answer_that_came_too_late_says_so_for_ever(language: str, late: str, in_time: str) -> None:
    browser, _auditor = at_the_desk(Role.AUDITOR)
    officer = member(Role.PRIVACY_OFFICER)
    keys = []
    for pseudonym, days in (("late", 33), ("well", 3)):
        request = services.receive(
            actor=officer, pseudonym=pseudonym, kind="access", laws="pdpa", channel="web",
            received_at=now() - timedelta(days=days),
        )  # fmt: skip
        services.refuse(actor=officer, request_id=request.pk, reason="not the person")
        keys.append(request.pk)
    shown = [
        browser.get(reverse("admin:privacy_privacyrequest_change", args=[key]), headers={"Accept-Language": language})
        for key in keys
    ]
    assert [text in page.content.decode() for page in shown for text in (late, in_time)] == [True, False, False, True]
    assert browser.get(reverse(LIST), headers={"Accept-Language": language}).content.decode().count(late) == 1
    told = caller(Role.AUDITOR).get(f"/api/v1/privacy/requests/{keys[0]}/").json()
    assert (told["days_left"], told["extension_reason"]) == (-3, "")


def test_a_refusal_without_a_reason_stands_beside_its_field() -> None:
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    request = services.receive(actor=officer, pseudonym="p", kind="objection", laws="both", channel="web")
    assert browser.post(address("refuse", request), {"reason": ""}).status_code == 200
    assert browser.post(address("pause", request), {"reason": "a question"}).status_code == 302
    page = browser.get(address("change", request)).content.decode()
    assert "a question" in page
    assert address("refuse", request) not in page
    assert browser.post(address("resume", request), {}).status_code == 302
    assert browser.post(address("extend", request), {"reason": "complex"}).status_code == 302
    assert browser.post(address("refuse", request), {"reason": "unfounded"}).status_code == 302
    request.refresh_from_db()
    assert (request.state, request.reason) == (State.REFUSED, "unfounded")


def test_an_auditor_looks_and_does_nothing() -> None:
    browser, _ = at_the_desk(Role.AUDITOR)
    officer = member(Role.PRIVACY_OFFICER)
    request = services.receive(actor=officer, pseudonym="p", kind="access", laws="both", channel="web")
    page = browser.get(address("change", request)).content.decode()
    assert address("identity", request) not in page
    assert browser.post(address("identity", request), {"method": "card"}).status_code == 403
    request.refresh_from_db()
    assert request.state == State.RECEIVED


def test_the_data_of_a_person_are_handed_out_as_a_zip() -> None:
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    plant(officer, member(Role.REVIEWER))
    request = services.receive(actor=officer, pseudonym=PERSON, kind="portability", laws="pdpa", channel="web")
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    services.start(actor=officer, request_id=request.pk)
    assert browser.get(address("export", request)).status_code == 200
    answer = browser.post(address("export", request), {})
    assert answer["Content-Type"] == "application/zip"
    assert b"".join(answer.streaming_content).startswith(b"PK")  # type: ignore[attr-defined]
    assert "no-store" in answer["Cache-Control"]


def test_the_list_costs_the_same_however_many_there_are(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    for number in range(30):
        services.receive(
            actor=officer, pseudonym=f"p{number}", kind="access", laws="both", channel="web",
            received_at=now() - timedelta(days=number),
        )  # fmt: skip
    with django_assert_max_num_queries(11):
        page = browser.get(reverse(LIST))
    assert re.search(r"\bdays?\b", page.content.decode())


def test_scripts_drive_a_request_through_its_life() -> None:
    officer = caller(Role.PRIVACY_OFFICER)
    made = officer.post("/api/v1/privacy/requests/", {"subject": "p", "kind": "rectification", "channel": "web"})
    assert made.status_code == 201
    assert made.json()["due_on"]["binding"] == min(made.json()["due_on"]["gdpr"], made.json()["due_on"]["pdpa"])
    url = f"/api/v1/privacy/requests/{made.json()['id']}/"
    assert officer.post(f"{url}start/").status_code == 409
    assert officer.post(f"{url}identity/", {"method": "card"}).json()["state"] == "identity_checked"
    assert officer.post(f"{url}start/").json()["state"] == "in_progress"
    assert officer.post(f"{url}export/").status_code == 409
    assert officer.post(f"{url}finish/", {"outcome": "corrected"}).json()["state"] == "done"
    assert officer.get(f"{url}certificate/").status_code == 404
    assert len(officer.get("/api/v1/privacy/requests/", {"state": "done"}).json()["results"]) == 1
    refused = officer.post("/api/v1/privacy/requests/", {"subject": "a\u200bb", "kind": "access", "channel": "web"})
    assert (refused.status_code, refused.json()["field"]) == (400, "subject")


@pytest.mark.parametrize(
    "step", ["identity", "start", "finish", "export", "pause", "resume", "extend", "refuse", "lift"]
)
def test_a_page_that_changes_a_request_says_which_one_it_is(step: str) -> None:
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    plant(member(Role.PRIVACY_OFFICER, "second-officer"), member(Role.REVIEWER))
    request = ask_erasure(officer)
    assert browser.get(address(step, request)).context["title"].endswith(f": request {request.pk} (erasure)")


def test_an_erasure_is_begun_under_its_own_name() -> None:
    browser, officer = at_the_desk(Role.PRIVACY_OFFICER)
    plant(member(Role.PRIVACY_OFFICER, "second-officer"), member(Role.REVIEWER))
    request = services.receive(actor=officer, pseudonym=PERSON, kind="erasure", laws="both", channel="letter")
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    assert "Erase for good" in browser.get(address("change", request)).content.decode()
    shown = browser.get(address("start", request))
    assert shown.context["button"] == "Erase for good"
    assert "photographs, heat maps, predictions" in shown.content.decode()

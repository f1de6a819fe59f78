"""A photograph that the console exported is on a sheet only as long as its person lets it be learnt from."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.timezone import now
from rest_framework.test import APIClient

from console.audit.models import Entry
from console.ingest.services import apply_batch
from console.privacy import erasure
from console.privacy.models import Erasure
from console.retention.models import Applied
from console.retention.services import apply_due
from console.sheets import queries, withdrawal
from console.sheets.models import Sheet, SheetItem
from console.sheets.services import import_sheet
from console.site.roles import Role
from console.staff.models import User
from console.vault.cipher import find_by
from console.vault.models import Subject
from console.vault.queries import keys as vault_keys
from console.vault.queries import subject_of
from console.vault.restriction import restrict
from console.vault.services import withdraw_consent
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.datasets.labelled import consenting, is_a, labelled
from tests.unit.console.people import browser, caller, member
from tests.unit.console.privacy.planted import ask_erasure
from tests.unit.console.sheets.test_sheets import heat_maps
from tests.unit.training.data.cast import write_folder
from training.data.folder import load_folder, scan_folder
from training.synthetic.make import make
from training.synthetic.review_sheet import write_sheet

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
LEAVES, STAYS = "customer-1", "customer-2"


@pytest.fixture
def sheet(officer: User, tmp_path: Path) -> Sheet:
    """Of the one who will leave, of one who stays, and of somebody from elsewhere."""
    reviewer, names = member(Role.REVIEWER, "ladda"), ["elsewhere.png"]
    for person in (STAYS, LEAVES):
        consenting(officer, person)
        names.insert(0, f"{CLASSES[0]}/{labelled(reviewer, person, is_a(CLASSES[0]))}_0.png")
    return import_sheet(actor=member(Role.MODEL_ENGINEER), pieces=[heat_maps(tmp_path, *names)])


def judged(script: APIClient, sheet: Sheet, number: int) -> tuple[int, list[int]]:
    """Which item comes first, and what its pictures and judging it answer."""
    address = f"/api/v1/sheets/{sheet.pk}/"
    calls = [script.get(f"{address}items/{number}/{name}/") for name in ("photograph", "heat-map")]
    calls.append(script.post(f"{address}items/{number}/judge/", {"verdict": "yes"}))
    return script.get(f"{address}next/").json()["number"], [call.status_code for call in calls]


def test_from_the_withdrawal_on_nobody_sees_it_and_soon_it_is_gone(sheet: Sheet, officer: User) -> None:
    script, page = caller(Role.REVIEWER), browser(member(Role.REVIEWER))
    withdraw_consent(actor=officer, reference=f"train-{LEAVES}", channel="letter")
    assert judged(script, sheet, 1) == (2, [404, 404, 404])
    shown = page.get(reverse("admin:sheets_sheet_judge", args=[sheet.pk])).content.decode()
    assert 'name="number" value="2"' in shown
    apply_due(at=now())
    assert list(SheetItem.objects.order_by("number").values_list("number", flat=True)) == [2, 3]
    assert Applied.objects.get(pk="sheets").deleted == 1
    assert Entry.objects.filter(type="sheets.discarded").count() == 1
    apply_due(at=now() + timedelta(hours=1))
    assert Entry.objects.filter(type="sheets.discarded").count() == 1


def test_who_has_judged_all_that_is_left_is_through(sheet: Sheet, officer: User) -> None:
    lead = member(Role.ADMINISTRATOR)
    withdraw_consent(actor=officer, reference=f"train-{LEAVES}", channel="letter")
    address, script = f"/api/v1/sheets/{sheet.pk}/", browser(lead)
    for number in (2, 3):
        assert not queries.sees_results(lead, sheet)
        script.post(f"{address}items/{number}/judge/", '{"verdict": "yes"}', content_type="application/json")
    assert script.get(f"{address}next/").status_code == 204
    assert queries.sees_results(lead, sheet)


@pytest.mark.parametrize("gone", [False, True], ids=["withdrawn", "deleted"])
def test_what_is_left_is_what_a_person_has_judged_all_of(sheet: Sheet, officer: User, gone: bool) -> None:
    withdraw_consent(actor=officer, reference=f"train-{LEAVES}", channel="letter")
    if gone:
        apply_due(at=now())
    lead = browser(member(Role.ADMINISTRATOR))
    address, page = f"/api/v1/sheets/{sheet.pk}/", reverse("admin:sheets_sheet_change", args=[sheet.pk])
    judge = reverse("admin:sheets_sheet_judge", args=[sheet.pk])
    before = lead.get(page).content.decode()
    assert "You have judged 0 of 2." in before
    assert "1 more came with it: its person does not let it be used any more." in before
    assert f'href="{judge}"' in before
    for number in (2, 3):
        lead.post(judge, {"number": number, "answer": "yes"})
    after = lead.get(page).content.decode()
    assert "You have judged 2 of 2." in after
    assert "Expert 1: 2 of 2" in after
    assert f'href="{judge}"' not in after
    told = lead.get(address).json()
    assert (told["size"], told["shown"], told["judged"], told["progress"]) == (3, 2, 2, [2])


def test_of_a_sheet_of_which_nothing_is_left_nobody_is_told_that_they_judged_it(
    sheet: Sheet, officer: User, tmp_path: Path
) -> None:
    SheetItem.objects.filter(prediction__subject__consents__reference=f"train-{STAYS}").delete()
    SheetItem.objects.filter(prediction=None).delete()
    page, judge = browser(member(Role.REVIEWER)), reverse("admin:sheets_sheet_judge", args=[sheet.pk])
    assert "0 of 1" in page.get(reverse("admin:sheets_sheet_change", args=[sheet.pk])).content.decode()
    withdraw_consent(actor=officer, reference=f"train-{LEAVES}", channel="letter")
    told = page.get(judge, follow=True).content.decode()
    assert "Nothing on this sheet may be shown any more." in told
    assert "You have judged everything" not in told


def test_a_sheet_that_is_imported_after_an_erasure_brings_no_photograph_back(officer: User, tmp_path: Path) -> None:
    reviewer = member(Role.REVIEWER, "ladda")
    names = ["elsewhere.png"]
    for person in (STAYS, LEAVES):
        consenting(officer, person)
        names.insert(0, f"{CLASSES[0]}/front_{labelled(reviewer, person, is_a(CLASSES[0]))}_0.png")
    of_both, of_one = heat_maps(tmp_path, *names), heat_maps(tmp_path, names[0])
    assert erasure.carry_out(ask_erasure(officer, LEAVES).pk)
    script = caller(Role.MODEL_ENGINEER)
    told = script.post("/api/v1/sheets/", of_both, content_type="application/zip").json()
    assert (told["size"], told["left_out"]) == (2, 1)
    assert list(SheetItem.objects.order_by("number").values_list("number", "name")) == [(1, names[1]), (2, names[2])]
    refused = script.post("/api/v1/sheets/", of_one, content_type="application/zip")
    assert (refused.status_code, refused.json()["field"]) == (400, "file")
    assert Sheet.objects.count() == 1


def test_the_page_says_how_many_were_left_out_and_why(tmp_path: Path) -> None:
    names = [f"{CLASSES[0]}/front_{uuid4()}_0.png", "elsewhere.png"]
    page, address = browser(member(Role.MODEL_ENGINEER)), reverse("admin:sheets_sheet_take_in")
    file = SimpleUploadedFile("maps.zip", heat_maps(tmp_path, *names), "application/zip")
    page.cookies["django_language"] = "th"
    shown = page.post(address, {"file": file}, follow=True).content.decode()
    assert "1 ภาพ เพราะมาจากผลการทำนายที่ระบบไม่มีข้อมูลแล้ว" in shown
    page.cookies["django_language"] = "en"
    Sheet.objects.all().delete()
    file.seek(0)
    shown = page.post(address, {"file": file}, follow=True).content.decode()
    assert "1 were left out: they are of predictions that the console does not know any more, or" in shown


def test_a_sheet_brings_no_photograph_of_somebody_who_restricted_what_is_done(officer: User, tmp_path: Path) -> None:
    reviewer, names = member(Role.REVIEWER, "ladda"), []
    for person in (STAYS, LEAVES):
        consenting(officer, person)
        names.append(f"{CLASSES[0]}/front_{labelled(reviewer, person, is_a(CLASSES[0]))}_0.png")
    restrict(actor=officer, found_by=find_by(vault_keys(), LEAVES))
    script = caller(Role.MODEL_ENGINEER)
    told = script.post("/api/v1/sheets/", heat_maps(tmp_path, *names), content_type="application/zip").json()
    assert (told["size"], told["left_out"]) == (1, 1)
    assert [item.name for item in SheetItem.objects.all()] == names[:1]
    refused = script.post("/api/v1/sheets/", heat_maps(tmp_path, names[1]), content_type="application/zip")
    assert (refused.status_code, refused.json()["field"]) == (400, "file")


def test_a_late_row_of_an_erased_prediction_lets_nothing_back_in(officer: User, tmp_path: Path) -> None:
    late = prediction_event()
    assert apply_batch([late]).applied == 1
    script = caller(Role.MODEL_ENGINEER)
    sheet = heat_maps(tmp_path, f"{CLASSES[0]}/front_{late.prediction.prediction_id}_0.png")
    assert script.post("/api/v1/sheets/", sheet, content_type="application/zip").status_code == 400


def test_a_sheet_of_synthetic_photographs_knows_whose_they_show(officer: User, tmp_path: Path) -> None:
    reviewer, data = member(Role.REVIEWER, "ladda"), write_folder(tmp_path / "data", {CLASSES[0]: 3, CLASSES[1]: 1})
    files = sorted((data / CLASSES[0]).iterdir())
    for person, file in zip((STAYS, LEAVES), files, strict=False):
        consenting(officer, person)
        file.rename(file.with_name(f"front_{labelled(reviewer, person, is_a(CLASSES[0]))}_0.jpg"))
    real = load_folder(data)
    made = make(real, tmp_path / "made", kinds=("relit",))
    assert write_sheet(scan_folder(made.path).photos, real.photos, tmp_path / "sheet.zip", sample=8, seed=1) == 6
    engineer, leaver = caller(Role.MODEL_ENGINEER), subject_of(LEAVES)
    assert leaver is not None
    content = (tmp_path / "sheet.zip").read_bytes()
    told = engineer.post("/api/v1/sheets/", content, content_type="application/zip").json()
    assert (told["size"], told["left_out"]) == (6, 0)
    of_leaver = SheetItem.objects.filter(prediction__subject=leaver.pk)
    assert {item.origin for item in of_leaver} >= {"synthetic"}
    before = SheetItem.objects.count()
    gone = of_leaver.count()
    assert erasure.carry_out(ask_erasure(officer, LEAVES).pk)
    assert (of_leaver.all().count(), SheetItem.objects.count()) == (0, before - gone)
    assert Erasure.objects.get().before["sheets"] == gone
    Sheet.objects.all().delete()
    again = engineer.post("/api/v1/sheets/", content, content_type="application/zip").json()
    assert (again["size"], again["left_out"]) == (before - gone, gone)


def test_what_its_person_restricted_is_shown_to_nobody_and_stays(sheet: Sheet, officer: User) -> None:
    script = caller(Role.REVIEWER)
    restricted = Subject.objects.filter(consents__reference=f"train-{LEAVES}")
    restricted.update(restricted_at=now())
    assert judged(script, sheet, 1) == (2, [404, 404, 404])
    withdraw_consent(actor=officer, reference=f"train-{LEAVES}", channel="letter")
    apply_due(at=now())
    assert (SheetItem.objects.count(), Applied.objects.get(pk="sheets").held) == (3, 1)
    restricted.update(restricted_at=None)
    apply_due(at=now() + timedelta(hours=1))
    assert SheetItem.objects.count() == 2
    assert judged(script, sheet, 2)[1] == [200, 200, 201]


def test_what_its_person_restricts_while_sheets_are_emptied_stays(
    sheet: Sheet, officer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdraw_consent(actor=officer, reference=f"train-{LEAVES}", channel="letter")
    hold = withdrawal.hold

    def restricts(rows: QuerySet[Any]) -> None:
        restrict(actor=officer, found_by=find_by(vault_keys(), LEAVES))
        hold(rows)

    monkeypatch.setattr(withdrawal, "hold", restricts)
    assert withdrawal.discard_withdrawn() == 0
    assert SheetItem.objects.count() == 3

"""A sheet's whole way: from training's writer over experts' keyboards to what `amulet synth reviewed` reads."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.test import RequestFactory
from django.urls import reverse
from django.utils.translation import override
from PIL import Image
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from console.audit.models import Entry
from console.errors import Conflict, Invalid, NotAllowed, TooLarge
from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.sheets import queries, services
from console.sheets.models import Sheet, SheetAnswer, SheetItem
from console.sheets.services import Answer
from console.site.roles import Role
from console.staff.models import User
from console.staff.services import create_token
from model_store.review_sheet import SHEET_BYTES_MAX, Item, Kind, Origin, jpeg, write_sheet
from tests.console_events import prediction_event
from tests.unit.console.people import browser, caller, member
from tests.unit.console.site.test_pages import at_the_desk
from training.synthetic.commands import synth

pytestmark = pytest.mark.django_db
RED = jpeg(Image.new("RGB", (8, 8), "red"))
BLUE = jpeg(Image.new("RGB", (8, 8), "blue"))


@pytest.fixture
def engineer() -> User:
    return member(Role.MODEL_ENGINEER)


@pytest.fixture
def synthetic(tmp_path: Path) -> bytes:
    """Four of one class; the third is real."""
    origins = [Origin.SYNTHETIC, Origin.SYNTHETIC, Origin.REAL, Origin.SYNTHETIC]
    path = tmp_path / "synthetic.zip"
    write_sheet(path, (Item("", RED, "apple", origin=origin) for origin in origins), kind=Kind.SYNTHETIC)
    return path.read_bytes()


def heat_maps(folder: Path, *names: str) -> bytes:
    path = folder / "maps.zip"
    write_sheet(path, (Item(name, RED, "apple", BLUE, "pear", 0.75) for name in names), kind=Kind.HEAT_MAPS, model="v1")
    return path.read_bytes()


def audited() -> list[str]:
    return list(Entry.objects.filter(type__startswith="sheets.").order_by("sequence").values_list("type", flat=True))


def looks(expert: User) -> list[tuple[str, dict[str, object]]]:
    """What the audit trail says that this person opened: the sheet, and what of it."""
    rows = Entry.objects.filter(type="sheets.opened", actor=str(expert.pseudonym)).select_related("payload")
    told = [(row.payload.subject_id, json.loads(row.payload.text)) for row in rows.order_by("sequence")]
    return [(sheet, {name: value for name, value in said.items() if name != "about"}) for sheet, said in told]


@pytest.mark.usefixtures("static_files")
def test_two_experts_judge_blind_and_the_answers_go_back_to_training(
    engineer: User, synthetic: bytes, tmp_path: Path
) -> None:
    sheet = services.import_sheet(actor=engineer, pieces=[synthetic])
    with pytest.raises(Conflict, match="imported before"):
        services.import_sheet(actor=engineer, pieces=[synthetic])
    said = {
        "prasert": ("plausible", "plausible", "plausible", "not"),
        "anong": ("plausible", "not", "plausible", "not"),
    }
    for name, verdicts in said.items():
        expert = member(Role.REVIEWER, name)
        assert browser(expert).get(f"/api/v1/sheets/{sheet.pk}/").json()["judged"] == 0
        for number, verdict in enumerate(verdicts, start=1):
            problems = ("texture",) if verdict == "not" else ()
            services.answer(actor=expert, sheet_id=sheet.pk, number=number, given=Answer(verdict, problems))
        with pytest.raises(Conflict):
            services.answer(actor=expert, sheet_id=sheet.pk, number=1, given=Answer("not"))
        with pytest.raises(Conflict):
            services.take_back(actor=expert, sheet_id=sheet.pk)
        with pytest.raises(NotAllowed):
            services.export_answers(actor=expert, sheet_id=sheet.pk)

        own = browser(expert).get(f"/api/v1/sheets/{sheet.pk}/").json()
        assert (own["judged"], own["size"]) == (4, 4)
        assert (own["progress"], own["figures"]) == (None, None)

    found = queries.results(sheet)
    assert (found.all.answers, found.all.share.value, found.all.share.n) == (8, 0.625, 4)
    assert {part.name: part.share.value for part in found.origins} == {"real": 1.0, "synthetic": 0.5}
    assert found.problems == {"texture": 3}
    # Of four, three alike: 0.75. By chance: 1/2 * 3/4 + 1/2 * 1/4 = 0.5.
    assert [pair.concord.kappa for pair in found.pairs] == [0.5]

    script = caller(Role.MODEL_ENGINEER)
    told = script.get(f"/api/v1/sheets/{sheet.pk}/").json()
    assert (told["judged"], told["progress"]) == (0, [4, 4])
    assert (told["figures"]["all"]["answers"], told["figures"]["all"]["share"]["value"]) == (8, 0.625)
    assert {part["name"]: part["share"]["value"] for part in told["figures"]["origins"]} == {
        "real": 1.0, "synthetic": 0.5,
    }  # fmt: skip
    assert [(part["name"], part["share"]["n"]) for part in told["figures"]["classes"]] == [("apple", 3)]
    assert told["figures"]["problems"] == {"texture": 3}
    (pair,) = told["figures"]["pairs"]
    assert (pair["first"], pair["second"], pair["concord"]["kappa"]) == ("anong", "prasert", 0.5)
    assert pair["concord"]["too_few"] is True
    shown = browser(User.objects.get(username="malee")).get(f"/admin/sheets/sheet/{sheet.pk}/change/")
    assert "3 of 4 alike; Cohen's kappa takes 20 photographs" in shown.content.decode()

    answers = script.get(f"/api/v1/sheets/{sheet.pk}/answers/").json()
    assert {row["reviewer"] for row in answers["answers"]} == {
        str(user.pseudonym) for user in User.objects.filter(username__in=said)
    }
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    told = CliRunner().invoke(synth, ["reviewed", str(tmp_path / "answers.json"), "--json"])
    assert told.exit_code == 0, told.output
    read = json.loads(told.output)
    assert (read["synthetic"]["acceptance"], read["real"]["acceptance"]) == (0.5, 1.0)
    assert (read["reviewers"], read["cohen_kappa"]) == (2, 0.5)

    services.remove_sheet(actor=engineer, sheet_id=sheet.pk, reason="read")
    assert not Sheet.objects.exists()
    assert not SheetAnswer.objects.exists()
    assert audited() == [
        "sheets.imported", "sheets.answered", "sheets.answered", "sheets.exported", "sheets.removed",
    ]  # fmt: skip


def test_of_a_sheet_that_is_half_filled_the_terminal_says_what_the_page_says(
    engineer: User, synthetic: bytes, tmp_path: Path
) -> None:
    sheet = services.import_sheet(actor=engineer, pieces=[synthetic])
    said = {"prasert": ("plausible", "not", "plausible", "not"), "anong": ("plausible", "plausible")}
    for name, verdicts in said.items():
        expert = member(Role.REVIEWER, name)
        for number, verdict in enumerate(verdicts, start=1):
            services.answer(actor=expert, sheet_id=sheet.pk, number=number, given=Answer(verdict))
    script = caller(Role.MODEL_ENGINEER)
    page = {part["name"]: part for part in script.get(f"/api/v1/sheets/{sheet.pk}/").json()["figures"]["origins"]}
    (tmp_path / "answers.json").write_text(json.dumps(script.get(f"/api/v1/sheets/{sheet.pk}/answers/").json()))
    told = CliRunner().invoke(synth, ["reviewed", str(tmp_path / "answers.json"), "--json"])
    assert told.exit_code == 0, told.output
    for origin in ("synthetic", "real"):
        there, here = json.loads(told.output)[origin], page[origin]["share"]
        assert there["acceptance"] == pytest.approx(here["value"])
        assert there["interval"] == pytest.approx([here["low"], here["high"]], abs=1e-6)
    assert page["synthetic"]["share"]["value"] == 0.5  # of three: one, a half and none
    (pair,) = queries.results(sheet).pairs
    assert json.loads(told.output)["cohen_kappa"] == pytest.approx(pair.concord.kappa)


def test_who_may_answer_sees_nothing_of_others_before_the_last_answer(engineer: User, synthetic: bytes) -> None:
    sheet, suda = services.import_sheet(actor=engineer, pieces=[synthetic]), member(Role.ADMINISTRATOR)
    for number in (1, 2, 3):
        services.answer(actor=suda, sheet_id=sheet.pk, number=number, given=Answer("plausible"))
    assert services.take_back(actor=suda, sheet_id=sheet.pk) == 3
    with pytest.raises(NotAllowed, match="after answering all"):
        services.export_answers(actor=suda, sheet_id=sheet.pk)
    lead, address = browser(suda), f"/api/v1/sheets/{sheet.pk}/"
    assert (lead.get(address).json()["progress"], lead.get(address).json()["figures"]) == ([2], None)
    for number in (3, 4):
        services.answer(actor=suda, sheet_id=sheet.pk, number=number, given=Answer("unsure"))
    assert len(services.export_answers(actor=suda, sheet_id=sheet.pk)["answers"]) == 4
    assert lead.get(address).json()["figures"]["all"]["answers"] == 4


def test_a_photograph_that_the_console_exported_goes_with_its_person(engineer: User, tmp_path: Path) -> None:
    event = prediction_event()
    apply_batch([event])
    key = event.prediction.prediction_id
    sheet = services.import_sheet(
        actor=engineer, pieces=[heat_maps(tmp_path, f"apple/top_{key}_0.png", "apple/other.png")]
    )
    services.answer(actor=member(Role.REVIEWER), sheet_id=sheet.pk, number=1, given=Answer("yes"))
    Prediction.objects.filter(pk=key).delete()
    assert list(SheetItem.objects.values_list("name", flat=True)) == ["apple/other.png"]


def test_what_is_no_sheet_is_refused_with_a_sentence(engineer: User, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="This is no review sheet: it is no zip archive"):
        services.import_sheet(actor=engineer, pieces=[b"hello"])
    with pytest.raises(TooLarge):
        services.import_sheet(actor=engineer, pieces=[b"0" * SHEET_BYTES_MAX, b"0"])
    sheet = services.import_sheet(actor=engineer, pieces=[heat_maps(tmp_path, "a.png")])
    expert = member(Role.REVIEWER)
    for given, sentence in (
        (Answer("plausible"), "The answers are: yes, no, unsure"),
        (Answer("yes", ["shape"]), "Problems are of synthetic photographs"),
        (Answer("yes", note="x" * 501), "at most 500"),
    ):
        with pytest.raises(Invalid, match=sentence):
            services.answer(actor=expert, sheet_id=sheet.pk, number=1, given=given)
    refused = caller(Role.MODEL_ENGINEER).generic("POST", "/api/v1/sheets/", "no", content_type="application/zip")
    assert (refused.status_code, refused.json()["reason"]) == (400, "invalid")


@pytest.mark.parametrize(
    ("content", "english", "thai"),
    [
        ("not a zip", "it is no zip archive, or its end is missing", "ไม่ใช่ไฟล์ zip"),
        ("another zip", "it has no sheet.json: name a file that", "ไม่มี sheet.json อยู่ภายใน"),
        ("an older schema", "sheet.json is of another schema than 1: write", "sheet.json มีรูปแบบต่างจากรูปแบบที่ 1"),
        ("half of it", "it is no zip archive, or its end is missing", "ส่วนท้ายของไฟล์ขาดหาย"),
        ("a large picture", "large.jpg has 1048577 bytes; at most 1048576", "large.jpg มีขนาด 1048577 ไบต์"),
        ("a stray picture", "every picture of the file belongs to", "ภาพแต่ละภาพในไฟล์"),
    ],
)
def test_a_wrong_file_is_refused_in_the_language_of_whoever_chose_it(
    engineer: User, tmp_path: Path, content: str, english: str, thai: str
) -> None:
    whole = heat_maps(tmp_path, "a.png")
    path = tmp_path / "maps.zip"
    if content == "not a zip":
        path.write_bytes(b"{}")
    elif content == "half of it":
        path.write_bytes(whole[: len(whole) // 2])
    elif content in ("another zip", "an older schema"):
        with zipfile.ZipFile(path, "w") as file:
            if content == "an older schema":
                sheet = {"schema": 0, "kind": "heat_maps", "model": "v1", "items": []}
                file.writestr(zipfile.ZipInfo("sheet.json"), json.dumps(sheet))
            else:
                file.writestr(zipfile.ZipInfo("model.onnx"), "x")
    else:
        with zipfile.ZipFile(path, "a") as file:
            large = content == "a large picture"
            file.writestr(
                zipfile.ZipInfo("large.jpg" if large else "stray.jpg"), RED + b"x" * large * (2**20 + 1 - len(RED))
            )
    refused = path.read_bytes()
    for language, said in (("en", english), ("th", thai)):
        with override(language), pytest.raises(Invalid) as why:
            services.import_sheet(actor=engineer, pieces=[refused])
        assert said in why.value.message
    assert not Sheet.objects.exists()


@pytest.mark.usefixtures("static_files")
def test_a_sheet_that_comes_in_has_no_name_on_the_disk_that_a_kill_would_leave(engineer: User, tmp_path: Path) -> None:
    content = heat_maps(tmp_path, "a.png")
    before, during = set(settings.AMULET.staging_dir.glob("*")), set()

    def pieces() -> Iterator[bytes]:
        yield content[:100]
        during.update(settings.AMULET.staging_dir.iterdir())
        yield content[100:]

    assert services.import_sheet(actor=engineer, pieces=pieces()).size == 1
    assert during == before


def test_nor_has_a_large_file_that_comes_in_by_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large = b"photograph" * 2**19
    request = RequestFactory().post("/admin/", {"file": SimpleUploadedFile("sheet.zip", large)})
    file = request.FILES["file"]
    assert isinstance(file, TemporaryUploadedFile)  # on disk, and not in memory
    assert list(tmp_path.iterdir()) == []
    assert b"".join(file.chunks()) == large
    request.close()


def test_on_the_pages_an_expert_is_never_told_what_is_real(engineer: User, synthetic: bytes) -> None:
    sheet = services.import_sheet(actor=engineer, pieces=[synthetic])
    browser, _expert = at_the_desk(Role.REVIEWER)
    judge = reverse("admin:sheets_sheet_judge", args=[sheet.pk])
    pages = []
    for number in range(1, 5):
        page = browser.get(judge, follow=True).content.decode()
        assert f'name="number" value="{number}"' in page
        assert "data:image/jpeg;base64," in page
        assert not any(word in page for word in ('"real"', '"synthetic"', "origin", ">real<", "001"))
        pages.append(page)
        given = {"number": number, "answer": "plausible", "problems": ["shape"], "note": "so"}
        assert browser.post(judge, given).status_code == 302
    whole = browser.get(reverse("admin:sheets_sheet_change", args=[sheet.pk])).content.decode()
    assert "You have judged 4 of 4." in whole
    assert "Found good" not in whole
    assert SheetAnswer.objects.filter(problems=["shape"], note="so").count() == 4

    desk, _ = at_the_desk(Role.MODEL_ENGINEER, "desk-2")
    seen = desk.get(reverse("admin:sheets_sheet_change", args=[sheet.pk]))
    assert "Found good" in seen.content.decode()
    assert "100%" in seen.content.decode()


@pytest.mark.usefixtures("static_files")
def test_an_engineer_imports_exports_and_removes_on_the_pages(tmp_path: Path) -> None:
    desk, _ = at_the_desk(Role.MODEL_ENGINEER)
    file = tmp_path / "sheet.zip"
    file.write_bytes(heat_maps(tmp_path, "a.png"))
    with file.open("rb") as content:
        assert desk.post(reverse("admin:sheets_sheet_take_in"), {"file": content}).status_code == 302
    sheet = Sheet.objects.get()
    expert, _ = at_the_desk(Role.REVIEWER, "expert")
    page = expert.get(reverse("admin:sheets_sheet_judge", args=[sheet.pk])).content.decode()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "pear" in page
    answers = desk.get(reverse("admin:sheets_sheet_export", args=[sheet.pk]))
    assert json.loads(answers.content) == {"kind": "heat_maps", "model": "v1", "answers": []}
    assert desk.post(reverse("admin:sheets_sheet_remove", args=[sheet.pk]), {"reason": "done"}).status_code == 302
    assert not Sheet.objects.exists()


class TestByScript:
    """Judging by REST is judging on the page: the same order, the same rules, and no more is told."""

    def test_an_expert_judges_a_sheet_of_heat_maps_to_its_end(self, engineer: User, tmp_path: Path) -> None:
        sheet = services.import_sheet(actor=engineer, pieces=[heat_maps(tmp_path, "a.png", "b.png")])
        script, address = caller(Role.REVIEWER), f"/api/v1/sheets/{sheet.pk}/"
        item = script.get(f"{address}next/").json()
        here = f"http://testserver{address}items/1/"
        assert item == {
            "number": 1, "photograph": f"{here}photograph/", "heat_map": f"{here}heat-map/", "label": "apple",
            "predicted": "pear", "confidence": 0.75, "verdicts": ["yes", "no", "unsure"], "problems": [],
        }  # fmt: skip
        for name, content in (("photograph", RED), ("heat_map", BLUE)):
            picture = script.get(item[name])
            assert (picture["Content-Type"], picture.content) == ("image/jpeg", content)
            assert "no-store" in picture["Cache-Control"]
        assert script.get(f"{address}next/?after=1").json()["number"] == 2
        made = script.post(f"{address}items/1/judge/", {"verdict": "no", "note": "at the background"})
        assert (made.status_code, made.json()["number"], made.json()["verdict"]) == (201, 1, "no")
        assert script.get(f"{address}next/?after=2").json()["number"] == 2
        assert script.post(f"{address}take-back/").json() == {"number": 1}
        for number in (1, 2):
            assert script.post(f"{address}items/{number}/judge/", {"verdict": "yes"}).status_code == 201
        done = script.get(f"{address}next/")
        assert (done.status_code, done.content) == (204, b"")
        assert script.post(f"{address}take-back/").json()["reason"] == "too_late"
        assert queries.results(sheet).all.answers == 2
        assert audited() == ["sheets.imported", "sheets.opened", "sheets.opened", "sheets.answered"]

    def test_each_look_is_in_the_audit_trail_by_number_and_not_by_name(self, engineer: User, tmp_path: Path) -> None:
        sheet = services.import_sheet(actor=engineer, pieces=[heat_maps(tmp_path, "somchai at home.png")])
        expert, address = member(Role.REVIEWER), f"/api/v1/sheets/{sheet.pk}/items/1/"
        script = browser(expert)
        assert script.get(f"/api/v1/sheets/{sheet.pk}/next/").status_code == 200  # addresses, and no picture
        assert looks(expert) == []
        for name in ("photograph", "heat-map"):
            assert script.get(f"{address}{name}/").status_code == 200
        assert looks(expert) == [
            (str(sheet.pk), {"number": 1, "pictures": ["photograph"]}),
            (str(sheet.pk), {"number": 1, "pictures": ["heat_map"]}),
        ]
        assert script.get(f"{address[:-2]}2/photograph/").status_code == 404
        assert browser(engineer).get(f"{address}photograph/").status_code == 403
        assert len(looks(expert)) == len(audited()) - 1 == 2  # who was refused saw nothing

    @pytest.mark.usefixtures("static_files")
    def test_the_page_of_an_item_is_one_look_at_both(
        self, engineer: User, tmp_path: Path, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        sheet = services.import_sheet(actor=engineer, pieces=[heat_maps(tmp_path, "a.png")])
        expert = member(Role.REVIEWER)
        page = browser(expert)
        page.get(reverse("admin:sheets_sheet_change", args=[sheet.pk]))
        assert looks(expert) == []
        with django_assert_max_num_queries(15):
            shown = page.get(reverse("admin:sheets_sheet_judge", args=[sheet.pk])).content.decode()
        assert shown.count("data:image/jpeg;base64,") == 2
        assert looks(expert) == [(str(sheet.pk), {"number": 1, "pictures": ["photograph", "heat_map"]})]

    def test_nothing_says_what_is_real(self, engineer: User, synthetic: bytes) -> None:
        sheet, script = services.import_sheet(actor=engineer, pieces=[synthetic]), caller(Role.REVIEWER)
        told = [script.get(f"/api/v1/sheets/{sheet.pk}/next/?after={number}").json() for number in range(4)]
        assert [item.pop("number") for item in told] == [1, 2, 3, 4]
        assert {item.pop("photograph").rpartition("/items/")[0] for item in told} == {
            f"http://testserver/api/v1/sheets/{sheet.pk}"
        }
        assert told == [
            {
                "heat_map": None, "label": "apple", "predicted": "", "confidence": None,
                "verdicts": ["plausible", "not", "unsure"], "problems": ["shape", "texture", "artefacts"],
            }
        ] * 4  # fmt: skip
        assert script.get(f"/api/v1/sheets/{sheet.pk}/items/1/heat-map/").status_code == 404

    def test_nobody_judges_twice_not_even_under_another_key(self, engineer: User, synthetic: bytes) -> None:
        sheet, script = services.import_sheet(actor=engineer, pieces=[synthetic]), caller(Role.REVIEWER)
        address, said = f"/api/v1/sheets/{sheet.pk}/items/1/judge/", {"verdict": "not", "problems": ["texture"]}
        first = script.post(address, said, HTTP_IDEMPOTENCY_KEY="the first of this sheet")
        again = script.post(address, said, HTTP_IDEMPOTENCY_KEY="the first of this sheet")
        assert (again.status_code, again.json()) == (first.status_code, first.json()) == (201, first.json())
        refused = script.post(address, said, HTTP_IDEMPOTENCY_KEY="once more of this sheet")
        assert (refused.status_code, refused.json()["reason"]) == (409, "already_answered")
        assert SheetAnswer.objects.count() == 1

    def test_what_does_not_fit_is_refused_by_its_field(self, engineer: User, tmp_path: Path) -> None:
        sheet = services.import_sheet(actor=engineer, pieces=[heat_maps(tmp_path, "a.png")])
        script, address = caller(Role.REVIEWER), f"/api/v1/sheets/{sheet.pk}/"
        for given, field in (
            ({"verdict": "plausible"}, "verdict"),
            ({"verdict": "yes", "problems": ["shape"]}, "problems"),
            ({"verdict": "yes", "note": "x" * 501}, "note"),
            ({"verdict": "yes", "sure": True}, "sure"),
            ({}, "verdict"),
        ):
            refused = script.post(f"{address}items/1/judge/", given)
            assert (refused.status_code, refused.json()["field"]) == (400, field), given
        for query, field in (("after=-1", "after"), ("after=many", "after"), ("aftr=1", "aftr")):
            refused = script.get(f"{address}next/?{query}")
            assert (refused.status_code, refused.json()["field"]) == (400, field)
        for gone in ("items/2/photograph/", "items/2/heat-map/"):
            assert script.get(address + gone).status_code == 404
        assert script.post(f"{address}items/2/judge/", {"verdict": "yes"}).status_code == 404
        assert not SheetAnswer.objects.exists()

    def test_a_token_that_looks_at_everything_else_opens_no_photograph(self, engineer: User, tmp_path: Path) -> None:
        sheet = services.import_sheet(actor=engineer, pieces=[heat_maps(tmp_path, "a.png")])
        expert, client = member(Role.REVIEWER), APIClient()
        token = create_token(user=expert, name="looks", actor=expert, scopes=["read"]).text
        client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
        assert client.get(f"/api/v1/sheets/{sheet.pk}/next/").status_code == 200
        for name in ("photograph", "heat-map"):
            refused = client.get(f"/api/v1/sheets/{sheet.pk}/items/1/{name}/")
            assert (refused.status_code, refused.json()["reason"]) == (403, "insufficient_scope")

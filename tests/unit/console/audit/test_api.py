from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click import Command
from click.testing import CliRunner
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings
from django.utils.timezone import now
from django.utils.translation import gettext, override
from pytest_django import DjangoAssertNumQueries

from console.audit.checking import check_newest
from console.audit.commands import notes_in, receipt, verify
from console.audit.models import Checkpoint, Entry, Payload
from console.audit.notes import load_private_key, load_public_key, sign_checkpoint
from console.audit.services import NewEntry, append, erase_payloads
from console.audit.verifier import NOTHING_SIGNED
from console.audit.verifier import verify as verify_lines
from console.ingest.services import apply_batch
from console.review.models import ReviewItem
from console.review.services import NOT_YET
from console.site.roles import Role
from tests.console_events import prediction_event
from tests.unit.console.people import browser, caller, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_checkpoints")]


def write(count: int, subject: str = "p") -> None:
    with transaction.atomic():
        append([NewEntry("prediction.made", "prediction", f"{subject}{n}") for n in range(count)], actor="gateway")


def test_an_export_verifies_on_the_command_line_and_its_tail_cannot_be_cut(tmp_path: Path) -> None:
    auditor = caller(Role.AUDITOR)
    write(20)
    call_command("checkpoint")
    response = auditor.get("/api/v1/audit/export/")
    assert response.status_code == 200
    file = tmp_path / "audit.jsonl"
    file.write_bytes(response.getvalue())
    assert Entry.objects.first().type == "audit.exported"  # type: ignore[union-attr]
    folder = settings.AMULET.checkpoint_dir
    runner = CliRunner()
    arguments = [str(file), "--key", str(folder / "audit_public.pem"), "--json"]
    kept = ["--checkpoints", str(folder)]
    for more, said in (([], True), (kept, False)):
        told_so = runner.invoke(verify, [*arguments[:-1], *more], standalone_mode=False).stdout
        assert ("held against no checkpoint from elsewhere (--checkpoints)" in told_so) is said
    done = runner.invoke(verify, arguments, standalone_mode=False)
    told = json.loads(done.stdout)
    assert done.return_value == 0
    assert told["whole"]
    assert told["last"] == told["signed_through"] + 1
    call_command("checkpoint")
    done = runner.invoke(verify, [*arguments, *kept], standalone_mode=False)
    assert json.loads(done.stdout)["whole"]
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    done = runner.invoke(verify, [*arguments, *kept], standalone_mode=False)
    assert done.return_value == 1
    assert "missing" in done.stdout


def test_an_export_may_begin_where_an_auditor_was_last_and_verifies_by_itself(tmp_path: Path) -> None:
    auditor = caller(Role.AUDITOR)
    write(5)
    call_command("checkpoint")
    signed = Checkpoint.objects.latest("size").size
    write(3)  # not signed, and before the moment
    since = now()
    write(4, "late")
    call_command("checkpoint")
    response = auditor.get("/api/v1/audit/export/", {"since": since.isoformat()})
    assert response.status_code == 200
    content = response.getvalue()
    key = load_public_key(settings.AMULET.checkpoint_dir / "audit_public.pem")
    report = verify_lines(content.splitlines(), key)
    assert (report.whole, report.first, report.last) == (True, signed + 1, Entry.objects.latest("sequence").sequence)
    assert b"late3" in content
    assert json.loads(Entry.objects.latest("sequence").payload.text)["first"] == signed + 1
    assert not verify_lines(content.splitlines()[:1] + content.splitlines()[2:], key).whole

    tomorrow = auditor.get("/api/v1/audit/export/", {"since": (now() + timedelta(days=1)).isoformat()}).getvalue()
    assert verify_lines(tomorrow.splitlines(), key).first == Checkpoint.objects.latest("size").size + 1
    long_ago = auditor.get("/api/v1/audit/export/", {"since": "2000-01-01T00:00:00Z"}).getvalue()
    assert verify_lines(long_ago.splitlines(), key).first == 1


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"since": ""}, "since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"until": "2026-01-01T00:00:00Z"}, "until"),
    ],
)
def test_a_moment_from_which_nothing_can_be_exported_is_refused(asked: dict[str, str], field: str) -> None:
    write(1)
    call_command("checkpoint")
    refused = caller(Role.AUDITOR).get("/api/v1/audit/export/", asked)
    assert (refused.status_code, refused.json()["field"]) == (400, field)
    assert not Entry.objects.filter(type="audit.exported").exists()


def test_checkpoints_are_read_as_they_were_published() -> None:
    auditor = caller(Role.AUDITOR)
    for count in (3, 4):
        write(count)
        call_command("checkpoint")
    newest, before = auditor.get("/api/v1/audit/checkpoints/").json()["results"]
    assert newest["size"] == before["size"] + 4
    published = set(notes_in(settings.AMULET.checkpoint_dir))
    assert {newest["note"], before["note"]} <= published
    assert caller(Role.VIEWER).get("/api/v1/audit/checkpoints/").status_code == 403


def test_a_script_hears_whether_the_log_is_whole() -> None:
    auditor = caller(Role.AUDITOR)
    write(20)
    call_command("checkpoint")
    write(3)
    last = Entry.objects.latest("sequence").sequence
    told = auditor.get("/api/v1/audit/verification/").json()
    assert told.pop("took_s") > 0
    assert told == {
        "whole": True, "entries": last, "first": 1, "last": last, "checkpoints": 1, "signed_through": last - 3,
        "erased": 0, "erased_by_hand": 0, "problems": [], "problems_left_out": 0,
    }  # fmt: skip


def test_a_script_hears_where_the_log_is_broken() -> None:
    auditor = caller(Role.AUDITOR)
    write(20)
    call_command("checkpoint")
    payload = Payload.objects.get(subject_id="p7")
    changed = payload.entry_id
    payload.delete()  # no update is let through
    Payload(entry_id=changed, salt=payload.salt, text="{}", subject_type="prediction", subject_id="p7").save()
    told = auditor.get("/api/v1/audit/verification/").json()
    assert not told["whole"]
    assert told["problems"] == [
        {"first": changed, "last": changed, "what": "its payload is not the one that it was written with"}
    ]


def test_what_an_entry_is_about_is_shown_as_it_was_hashed_and_another_place_for_it_is_told(static_files: None) -> None:
    auditor = member(Role.AUDITOR)
    asked = browser(auditor)
    write(3)
    call_command("checkpoint")
    payload = Payload.objects.get(subject_id="p1")
    entry = payload.entry_id
    payload.delete()  # no update is let through
    Payload(entry_id=entry, salt=payload.salt, text=payload.text, subject_type="prediction", subject_id="p999").save()
    address = f"/api/v1/audit/entries/{entry}/"
    assert asked.get(address).json()["about"] == {"type": "prediction", "id": "p1"}
    page = asked.get(f"/admin/audit/entry/{entry}/change/").content.decode()
    assert (">p1<" in page, "p999" in page) == (True, False)
    told = asked.get("/api/v1/audit/verification/").json()
    assert [(problem["first"], problem["last"]) for problem in told["problems"]] == [(entry, entry)]
    assert "p999" in told["problems"][0]["what"]


@pytest.mark.parametrize("language", ["en", "th"])
def test_a_log_of_which_nothing_is_signed_yet_is_no_broken_one(static_files: None, language: str) -> None:
    """A console of a minute told its first auditor that its log was not whole, and on a Thai page in English."""
    auditor = browser(member(Role.AUDITOR))
    auditor.cookies["django_language"] = language
    write(3)
    page = auditor.get("/admin/audit/entry/verify/").content.decode()
    with override(language):
        assert gettext("nothing signed yet") in page
        said = "No checkpoint is signed yet, so nothing of this is proved. The signer makes the first one within a "
        assert gettext(f"{said}minute of its start; the home page says how it does.") in page
        assert gettext("not whole") not in page
    assert NOTHING_SIGNED not in page
    payload = Payload.objects.get(subject_id="p1")
    entry = payload.entry_id
    payload.delete()  # no update is let through
    Payload(entry_id=entry, salt=payload.salt, text="{}", subject_type="prediction", subject_id="p1").save()
    broken = auditor.get("/admin/audit/entry/verify/").content.decode()
    with override(language):
        assert gettext("not whole") in broken
    assert '<ul class="c-said" lang="en">' in broken


@pytest.mark.parametrize("entries_max", [8, 1000])
def test_a_log_whose_end_was_cut_off_is_not_whole(entries_max: int) -> None:
    for count in (6, 12):
        write(count)
        call_command("checkpoint")
    # Whoever owns the database could cut it; what was published stays.
    later = sign_checkpoint(load_private_key(settings.AMULET.audit_key_file), size=21, root=bytes(32))
    (newest,) = settings.AMULET.checkpoint_dir.glob("*.txt")
    newest.write_text(f"{newest.read_text('utf-8')}{later}\n", "utf-8")
    (problem,) = check_newest(entries_max=entries_max).report.problems
    assert (problem.first, problem.last) == (19, 21)


def test_of_a_long_log_the_newest_entries_are_verified() -> None:
    for count in (6, 5, 7):
        write(count)
        call_command("checkpoint")
    report = check_newest(entries_max=8).report
    assert (report.whole, report.first, report.last, report.checkpoints) == (True, 7, 18, 2)


def test_while_there_is_no_key_a_script_is_told_so(tmp_path: Path) -> None:
    auditor = caller(Role.AUDITOR)
    described = auditor.get("/api/v1/schema?format=json").json()["paths"]
    with override_settings(AMULET=settings.AMULET.model_copy(update={"checkpoint_dir": tmp_path})):
        for address in ("/api/v1/audit/verification/", "/api/v1/audit/export/"):
            refused = auditor.get(address)
            assert (refused.status_code, refused.json()["reason"]) == (503, "not_available")
            assert "503" in described[address]["get"]["responses"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--key", __file__], 2), (["--key", "nowhere.pem"], 2), (["--checkpoints", "nowhere"], 2)],
)
def test_wrong_use_of_the_command_is_told_from_a_broken_log(tmp_path: Path, arguments: list[str], status: int) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text("")
    done = CliRunner().invoke(verify, [str(file), *arguments])
    assert done.exit_code == 2
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", [verify, receipt])
def test_checkpoints_that_are_none_are_said_and_not_passed_over(command: Command, tmp_path: Path) -> None:
    write(1)
    call_command("checkpoint")
    key, file = settings.AMULET.checkpoint_dir / "audit_public.pem", tmp_path / "log.jsonl"
    file.write_text("{}")
    (tmp_path / "kept").mkdir()

    done = CliRunner().invoke(command, [str(file), "--key", str(key), "--checkpoints", str(tmp_path / "kept")])

    assert done.exit_code == 2
    assert f"--checkpoints {tmp_path / 'kept'} holds none: name a file of checkpoints" in done.output


def test_entries_are_listed_newest_first_along_a_cursor_and_filtered_by_what_they_are_about() -> None:
    auditor = caller(Role.AUDITOR)
    write(5)
    first = auditor.get("/api/v1/audit/entries/?type=prediction.made&page_size=3").json()
    assert [entry["payload"]["about"][1] for entry in first["results"]] == ["p4", "p3", "p2"]
    second = auditor.get(first["next"]).json()
    assert [entry["payload"]["about"][1] for entry in second["results"]] == ["p1", "p0"]
    (only,) = auditor.get("/api/v1/audit/entries/?subject_type=prediction&subject_id=p3").json()["results"]
    assert len(only["hash"]) == 64


class TestOneEntry:
    def test_it_is_told_with_its_links_and_what_signs_it(
        self, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        auditor = caller(Role.AUDITOR)
        write(3)
        call_command("checkpoint")
        write(1, subject="late")
        before, entry, *_, last = Entry.objects.order_by("sequence")
        with django_assert_max_num_queries(10):
            told = auditor.get(f"/api/v1/audit/entries/{entry.sequence}/").json()
        (listed,) = (
            row for row in auditor.get("/api/v1/audit/entries/").json()["results"] if row["sequence"] == entry.sequence
        )
        assert listed.items() <= told.items()
        assert told["previous"] == bytes(before.entry_hash).hex()
        assert told["commitment"] == bytes(entry.commitment).hex()
        assert told["about"] == {"type": entry.payload.subject_type, "id": entry.payload.subject_id}
        assert (told["withheld"], told["checkpoint"]["size"]) == (False, last.sequence - 1)
        assert auditor.get(f"/api/v1/audit/entries/{last.sequence}/").json()["checkpoint"] is None

    def test_its_receipt_is_proved_elsewhere_with_the_public_key_alone(self, tmp_path: Path) -> None:
        auditor = caller(Role.AUDITOR)
        write(5)
        call_command("checkpoint")
        entry = Payload.objects.get(subject_id="p3").entry_id
        answer = auditor.get(f"/api/v1/audit/entries/{entry}/receipt/")
        assert answer["Cache-Control"] == "no-store"
        file = tmp_path / "receipt.json"
        file.write_bytes(answer.content)
        key = str(settings.AMULET.checkpoint_dir / "audit_public.pem")
        done = CliRunner().invoke(receipt, [str(file), "--key", key, "--json"], standalone_mode=False)
        proved = json.loads(done.output)
        assert (done.return_value, proved["sequence"], proved["payload"]["about"]) == (0, entry, ["prediction", "p3"])

    def test_what_is_not_signed_or_erased_or_never_was_has_no_receipt(self) -> None:
        auditor = caller(Role.AUDITOR)
        write(2)
        entry = Payload.objects.get(subject_id="p1").entry_id
        address = f"/api/v1/audit/entries/{entry}/"

        def refused(url: str) -> tuple[int, str]:
            answer = auditor.get(url)
            return answer.status_code, answer.json()["reason"]

        assert refused(f"{address}receipt/") == (503, "not_signed_yet")
        call_command("checkpoint")
        assert auditor.get(f"{address}receipt/").status_code == 200
        with transaction.atomic():
            erase_payloads(subject_type="prediction", subject_ids=["p1"])
        assert refused(f"{address}receipt/") == (404, "erased")
        told = auditor.get(address).json()
        assert (told["payload"], told["about"], told["withheld"]) == (None, None, False)
        for url in ("/api/v1/audit/entries/999999/", "/api/v1/audit/entries/999999/receipt/"):
            assert refused(url) == (404, "not_found")

    def test_to_who_judges_before_the_model_is_heard_it_says_nothing(self) -> None:
        lead, auditor = member(Role.ADMINISTRATOR), caller(Role.AUDITOR)
        event = prediction_event(confidence=0.5)
        apply_batch([event])
        ReviewItem.objects.update(blind=True, withheld_until=NOT_YET)
        call_command("checkpoint")
        entry = Payload.objects.get(subject_id=event.prediction.prediction_id).entry_id
        address, asked = f"/api/v1/audit/entries/{entry}/", browser(lead)
        told = asked.get(address).json()
        assert (told["payload"], told["withheld"]) == (None, True)
        refused = asked.get(f"{address}receipt/")
        assert (refused.status_code, refused.json()["reason"]) == (404, "withheld")
        assert event.prediction.candidates[0].class_id not in refused.content.decode()
        assert event.prediction.candidates[0].class_id in json.dumps(auditor.get(address).json()["payload"])
        assert auditor.get(f"{address}receipt/").status_code == 200


def test_what_waits_for_a_signature_says_so_in_the_document() -> None:
    paths = caller(Role.AUDITOR).get("/api/v1/schema?format=json").json()["paths"]
    may_be_away = {path for path in paths if "get" in paths[path] and "503" in paths[path]["get"]["responses"]}
    assert may_be_away == {
        "/api/v1/audit/entries/{id}/receipt/",
        "/api/v1/audit/export/",
        "/api/v1/audit/verification/",
        "/api/v1/privacy/requests/{id}/certificate/",
        "/api/v1/privacy/requests/{id}/certificate/pdf/",
    }


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER, Role.MODEL_ENGINEER])
@pytest.mark.parametrize("path", ["entries/", "entries/1/", "entries/1/receipt/", "verification/", "export/"])
def test_only_who_may_sees_the_log(role: Role, path: str) -> None:
    assert caller(role).get(f"/api/v1/audit/{path}").status_code == 403

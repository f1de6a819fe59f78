from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings

from console.audit.checking import check_newest
from console.audit.commands import notes_in, verify
from console.audit.models import Entry, Payload
from console.audit.notes import load_private_key, sign_checkpoint
from console.audit.services import NewEntry, append
from console.site.roles import Role
from tests.unit.console.people import caller

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
        "erased": 0, "problems": [], "problems_left_out": 0,
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


def test_entries_are_listed_newest_first_along_a_cursor_and_filtered_by_what_they_are_about() -> None:
    auditor = caller(Role.AUDITOR)
    write(5)
    first = auditor.get("/api/v1/audit/entries/?type=prediction.made&page_size=3").json()
    assert [entry["payload"]["about"][1] for entry in first["results"]] == ["p4", "p3", "p2"]
    second = auditor.get(first["next"]).json()
    assert [entry["payload"]["about"][1] for entry in second["results"]] == ["p1", "p0"]
    (only,) = auditor.get("/api/v1/audit/entries/?subject_type=prediction&subject_id=p3").json()["results"]
    assert len(only["hash"]) == 64


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER, Role.MODEL_ENGINEER])
@pytest.mark.parametrize("path", ["audit/entries/", "audit/verification/", "audit/export/"])
def test_only_who_may_sees_the_log(role: Role, path: str) -> None:
    assert caller(role).get(f"/api/v1/{path}").status_code == 403

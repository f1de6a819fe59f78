"""Erases one person again and again, killed at every point at which a process can die; run by `test_erasure_kill`.

    python -m tests.fault.erasure_driver FOLDER [--every N] [--keep-deleted | --one-more-table]

A point is one statement that changes the database, one file that is deleted, or one opening of the
ledger. The state folder is the same at every start: SQLite, encrypted objects and a broker on disk.
Where AMULET_DATABASE_URL names an empty database on PostgreSQL, that one is used, and copied to and
from a second one beside it; what it holds is then searched as COPY writes it out, table by table.

Prints one JSON object. --every: kill at each Nth point only. Negative controls, which the search for
bytes must notice: --keep-deleted, SQLite does not overwrite what it deletes; --one-more-table, the
person's word stands in a table that no store looks into.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.console_ready import new_state

_parser = argparse.ArgumentParser()
_parser.add_argument("place", type=Path)
_parser.add_argument("--every", type=int, default=1)
_parser.add_argument("--keep-deleted", action="store_true")
_parser.add_argument("--one-more-table", action="store_true")
ASKED: Final = _parser.parse_args()
PLACE: Final = ASKED.place
os.environ["AMULET_STATE_DIR"] = str(new_state(PLACE / "state"))
os.environ["AMULET_LOG_LEVEL"] = "ERROR"
os.environ["DJANGO_SETTINGS_MODULE"] = "console.site.settings"

import django  # noqa: E402

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils.timezone import now  # noqa: E402

from console.audit.commands import check_document  # noqa: E402
from console.audit.export import export  # noqa: E402
from console.audit.signer import Signer  # noqa: E402
from console.audit.verifier import verify  # noqa: E402
from console.datasets.models import Dataset, Label  # noqa: E402
from console.privacy import erasure, tasks  # noqa: E402
from console.privacy.certificate import certificate_of  # noqa: E402
from console.privacy.models import Erasure, PrivacyRequest  # noqa: E402
from console.pulse.models import Pulse  # noqa: E402
from console.review.models import ExpertDecision  # noqa: E402
from console.sheets.models import Sheet, SheetItem  # noqa: E402
from console.site.roles import Role  # noqa: E402
from console.staff.models import User  # noqa: E402
from console.vault.models import Subject  # noqa: E402
from gateway.journal.rejected import RejectedEvent, RejectedEvents  # noqa: E402
from protos.amulet.events.v1 import events_pb2 as pb  # noqa: E402
from tests.canaries import forms  # noqa: E402
from tests.console_events import prediction_event  # noqa: E402
from tests.fault import server_database  # noqa: E402
from tests.fault.children import copied, in_child, point_of_death, was_killed  # noqa: E402
from tests.unit.console.people import member  # noqa: E402
from tests.unit.console.privacy.planted import CANARY, PERSON, Planted, ask_erasure, plant  # noqa: E402

POINTS_MAX: Final = 500
WORDS: Final = (b"canary-", *forms(PERSON.encode()))  # what was refused is written in base64


def main(folder: Path) -> dict[str, Any]:
    state, start = folder / "state", folder / "start"
    request_id, subject_id = in_child(_prepare)
    copied(state, start)
    server_database.set_aside()
    needles = [*WORDS, subject_id.encode(), subject_id.replace("-", "").encode()]
    places = sorted({each.partition(":")[0] for each in _holding(state, needles)})
    told: dict[str, Any] = {"points": 0, "last": 0, "found_before": places, "wrong": []}
    for point in range(1, POINTS_MAX, ASKED.every):
        copied(start, state)
        server_database.bring_back()
        killed = was_killed(partial(_erase, request_id, die_at=point))
        after = in_child(partial(_finish, request_id))
        if killed and after["done_before"]:
            told["wrong"].append(f"point {point}: done before it ended")
        if not killed and not after["done_before"]:
            told["wrong"].append(f"point {point}: ended and not done")
        if not after["done"] or any(after["found"].values()) or not after["whole"]:
            told["wrong"].append(f"point {point}: {after}")
        left = _holding(state, needles)
        if left:
            told["wrong"].append(f"point {point}: bytes are left in {left}")
        if not killed or (left and (ASKED.keep_deleted or ASKED.one_more_table)):
            break
        told["points"] += 1
        told["last"] = point
    return told


def _prepare() -> tuple[int, str]:
    """Plant a person and ask for the erasure."""
    call_command("migrate", interactive=False, verbosity=0)
    officer, expert = member(Role.PRIVACY_OFFICER), member(Role.REVIEWER)
    planted = plant(officer, expert, photographs=2)
    _plant_more(planted, expert)
    request = ask_erasure(officer)
    if ASKED.one_more_table:
        Pulse.objects.create(service="gateway", beaten_at=now(), problem="canary-left")
    _signer()
    return request.pk, str(planted.subject_id)


def _plant_more(planted: Planted, expert: User) -> None:
    """A label in a data set, a photograph on a review sheet, and an event that the console refused."""
    prediction = planted.prediction_ids[0]
    made = Dataset.objects.create(
        model="amulets",
        made_by=expert,
        fingerprint="0" * 64,
        photographs=1,
        per_class={"red": 1},
        outside=0,
        left_out=0,
    )
    decision = ExpertDecision.objects.get(item__prediction=prediction)
    Label.objects.create(
        dataset=made, prediction_id=prediction, decision=decision, part=0, class_id=f"{CANARY}label", sha256="0" * 64
    )
    sheet = Sheet.objects.create(kind="heat_maps", sha256="0" * 64, size=1, imported_by=expert)
    SheetItem.objects.create(
        sheet=sheet, number=1, name=f"{CANARY}sheet", prediction_id=prediction, photo=f"{CANARY}pixels".encode()
    )
    settings.AMULET.journal_dir.mkdir(parents=True, exist_ok=True)
    refused = [prediction_event(subject=pb.Subject(pseudonym=name)) for name in (PERSON, "somebody-else")]
    kept = [
        RejectedEvent(number, "", "unknown client", each.SerializeToString()) for number, each in enumerate(refused, 1)
    ]
    RejectedEvents(settings.AMULET.journal_dir).keep(kept)


def _erase(request_id: int, *, die_at: int) -> None:
    """Erase, and die by SIGKILL at one point."""
    point = point_of_death(die_at)

    def before_statement(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if not sql.startswith("SELECT"):  # to die before a question is to die after what was written last
            point()
        return execute(sql, parameters, many, context)

    def before_file(event: str, arguments: tuple[Any, ...]) -> None:
        ledger = event == "open" and "/erasures." in str(arguments[0])
        if ledger or event in ("os.remove", "os.rename"):
            point()

    connection.ensure_connection()
    sys.addaudithook(before_file)
    with connection.execute_wrapper(before_statement):
        assert erasure.carry_out(request_id)


def _finish(request_id: int) -> dict[str, Any]:
    """Go on as the next worker does; then look whether anything is left and whether the log is whole."""
    done_before = PrivacyRequest.objects.get(pk=request_id).state == "done"
    tasks.find_work()
    signer = _signer()
    signer.sign(now())
    key = signer._key.public_key()
    whole = verify(b"".join(export(key)).splitlines(), key).whole
    check_document(certificate_of(request_id), key)
    return {
        "done_before": done_before,
        "done": PrivacyRequest.objects.get(pk=request_id).state == "done",
        "found": {"subjects": Subject.objects.count(), "traces": len(Erasure.objects.get(pk=request_id).traces)},
        "whole": whole,
    }


def _signer() -> Signer:
    made = Signer(settings.AMULET.audit_key_file, settings.AMULET.checkpoint_dir)
    made.sign(now())
    return made


def _holding(state: Path, needles: list[bytes]) -> list[str]:
    """Files of the state in which one of the words can be read. The ledger holds the random id on purpose."""
    found = []
    for file in sorted(state.rglob("*")):
        if file.is_file() and file.parent.name != "ledger":
            content = file.read_bytes()
            found += [f"{file.relative_to(state)}: {word.decode()}" for word in needles if word in content]
    return found + (in_child(partial(_in_tables, needles)) if server_database.is_on_a_server() else [])


def _in_tables(needles: list[bytes]) -> list[str]:
    """Tables of the database in which one of the words can be read, in the clear or within bytes."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            content = io.BytesIO()
            cursor.copy_expert(f"COPY {connection.ops.quote_name(table)} TO STDOUT", content)
            text = content.getvalue()
            found += [f"{table}: {word.decode()}" for word in needles if word in text or word.hex().encode() in text]
    return found


if __name__ == "__main__":
    if ASKED.keep_deleted:
        options = settings.DATABASES["default"]["OPTIONS"]
        options["init_command"] = options["init_command"].replace("secure_delete=ON", "secure_delete=OFF")
    try:
        sys.stdout.write(json.dumps(main(PLACE)) + "\n")
    finally:
        server_database.drop_copy()

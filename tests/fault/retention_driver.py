"""Applies the rules of retention again and again, killed at every point at which a process can die; run by
`test_retention_kill`.

    python -m tests.fault.retention_driver FOLDER [--every N]

A point is one statement that changes the database, or one file that is deleted. Of each kind that has a rule there is
something whose time is over, something whose time is not, and, where the rule knows that, something that is held. The
next worker goes on, two days pass, files are swept; what is there then, and how much the log says went, must be what
it is where nobody was killed. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tests.console_ready import new_state

_parser = argparse.ArgumentParser()
_parser.add_argument("place", type=Path)
_parser.add_argument("--every", type=int, default=1)
ASKED: Final = _parser.parse_args()
os.environ["AMULET_STATE_DIR"] = str(new_state(ASKED.place / "state"))
os.environ["AMULET_LOG_LEVEL"] = "ERROR"
os.environ["AMULET_KEEP_PREDICTIONS_DAYS"] = "365"
os.environ["DJANGO_SETTINGS_MODULE"] = "console.site.settings"

import django  # noqa: E402

django.setup()

from axes.models import AccessAttempt  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils.timezone import now  # noqa: E402

from console.audit.export import export  # noqa: E402
from console.audit.models import Entry, Payload  # noqa: E402
from console.audit.signer import Signer  # noqa: E402
from console.audit.verifier import verify  # noqa: E402
from console.idempotency.models import Call  # noqa: E402
from console.predictions.models import Feedback, Prediction  # noqa: E402
from console.privacy import services as privacy  # noqa: E402
from console.privacy.models import PrivacyRequest  # noqa: E402
from console.retention import services  # noqa: E402
from console.retention.models import Applied  # noqa: E402
from console.retention.rules import RULES  # noqa: E402
from console.review.models import ExpertDecision, ReviewItem  # noqa: E402
from console.sheets.models import Sheet, SheetItem  # noqa: E402
from console.site.roles import Role  # noqa: E402
from console.vault import queries, restriction  # noqa: E402
from console.vault import services as vault  # noqa: E402
from console.vault.models import Consent, Erased, StoredObject  # noqa: E402
from console.vault.ownership import MARK  # noqa: E402
from console.webhooks.models import Delivery, Endpoint, State  # noqa: E402
from tests.console_events import CLASSES  # noqa: E402
from tests.fault import server_database  # noqa: E402
from tests.fault.children import copied, in_child, point_of_death, was_killed  # noqa: E402
from tests.unit.console.datasets.labelled import consenting, is_a, labelled  # noqa: E402
from tests.unit.console.people import member  # noqa: E402

POINTS_MAX: Final = 600
AT: Final = now()


def main(folder: Path) -> dict[str, Any]:
    state, start = folder / "state", folder / "start"
    in_child(_prepare)
    copied(state, start)
    server_database.set_aside()
    in_child(partial(_apply, AT))
    wanted = in_child(_finish)
    told: dict[str, Any] = {"points": 0, "wanted": wanted, "wrong": []}
    for point in range(1, POINTS_MAX, ASKED.every):
        copied(start, state)
        server_database.bring_back()
        killed = was_killed(partial(_apply, AT, die_at=point))
        found = in_child(_finish)
        if found != wanted:
            told["wrong"].append(f"point {point}: {found}")
        if not killed:
            break
        told["points"] += 1
    return told


def _prepare() -> None:
    """What is called old, held or young is each of its kind."""
    officer, expert = member(Role.PRIVACY_OFFICER), member(Role.REVIEWER)
    sheet = Sheet.objects.create(kind="heat_maps", sha256="0" * 64, size=1, imported_by=expert)
    long_ago, years_ago = AT - timedelta(days=400), AT - timedelta(days=2000)
    people = ("old", "held", "young", "run-out", "run-out-held", "withdrawn", "withdrawn-held")
    for number, person in enumerate(people, 1):
        consenting(officer, person)
        key = labelled(expert, person, is_a(CLASSES[0]))
        SheetItem.objects.create(sheet=sheet, number=number, name=person, prediction_id=key, photo=b"pixels")
        if person in ("old", "held"):
            Prediction.objects.filter(pk=key).update(happened_at=long_ago)
        if person.startswith("run-out"):
            Consent.objects.filter(reference=f"keep-{person}").update(expires_at=AT - timedelta(minutes=1))
        if person.startswith("withdrawn"):
            ended = {"withdrawn_at": AT, "withdrawal_channel": "web"}
            Consent.objects.filter(reference=f"train-{person}").update(**ended)
        if person.endswith("held"):
            subject = queries.subject_of(person)
            assert subject is not None
            restriction.restrict(actor=officer, found_by=bytes(subject.found_by))
    consenting(officer, "long-ended")
    Consent.objects.filter(subject=queries.subject_of("long-ended")).update(
        given_at=years_ago, withdrawn_at=years_ago, withdrawal_channel="web"
    )
    for name, moment in (("old", AT - timedelta(days=90)), ("young", AT)):
        Feedback.objects.create(feedback_id=uuid4(), prediction_id=uuid4(), happened_at=moment, kind=1, comment=name)
        Erased.objects.create(found_by=name.encode().ljust(32), erased_at=moment)
        Session.objects.create(session_key=name, session_data="", expire_date=moment + timedelta(days=9))
        digest = name.encode().ljust(32)
        Call.objects.create(caller=expert, key_digest=digest, call_digest=digest, begun_at=moment)
        AccessAttempt.objects.create(
            username=name, ip_address="203.0.113.9", get_data="", post_data="", failures_since_start=1
        )
        AccessAttempt.objects.filter(username=name).update(attempt_time=moment + timedelta(days=5))
    endpoint = Endpoint.objects.create(
        url="https://example.org/", events=[], nonce=b"0" * 16, told_through=0, created_by=expert
    )
    for number, (state, days) in enumerate(((State.DELIVERED, 60), (State.WAITING, 60), (State.DELIVERED, 1))):
        made = AT - timedelta(days=days)
        Delivery.objects.create(
            endpoint=endpoint, sequence=number, type="erasure.done", body="{}", state=state, created_at=made
        )
    for person in ("asked long ago", "asked lately"):
        request = privacy.receive(actor=officer, pseudonym=person, kind="access", laws="both", channel="web")
        privacy.refuse(actor=officer, request_id=request.pk, reason="not theirs")
        if person == "asked long ago":
            PrivacyRequest.objects.filter(pk=request.pk).update(closed_at=years_ago)


def _apply(at: datetime, *, die_at: int = 0) -> None:
    """Apply all rules, and die by SIGKILL at one point."""
    point = point_of_death(die_at)

    def before_statement(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if not sql.startswith("SELECT"):
            point()
        return execute(sql, parameters, many, context)

    def before_file(event: str, _arguments: tuple[Any, ...]) -> None:
        if event == "os.remove":
            point()

    connection.ensure_connection()
    sys.addaudithook(before_file)
    with connection.execute_wrapper(before_statement):
        services.apply_due(at=at)


def _finish() -> dict[str, Any]:
    """The next worker goes on, days pass and are reported, files are swept; what is there then."""
    for later in (timedelta(minutes=11), timedelta(days=1, minutes=1), timedelta(days=2, minutes=2)):
        services.apply_due(at=AT + later)
    folder = settings.AMULET.storage_dir
    for file in folder.rglob("*.bin"):
        os.utime(file, (time.time() - 2 * vault.ORPHAN_AGE_S,) * 2)
    for turn in range(vault.SWEEP_TURNS):
        vault.sweep(turn=turn)
    files = {file.stem for file in folder.rglob("*.bin")} - {MARK.hex, str(MARK)}
    objects = {str(key) for key in StoredObject.objects.values_list("pk", flat=True)}
    deleted: Counter[str] = Counter()
    for text, rule in Payload.objects.filter(entry__type="retention.reported").values_list("text", "subject_id"):
        deleted[rule] += json.loads(text)["deleted"]
    for row in Applied.objects.all():
        deleted[row.rule] += row.deleted
    signer = Signer(settings.AMULET.audit_key_file, settings.AMULET.checkpoint_dir)
    signer.sign(now())
    key = signer._key.public_key()
    return {
        "said": {rule.name: deleted[rule.name] for rule in RULES},
        "failed": {row.rule: row.problem for row in Applied.objects.exclude(problem="")},
        "consents": sorted(Consent.objects.values_list("reference", flat=True)),
        "sheet": sorted(SheetItem.objects.values_list("name", flat=True)),
        "photographs": sorted(StoredObject.objects.values_list("consent__reference", "kind")),
        "files": {name.replace("-", "") for name in files} == {key.replace("-", "") for key in objects},
        "predictions": Prediction.objects.count(),
        "reviews": ReviewItem.objects.count(),
        "opinions": ExpertDecision.objects.count(),
        "told": Payload.objects.filter(subject_type="prediction").count(),
        "expired": Entry.objects.filter(type="vault.expired").count(),
        "feedback": sorted(Feedback.objects.values_list("comment", flat=True)),
        "erased": sorted(bytes(each).decode().strip() for each in Erased.objects.values_list("found_by", flat=True)),
        "sessions": sorted(Session.objects.values_list("session_key", flat=True)),
        "calls": sorted(bytes(each).decode().strip() for each in Call.objects.values_list("key_digest", flat=True)),
        "attempts": sorted(AccessAttempt.objects.values_list("username", flat=True)),
        "deliveries": sorted(Delivery.objects.values_list("sequence", flat=True)),
        "requests": PrivacyRequest.objects.count(),
        "whole": verify(b"".join(export(key)).splitlines(), key).whole,
    }


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(main(ASKED.place)) + "\n")
    finally:
        server_database.drop_copy()

"""Works with the vault while its master key is rotated; run by `test_vault_rotation`, several at once.

    python -m tests.integration.console.rotated_vault fill PEOPLE | work FOLDER | remove KEY

fill: many people, of whom nothing is kept. work: keeps a photograph of somebody new, opens one from before, erases
somebody, again and again until FOLDER/stop is there; says in FOLDER/<pid> how far it is, and prints what was wrong.
remove: takes a key out of the file, killed at each statement that changes the database and at each file, and puts it
back after each; prints how often it was killed, and what was wrong.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.db import connection, transaction  # noqa: E402

from console.audit.models import Payload  # noqa: E402
from console.errors import Refusal  # noqa: E402
from console.site.roles import Role  # noqa: E402
from console.vault import opening, queries, rotation, services  # noqa: E402
from console.vault.cipher import load_master_keys  # noqa: E402
from console.vault.models import Kind, Purpose, Subject  # noqa: E402
from tests.fault.children import in_child, point_of_death, was_killed  # noqa: E402
from tests.unit.console.people import member  # noqa: E402


def fill(people: int) -> None:
    with transaction.atomic():
        services.subjects_of([f"shop-{number}" for number in range(people)])


def work(folder: Path) -> dict[str, object]:
    officer = member(Role.PRIVACY_OFFICER, f"officer-{os.getpid()}")
    reviewer = member(Role.REVIEWER, f"reviewer-{os.getpid()}")
    luck = Random(os.getpid())
    kept: dict[str, bytes] = {}
    wrong: list[str] = []
    made, erased = 0, []

    def look(owner: str) -> None:
        try:
            if opening.open_kept(actor=reviewer, kind=Kind.PHOTOGRAPH, owner=owner, part=0) != kept[owner]:
                wrong.append("another photograph")
        except Refusal as refusal:
            wrong.append(str(refusal.message))

    parent = os.getppid()
    while not (folder / "stop").exists() and os.getppid() == parent:  # a test that is killed leaves nobody at work
        consent = services.give_consent(
            actor=officer, pseudonym=secrets.token_hex(8), purpose=Purpose.KEEP_PHOTOGRAPH, text_version="1",
            channel="counter",
        )  # fmt: skip
        owner, content = str(uuid4()), secrets.token_bytes(100)
        photograph = services.NewObject(Kind.PHOTOGRAPH, 0, content)
        (rows,) = services.write(wanted=[services.ToKeep(consent, owner, (photograph,))], tried=[])
        with transaction.atomic():
            services.keep(rows)
        made += 1
        if made % 5 == 0:
            services.shut(subject_id=consent.subject_id)
            services.destroy_key(subject_id=consent.subject_id)
            erased.append(consent.subject_id)
        else:
            kept[owner] = content
            look(luck.choice(list(kept)))
        (folder / str(os.getpid())).write_text(str(made))
    for owner in kept:
        look(owner)
    back = Subject.objects.filter(pk__in=erased).exclude(wrapped_key=b"").count()
    return {"made": made, "erased": len(erased), "back": back, "wrong": wrong}


def remove(key: str) -> dict[str, object]:
    path, before = Path(settings.AMULET.vault_key_file), Path(settings.AMULET.vault_key_file).read_bytes()
    copy = path.with_name("vault.key.before")
    copy.write_bytes(before)
    told = {"killed": 0, "went": 0}
    wrong: list[str] = []

    def dying(point: Callable[[], None]) -> None:
        def before_statement(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
            if not sql.startswith("SELECT"):
                point()
            return execute(sql, parameters, many, context)

        connection.ensure_connection()
        sys.addaudithook(lambda event, _arguments: point() if event in ("os.rename", "os.remove") else None)
        with connection.execute_wrapper(before_statement):
            rotation.remove_key(key)

    def after() -> list[object]:
        """Whether it went, how often the log says so by now, and a complaint of whoever starts then."""
        rotation.note_keys()
        said = Payload.objects.filter(entry__type="vault.key_removed", subject_id=key).count()
        return [key not in load_master_keys(path).ids, said, queries.key_complaint()]

    for point in range(1, 100):
        killed = was_killed(lambda at=point: dying(point_of_death(at)))
        went, said, complaint = in_child(after)
        told["went"] += went
        if complaint is not None or said != told["went"]:
            wrong.append(f"point {point}: went {told['went']}, said {said}, {complaint}")
        if went and killed:
            in_child(lambda: rotation.add_key(source=copy))
        if not killed:
            break
        told["killed"] += 1
    return {**told, "wrong": wrong}


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]))
    elif sys.argv[1] == "remove":
        print(json.dumps(remove(sys.argv[2])))
    else:
        print(json.dumps(work(Path(sys.argv[2]))))

"""Works with the vault while its master key is rotated; run by `test_vault_rotation`, several at once.

    python -m tests.integration.console.rotated_vault fill PEOPLE | work FOLDER

fill: many people, of whom nothing is kept. work: keeps a photograph of somebody new, opens one from before, erases
somebody, again and again until FOLDER/stop is there; says in FOLDER/<pid> how far it is, and prints what was wrong.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path
from random import Random
from uuid import uuid4

import django

django.setup()

from django.db import transaction  # noqa: E402

from console.errors import Refusal  # noqa: E402
from console.site.roles import Role  # noqa: E402
from console.vault import opening, services  # noqa: E402
from console.vault.models import Kind, Purpose, Subject  # noqa: E402
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


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]))
    else:
        print(json.dumps(work(Path(sys.argv[2]))))

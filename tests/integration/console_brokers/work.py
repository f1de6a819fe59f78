"""Work that the console hands to its workers, given as people give it; and what came of it."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final

from tests.integration.console.running import RunningConsole

MODEL: Final = "amulets"  # of what is labelled
TRAINER: Final = (
    *(sys.executable, "-m", "celery", "-A", "console.celery_app", "worker"),
    *("--pool", "solo", "--queues", "training", "--without-mingle"),
)


def plant(console: RunningConsole, tag: str) -> list[str]:
    """A person `canary-TAG` with something in every store; every word that this person is found by."""
    words: list[str] = console.shell(
        "from console.staff.models import User\n"
        "from console.staff.services import create_user\n"
        "from tests.unit.console.privacy.planted import CALL, CANARY, COMMENT, CONSENT, NOTE, plant\n"
        f"tag = {tag!r}\n"
        "officer = create_user(name=f'officer-{tag}', role='privacy officer').user\n"
        "expert = create_user(name=f'expert-{tag}', role='reviewer').user\n"
        "made = plant(officer, expert, person=CANARY + tag, tag=tag)\n"
        "answer = [CANARY, str(made.subject_id), made.subject_id.hex]\n"
        "answer += [name for key in made.prediction_ids for name in (str(key), key.hex)]"
    )
    return words


def ask_erasure(console: RunningConsole, tag: str) -> int:
    """A request for erasure of `canary-TAG`, begun; its number."""
    wanted = {"subject": f"canary-{tag}", "kind": "erasure", "laws": "both", "channel": "letter"}
    number = int(_officer(console, "requests/", wanted)["id"])
    _officer(console, f"requests/{number}/identity/", {"method": "card at the counter"})
    _officer(console, f"requests/{number}/start/", {})
    return number


def erased(console: RunningConsole, number: int) -> bool:
    """Whether that erasure is done."""
    told = console.call("GET", f"privacy/requests/{number}/", role="privacy-officer")
    return bool(told["state"] == "done")


def _officer(console: RunningConsole, path: str, body: dict[str, Any]) -> Any:
    return console.call("POST", f"privacy/{path}", role="privacy-officer", json=body)


def label(console: RunningConsole, tag: str) -> None:
    """A model with a version, and two labelled photographs that it may learn from."""
    console.shell(
        "from console.staff.services import create_user\n"
        "from tests.console_events import CLASSES\n"
        "from tests.unit.console.datasets.labelled import consenting, is_a, labelled\n"
        "from tests.unit.console.versions import a_version\n"
        f"tag = {tag!r}\n"
        f"a_version(create_user(name=f'malee-{{tag}}', role='model engineer').user, model={MODEL!r}, number=7)\n"
        "consenting(create_user(name=f'wipa-{tag}', role='privacy officer').user, tag)\n"
        "expert = create_user(name=f'prasert-{tag}', role='reviewer').user\n"
        "for name in CLASSES[:2]:\n"
        "    labelled(expert, tag, is_a(name))\n"
        "answer = None"
    )


def ask_training(console: RunningConsole) -> int:
    """A training job, asked for; its number."""
    return int(console.call("POST", "training-jobs/", role="model-engineer", json={"model": MODEL})["id"])


def job(console: RunningConsole, number: int) -> dict[str, Any]:
    found: dict[str, Any] = console.call("GET", f"training-jobs/{number}/", role="model-engineer")
    return found


def entries(console: RunningConsole, kind: str, number: int) -> Counter[str]:
    """How many entries of each type the audit log has about one request for erasure, or one training job."""
    found = console.shell(
        "from console.audit.models import Payload\n"
        f"about = Payload.objects.filter(subject_type={kind!r}, subject_id={str(number)!r})\n"
        "answer = list(about.values_list('entry__type', flat=True))"
    )
    return Counter(found)

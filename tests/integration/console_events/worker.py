"""What the processes of a concurrency test do: `python -m tests.integration.console_events.worker`.

One process sets Django up once and then forks one child for each job, which costs
milliseconds where a start from nothing costs seconds. On standard input, one JSON line each:

    {"jobs": [["append", {"seed": 1}], …]}   children are forked and wait; answered by their pids
    "go"                                      all begin at the same moment
    "results"                                 answered, when all have ended, by [[status, result], …]
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

RACE_SPREAD_S: Final = 0.02  # about what either side takes under its lock
RACE_STEP_S: Final = RACE_SPREAD_S / 4


class Undone(Exception):
    """Ends a transaction on purpose."""


def append(*, seed: int, transactions: int, undone_ratio: float, checkpoints: int = 0) -> dict[str, int]:
    """Append batches of random sizes, some in transactions that fail; how many entries stayed.

    checkpoints: go on until there are so many, however many transactions that takes.
    """
    from django.db import transaction

    from console.audit.models import Checkpoint
    from console.audit.services import NewEntry
    from console.audit.services import append as append_entries

    chance, stayed = random.Random(seed), 0
    for number in count():
        if number >= transactions and Checkpoint.objects.count() >= checkpoints:
            break
        size = chance.choice((1, 1, 2, 7, 40))
        entries = [NewEntry("test.written", "test", f"{seed}-{number}-{place}") for place in range(size)]
        try:
            with transaction.atomic():
                append_entries(entries, actor=f"writer-{seed}")
                if chance.random() < undone_ratio:
                    raise Undone
                stayed += size
        except Undone:
            pass
    return {"stayed": stayed}


def append_outside(**_: Any) -> dict[str, str]:
    """Try to append where there is no transaction."""
    from django.db.transaction import TransactionManagementError

    from console.audit.services import NewEntry
    from console.audit.services import append as append_entries

    try:
        append_entries([NewEntry("test.written", "test", "1")], actor="writer")
    except TransactionManagementError as error:
        return {"refused": str(error)}
    return {"refused": ""}


def sign(*, times: int) -> dict[str, int]:
    """Sign so many checkpoints as fast as entries come for them."""
    from django.conf import settings
    from django.utils.timezone import now

    from console.audit.signer import Signer

    signer = Signer(settings.AMULET.audit_key_file, settings.AMULET.checkpoint_dir)
    signed = 0
    while signed < times:
        signed += signer.sign(now()) is not None
    return {"signed": signed}


def ship(*, seed: int, events: str, times: int, batch_max: int, claimed: bool = True) -> dict[str, int]:
    """Apply every event of a file several times, shuffled, in batches of random sizes.

    claimed: False takes away what tells an event that was applied, which a test must notice.
    """
    from console.ingest import services as ingest
    from console.ingest.services import apply_batch
    from protos.amulet.events.v1 import events_pb2 as pb

    if not claimed:
        ingest._claim = lambda events, _at: list(events)
    everything = list(pb.EventBatch.FromString(Path(events).read_bytes()).events)
    chance, told = random.Random(seed), {"applied": 0, "known_before": 0, "rejected": 0}
    for _ in range(times):
        chance.shuffle(everything)
        rest = list(everything)
        while rest:
            size = chance.randint(1, batch_max)
            batch, rest = rest[:size], rest[size:]
            receipt = apply_batch(batch)
            told["applied"] += receipt.applied
            told["known_before"] += receipt.known_before
            told["rejected"] += len(receipt.rejected)
    return told


def take_one(*, expert: str, item: int) -> dict[str, str]:
    """Try to hold one item."""
    from console.errors import Conflict
    from console.review.services import take
    from console.staff.models import User

    try:
        take(actor=User.objects.get(username=expert), item_id=item)
    except Conflict as conflict:
        return {"outcome": conflict.reason}
    return {"outcome": "held"}


def review(*, expert: str) -> dict[str, list[int]]:
    """Decide one item after the other until none waits."""
    from console.review.models import Decided
    from console.review.services import Decision, decide, take_next
    from console.staff.models import User

    actor, decided = User.objects.get(username=expert), []
    while (item := take_next(actor=actor)) is not None:
        decide(actor=actor, item_id=item.pk, decision=Decision(Decided.NOT_OUR_KIND))
        decided.append(item.pk)
    return {"decided": decided}


def ask_at_once(*, rounds: list[list[dict[str, str]]]) -> dict[str, list[list[dict[str, Any]]]]:
    """Requests of several people who meet at a barrier before each round: a thread, a browser and a connection each.

    A request: token, language, path below /api/v1/ and body (JSON). Answered, round by round, by status, error and
    message.
    """
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    from django.conf import settings
    from django.db import connection
    from django.test import Client

    settings.ALLOWED_HOSTS.append("testserver")
    everybody = Barrier(len(rounds[0]))

    def person(requests: list[dict[str, str]]) -> list[dict[str, Any]]:
        client, answers = Client(raise_request_exception=False), []
        for request in requests:
            headers = {"Authorization": f"Token {request['token']}", "Accept-Language": request["language"]}
            client.get("/api/v1/versions/", headers=headers)  # whoever comes first loads the pages
            everybody.wait()
            answer = client.post(
                f"/api/v1/{request['path']}", request["body"], content_type="application/json", headers=headers
            )
            told = answer.json()
            answers.append({"status": answer.status_code, **{key: told.get(key) for key in ("reason", "detail")}})
        connection.close()
        return answers

    with ThreadPoolExecutor(len(rounds[0])) as threads:
        lines = list(threads.map(person, zip(*rounds, strict=True)))
    return {"rounds": [list(answers) for answers in zip(*lines, strict=True)]}


def withdraw(*, officer: str, references: list[str]) -> dict[str, int]:
    """Withdraw consents one after the other."""
    from console.staff.models import User
    from console.vault.services import withdraw_consent

    actor = User.objects.get(username=officer)
    for reference in references:
        withdraw_consent(actor=actor, reference=reference, channel="web")
    return {"withdrawn": len(references)}


def race(*, officer: str, seed: int, races: int, locked: bool, restrict: bool = False) -> dict[str, int]:
    """A photograph comes in while the consent to keep it is withdrawn, again and again; how often each was first.

    restrict: instead of withdrawing, the person restricts what is done.
    locked: False takes away the lock that the race is decided by, which a test must notice. Nobody is first then: the
    withdrawal comes, whole, between the photograph's look at its consent and the keeping, which no lock keeps out.
    """
    from concurrent.futures import ThreadPoolExecutor
    from datetime import timedelta
    from threading import Barrier, Event

    from django.db.models import QuerySet
    from django.utils.timezone import now

    from console.ingest.retention import photo_key
    from console.ingest.services import apply_batch
    from console.predictions.models import Prediction
    from console.staff.models import User
    from console.vault import restriction
    from console.vault import services as vault
    from console.vault.cipher import find_by
    from console.vault.queries import keys
    from console.vault.services import give_consent, withdraw_consent
    from tests.console_events import kept_event

    looked, withdrawn, keep = Event(), Event(), vault.keep

    def keep_late(rows: Any) -> None:
        looked.set()
        assert withdrawn.wait(120)
        keep(rows)

    if not locked:
        QuerySet.select_for_update = lambda rows, **_: rows  # type: ignore[method-assign,assignment,misc]
        vault.keep = keep_late
    actor, chance, both = User.objects.get(username=officer), random.Random(seed), Barrier(2)
    recipient = photo_key().public_key()
    told = {"kept_first": 0, "withdrawn_first": 0}
    # Writing the photograph comes before the lock that decides, and how long it takes is the disk's to say: whoever
    # was first has a little less of a start the next time, so that both are first about as often; twice as much less
    # each further time, so that a slow disk does not keep one from ever being first, and a quarter when it changes.
    lead_s, step_s, kept_before = 0.0, RACE_STEP_S, False

    def store(event: Any, after_s: float) -> None:
        both.wait()
        time.sleep(max(0.0, after_s))  # not for a condition: so that neither is always first
        receipt = apply_batch([event])
        assert receipt.applied == 1, receipt

    def withdraw_now(reference: str, after_s: float) -> None:
        both.wait()
        time.sleep(max(0.0, after_s))
        assert locked or looked.wait(120)
        if restrict:
            restriction.restrict(actor=actor, found_by=find_by(keys(), reference))
        else:
            withdraw_consent(actor=actor, reference=reference, channel="web")
        withdrawn.set()

    with ThreadPoolExecutor(2) as threads:
        for number in range(races):
            looked.clear()
            withdrawn.clear()
            reference = f"race-{seed}-{number}"
            moment = now() - timedelta(minutes=1)
            give_consent(
                actor=actor, pseudonym=reference, purpose="keep_photograph", text_version="1", channel="web",
                reference=reference, given_at=moment,
            )  # fmt: skip
            event = kept_event(pseudonym=reference, consent=reference, recipient=recipient, happened_at=now())
            head_start_s = lead_s + chance.uniform(-RACE_SPREAD_S, RACE_SPREAD_S)  # of the photograph
            sides = (
                threads.submit(store, event, -head_start_s),
                threads.submit(withdraw_now, reference, head_start_s),
            )
            for side in sides:
                side.result()
            view = Prediction.objects.get(pk=event.prediction.prediction_id).detail().views[0]
            kept = view.kept == "kept"
            told["kept_first" if kept else "withdrawn_first"] += 1
            if number:
                step_s = 2 * step_s if kept == kept_before else max(RACE_STEP_S, step_s / 4)
            lead_s += step_s * (-1 if kept else 1)
            kept_before = kept
    return told


def subjects(*, pseudonyms: list[str]) -> dict[str, dict[str, str]]:
    """The ids under which these people are known."""
    from django.db import transaction

    from console.vault.services import subjects_of

    with transaction.atomic():
        return {"ids": {name: str(subject.pk) for name, subject in subjects_of(pseudonyms).items()}}


def shell(*, code: str) -> Any:
    """What `answer` is after this code ran."""
    names: dict[str, Any] = {}
    exec(code, names)
    return names["answer"]


def manage(*, arguments: list[str]) -> dict[str, str]:
    """One of Django's commands: what it printed, and the error that it ended with."""
    from io import StringIO

    from django.core.management import CommandError, call_command

    out = StringIO()
    try:
        call_command(*arguments, stdout=out)
    except CommandError as error:
        return {"out": out.getvalue(), "error": str(error)}
    return {"out": out.getvalue(), "error": ""}


JOBS: Final[dict[str, Callable[..., Any]]] = {
    job.__name__: job
    for job in (
        append,
        append_outside,
        sign,
        ship,
        take_one,
        review,
        ask_at_once,
        withdraw,
        race,
        subjects,
        shell,
        manage,
    )
}


def main() -> int:
    import django

    django.setup()
    for line in sys.stdin:
        fork(json.loads(line)["jobs"])
    return 0


def fork(jobs: list[tuple[str, dict[str, Any]]]) -> None:
    """Run jobs in a child each; talk to whoever asked."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        waiting, begin = os.pipe()
        results = [Path(folder, str(number)) for number in range(len(jobs))]
        children = [_child(waiting, begin, job, result) for job, result in zip(jobs, results, strict=True)]
        _say(children)
        assert json.loads(sys.stdin.readline()) == "go"
        os.close(begin)
        assert json.loads(sys.stdin.readline()) == "results"
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        os.close(waiting)
        _say(
            [
                (status, json.loads(result.read_text()) if status == 0 else None)
                for status, result in zip(statuses, results, strict=True)
            ]
        )


def _child(waiting: int, begin: int, job: tuple[str, dict[str, Any]], result: Path) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.close(begin)
        os.read(waiting, 1)  # until nobody can say anything any more
        result.write_text(json.dumps(JOBS[job[0]](**job[1]), default=str))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())

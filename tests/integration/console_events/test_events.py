"""Events that come several times, shuffled, from several shippers, some of which die."""

from __future__ import annotations

import os
import random
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import feedback_event, kept_event, prediction_event
from tests.fault.results import keep
from tests.integration.console_events.processes import Crew

SEED = 20261123
_COUNTED = {
    "events": "ingest_appliedevent",
    "predictions": "predictions_prediction",
    "feedback": "predictions_feedback",
    "audited": "audit_entry WHERE type = 'prediction.made'",
    "audited_once": (
        "(SELECT subject_id FROM audit_payload JOIN audit_entry ON entry_id = sequence "
        "WHERE type = 'prediction.made' GROUP BY subject_id HAVING COUNT(*) = 1) AS once"
    ),
    "flagged": "review_reviewitem WHERE why = 1",
    "queued": "review_reviewitem",
    "subjects": "vault_subject",
}


def counts(crew: Crew) -> dict[str, int]:
    return {name: crew.count(rest) for name, rest in _COUNTED.items()}


def write_events(path: Path, events: list[pb.Event]) -> str:
    path.write_bytes(pb.EventBatch(events=events).SerializeToString())
    return str(path)


def test_events_three_times_shuffled_by_eight_shippers_some_of_which_die_count_once(crew: Crew, tmp_path: Path) -> None:
    before = counts(crew)
    made = [
        prediction_event(
            confidence=0.99 if n % 3 else 0.5,
            subject=pb.Subject(pseudonym=f"person-{n % 7}"),
            verdict=words.VERDICT_IN_DOMAIN,
        )
        for n in range(240)
    ]
    given = [feedback_event(event.prediction.prediction_id) for event in made[:40]]
    file = write_events(tmp_path / "events", [*made, *given])
    ship = {"events": file, "times": 3, "batch_max": 60}
    shippers = crew.begin([("ship", {**ship, "seed": SEED + n}) for n in range(8)])
    for pid, applied in zip(shippers[:3], (30, 120, 200), strict=True):
        deadline_s = time.monotonic() + 60
        while crew.count("ingest_appliedevent") - before["events"] < applied:
            assert time.monotonic() < deadline_s, "nobody ships"
        os.kill(pid, signal.SIGKILL)  # somewhere within a batch, which the others send all the same
    assert all(told["rejected"] == 0 for told in crew.results() if told is not None)
    (told,) = crew.run([("ship", {"seed": SEED, "events": file, "times": 1, "batch_max": 500})])
    assert told == {"applied": 0, "known_before": 280, "rejected": 0}
    after = {name: count - before[name] for name, count in counts(crew).items()}
    assert after["events"] == 280
    assert after["predictions"] == after["audited"] == after["audited_once"] == 240
    assert after["feedback"] == after["flagged"] == 40
    assert after["queued"] == 80 + 26  # every third is below the limit; of the others, 26 are flagged
    assert after["subjects"] == 7


def test_an_event_that_is_not_claimed_is_counted_again_or_refused(crew: Crew, tmp_path: Path) -> None:
    """The negative control of the above: the rows say so, whatever a constraint of theirs does."""
    before = counts(crew)
    made = [prediction_event() for _ in range(4)]
    given = [feedback_event(event.prediction.prediction_id) for event in made]
    ship = {"events": write_events(tmp_path / "events", [*made, *given]), "times": 3, "batch_max": 3}
    told = crew.run([("ship", {**ship, "seed": SEED + n, "claimed": False}) for n in range(2)])
    after = {name: count - before[name] for name, count in counts(crew).items()}
    right = all(each["rejected"] == 0 for each in told) and after["feedback"] == after["audited_once"] == 4
    assert not right, (told, after)


def test_feedback_and_its_prediction_in_two_batches_at_once_always_meet(crew: Crew, tmp_path: Path) -> None:
    before = counts(crew)
    made = [prediction_event(confidence=0.99) for _ in range(60)]
    given = [feedback_event(event.prediction.prediction_id) for event in made]
    files = [write_events(tmp_path / name, events) for name, events in (("made", made), ("given", given))]
    jobs = [("ship", {"seed": n, "events": file, "times": 1, "batch_max": 4}) for n, file in enumerate(files)]
    crew.run(jobs)
    assert counts(crew)["flagged"] - before["flagged"] == 60


def test_one_person_is_one_subject_whoever_comes_first(crew: Crew) -> None:
    names = [f"new-{n}" for n in range(30)]
    jobs = [("subjects", {"pseudonyms": random.Random(n).sample(names, 30)}) for n in range(4)]
    first, *others = (told["ids"] for told in crew.run(jobs))
    assert all(other == first for other in others)


def test_no_photograph_outlives_a_consent_that_is_withdrawn_meanwhile(crew: Crew, tmp_path: Path) -> None:
    """Photographs arrive under consents that are being withdrawn: whoever comes second sees what the first one did."""
    references = [f"race-{n}" for n in range(12)]
    crew.shell(
        "from console.staff.services import create_user\nfrom console.vault.services import give_consent\n"
        "from django.utils.timezone import now\nfrom datetime import timedelta\n"
        "wipa = create_user(name='wipa', role='privacy officer').user\n"
        f"for reference in {references!r}:\n"
        "    give_consent(actor=wipa, pseudonym=reference, reference=reference, purpose='keep_photograph',\n"
        "        text_version='1', channel='web', given_at=now() - timedelta(hours=1))\n"
        "answer = None"
    )
    key = X25519PrivateKey.from_private_bytes((crew.layout.secrets / "photo_seal.key").read_bytes()).public_key()
    moment = datetime.now(UTC) - timedelta(minutes=1)
    events = [
        kept_event(pseudonym=reference, consent=reference, recipient=key, happened_at=moment)
        for reference in references
        for _ in range(6)
    ]
    file = write_events(tmp_path / "events", events)
    ships = [("ship", {"seed": n, "events": file, "times": 1, "batch_max": 3}) for n in range(2)]
    told = crew.run([*ships, ("withdraw", {"officer": "wipa", "references": references})])
    assert sum(each.get("applied", 0) for each in told) == len(events)
    assert crew.count("vault_consent WHERE withdrawn_at IS NULL") == 0
    assert crew.count("vault_storedobject") == 0
    objects = crew.layout.console / "objects"
    assert not list(objects.glob("*/*.bin"))


# `make races RACES=10000` is the long run.
RACES = int(os.environ.get("CONSENT_RACES", "100"))
LONG = pytest.mark.timeout(900 + RACES)  # where the disk is slow they race for as long as it takes to meet


def race(crew: Crew, *, races: int, locked: bool, restrict: bool = False) -> dict[str, int]:
    """Race so often; who was first how often, and what is left of photographs under withdrawn consents."""
    crew.shell(
        "from console.staff.services import create_user\nfrom console.staff.models import User\n"
        "User.objects.filter(username='racer').exists() or create_user(name='racer', role='privacy officer')\n"
        "answer = None"
    )
    job = {
        "officer": "racer",
        "seed": SEED + locked + 2 * restrict,
        "races": races,
        "locked": locked,
        "restrict": restrict,
    }
    (told,) = crew.run([("race", job)])
    withdrawn = "vault_storedobject JOIN vault_consent ON vault_consent.id = consent_id WHERE withdrawn_at IS NOT NULL"
    files = len(list((crew.layout.console / "objects").glob("*/*.bin")))
    return {**told, "rows_left": crew.count(withdrawn), "files_left": files}


@LONG
def test_a_photograph_that_comes_while_its_consent_is_withdrawn_leaves_nothing(crew: Crew) -> None:
    told = race(crew, races=RACES, locked=True)
    if RACES >= 1000:
        database = "postgresql" if crew.environment.get("AMULET_DATABASE_URL") else "sqlite"
        keep(f"consent-races-{database}", {"seed": SEED, "races": RACES, **told})
    assert min(told["kept_first"], told["withdrawn_first"]) > 0, told  # else nobody raced
    assert (told["rows_left"], told["files_left"]) == (0, 0)


@LONG
def test_nothing_is_kept_of_somebody_after_a_restriction_that_came_meanwhile(crew: Crew) -> None:
    told = race(crew, races=40, locked=True, restrict=True)
    assert min(told["kept_first"], told["withdrawn_first"]) > 0, told  # else nobody raced
    late = "vault_storedobject o JOIN vault_subject s ON s.id = o.subject_id WHERE o.created_at > s.restricted_at"
    assert crew.count(late) == 0
    assert crew.count("vault_storedobject") == 2 * told["kept_first"]
    crew.shell("from console.vault.models import StoredObject\nanswer = StoredObject.objects.all().delete()[0]")
    for left in (crew.layout.console / "objects").glob("*/*.bin"):
        left.unlink()


def test_a_race_without_its_lock_is_noticed(crew: Crew) -> None:
    if not crew.environment.get("AMULET_DATABASE_URL"):
        pytest.skip("SQLite has one writer at a time, with a lock or without")
    told = race(crew, races=2, locked=False)
    crew.shell("from console.vault.models import StoredObject\nanswer = StoredObject.objects.all().delete()[0]")
    for left in (crew.layout.console / "objects").glob("*/*.bin"):
        left.unlink()
    assert told["rows_left"] > 0

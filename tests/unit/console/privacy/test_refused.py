"""What the console refused lies with the gateway, in base64: an erasure finds it there and takes it out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils.timezone import now

from console.ingest.services import apply_batch
from console.privacy import erasure, refused, tasks
from console.privacy.models import Erasure, State, Step
from console.privacy.refused import Sought
from console.privacy.stores import STORES
from console.staff.models import User
from console.vault import queries as vault
from console.vault.cipher import find_by
from console.vault.models import Erased, Subject
from gateway.journal.rejected import RejectedEvent, RejectedEvents
from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import feedback_event, prediction_event
from tests.unit.console.privacy.planted import CONSENT, PERSON, ask_erasure, plant

pytestmark = pytest.mark.django_db
FOLDER = settings.AMULET.journal_dir / "rejected"


@pytest.fixture(autouse=True)
def _folder() -> Iterator[None]:
    settings.AMULET.journal_dir.mkdir(parents=True, exist_ok=True)
    yield
    for file in FOLDER.glob("*"):
        file.unlink()


def named(person: str, **fields: object) -> pb.Event:
    return prediction_event(subject=pb.Subject(pseudonym=person), **fields)  # type: ignore[arg-type]


def keep_aside(*contents: pb.Event | bytes) -> RejectedEvents:
    """As a gateway does."""
    events = RejectedEvents(settings.AMULET.journal_dir)
    first = events.count + 1
    events.keep(
        [
            RejectedEvent(number, "", "unknown client", each if isinstance(each, bytes) else each.SerializeToString())
            for number, each in enumerate(contents, start=first)
        ]
    )
    return events


def left() -> list[bytes]:
    return [content for file in sorted(FOLDER.glob("*.jsonl")) for _line, content in refused._lines(file)]


def test_an_erasure_takes_out_what_was_refused_of_its_person_and_leaves_the_others(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    shared = named("somebody-else", request_id="canary-call-7701")  # under the name of a call of this person's
    nobodys = prediction_event()
    theirs = (
        named(PERSON),
        prediction_event(subject=pb.Subject(consent_reference=CONSENT)),
        feedback_event(str(mine.prediction_ids[0]), comment="mine"),
        b"\xff\xff cut " + str(mine.prediction_ids[1]).encode(),
    )
    gateway = keep_aside(*theirs, shared, nobodys)
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)

    assert left() == [shared.SerializeToString(), nobodys.SerializeToString()]
    done = Erasure.objects.get(pk=request.pk)
    assert (done.before["refused"], done.before["journal"]) == (4, 0)
    assert done.statement is not None
    assert done.statement["stores"]["refused"] == {"before": 4, "after": 0}
    assert gateway.count == 6
    gateway.look_again()
    assert gateway.count == RejectedEvents(settings.AMULET.journal_dir).count == 2


def test_so_does_one_of_somebody_whom_no_row_knows(officer: User) -> None:
    keep_aside(named("never-applied"))
    request = ask_erasure(officer, "never-applied")
    assert erasure.carry_out(request.pk)
    assert not list(FOLDER.glob("*"))  # a file with nothing left in it goes
    assert Erasure.objects.get(pk=request.pk).before["refused"] == 1


def test_what_is_refused_while_it_is_searched_for_counts_with_what_was_there_before(
    officer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_aside(named("never-applied"))
    request = ask_erasure(officer, "never-applied")
    remember = erasure.vault.remember_erased

    def remember_late(**found_by: bytes) -> None:
        keep_aside(named("never-applied"))  # by a gateway that was faster than the search behind this
        monkeypatch.setattr(erasure.vault, "remember_erased", remember)
        remember(**found_by)

    monkeypatch.setattr(erasure.vault, "remember_erased", remember_late)
    assert not erasure.carry_out(request.pk)
    assert erasure.carry_out(request.pk)
    assert Erasure.objects.get(pk=request.pk).before["refused"] == 2


def test_an_event_on_its_way_brings_nobody_back_who_was_unknown_when_they_were_erased(officer: User) -> None:
    late = named("never-applied", happened_at=now() - timedelta(hours=1))
    assert erasure.carry_out(ask_erasure(officer, "never-applied").pk)
    assert apply_batch([late]).applied == 1
    assert not Subject.objects.exists()


def test_what_is_refused_after_the_erasure_is_taken_out_within_the_hour(officer: User, expert: User) -> None:
    plant(officer, expert)
    late, other = named(PERSON, happened_at=now() - timedelta(hours=1)), named("somebody-else")
    assert erasure.carry_out(ask_erasure(officer).pk)
    Erased.objects.update(erased_at=now() - timedelta(minutes=10))
    hardly = named(PERSON, happened_at=now() - timedelta(minutes=6))  # by a gateway whose clock was ahead of ours
    again = named(PERSON, happened_at=now())  # who comes back is somebody new
    keep_aside(late, other, hardly, again)
    tasks.erase_refused()
    assert left() == [other.SerializeToString(), again.SerializeToString()]
    assert "console.privacy.tasks.erase_refused" in {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}


def test_a_file_that_cannot_be_written_keeps_the_erasure_waiting(
    officer: User, expert: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(officer, expert)
    keep_aside(named(PERSON), named("somebody-else"))
    request = ask_erasure(officer)

    def full(_source: object, _target: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        tasks.carry_out(request.pk)
    waiting = Erasure.objects.select_related("request").get(pk=request.pk)
    assert (waiting.request.state, waiting.step) == (State.IN_PROGRESS, Step.ROWS)
    assert len(left()) == 2
    assert erasure.carry_out(request.pk)
    assert len(left()) == len(list(FOLDER.iterdir())) == 1


def test_two_erasures_at_once_bring_nobody_back() -> None:
    people = [f"person-{number}" for number in range(12)]
    keep_aside(*map(named, people))
    keys = [find_by(vault.keys(), person) for person in people]
    with ThreadPoolExecutor(4) as workers:
        gone = list(workers.map(lambda key: refused.erase(Sought(uuid4(), key, (), (), ())), keys))
    assert gone == [1] * len(people)
    assert not list(FOLDER.iterdir())


def test_a_folder_that_may_not_be_searched_was_not(
    officer: User, expert: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    scandir = os.scandir

    def forbidden(path: object) -> object:
        if Path(str(path)) == settings.AMULET.journal_dir:
            raise PermissionError(13, "Permission denied")
        return scandir(path)  # type: ignore[call-overload]

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", forbidden)
        with pytest.raises(PermissionError):
            erasure.carry_out(request.pk)
    assert erasure.carry_out(request.pk)
    assert {store.name for store in STORES} == Erasure.objects.get(pk=request.pk).before.keys()

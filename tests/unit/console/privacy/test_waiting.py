"""What an erasure waits for before it is called done, and what it need not wait for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from console.audit.models import Entry
from console.ingest.services import apply_batch
from console.privacy import erasure, services, tasks
from console.privacy.models import Erasure, PrivacyRequest, State, Step
from console.staff.models import User
from console.vault import services as vault
from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import prediction_event
from tests.unit.console.privacy.planted import (
    PERSON,
    ask_erasure,
    plant,
)

pytestmark = pytest.mark.django_db


def test_it_is_not_done_while_the_journal_holds_anything(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    segment = settings.AMULET.journal_dir / "000001.journal"
    segment.write_bytes(b"\0\1" + str(mine.prediction_ids[2]).encode() + b"\0")
    request = ask_erasure(officer)
    try:
        assert not erasure.carry_out(request.pk)
        waiting = Erasure.objects.get(pk=request.pk)
        assert (waiting.step, waiting.remaining) == (Step.SEARCH, {"journal": 1})
        assert not erasure.carry_out(request.pk)
        assert PrivacyRequest.objects.get(pk=request.pk).state == State.IN_PROGRESS
    finally:
        segment.unlink()
    tasks.find_work()
    assert PrivacyRequest.objects.get(pk=request.pk).state == State.DONE


@pytest.fixture
def segment() -> Iterator[Path]:
    """A segment of the gateway's journal, which is not there yet."""
    path = settings.AMULET.journal_dir / "000001.journal"
    yield path
    path.unlink(missing_ok=True)


def test_a_name_that_callers_give_to_many_calls_keeps_no_erasure_waiting(officer: User, segment: Path) -> None:
    def called(by: str) -> pb.Event:
        return prediction_event(subject=pb.Subject(pseudonym=by), request_id="mobile-app-v2")

    assert apply_batch([called(PERSON), called("somebody-else")]).applied == 2
    segment.write_bytes(called("somebody-else").SerializeToString())
    assert erasure.carry_out(ask_erasure(officer).pk)


def test_nor_does_a_name_that_stands_in_calls_of_nobody(officer: User, segment: Path) -> None:
    mine = prediction_event(subject=pb.Subject(pseudonym=PERSON), request_id="mobile-app-v2")
    nobodys = [prediction_event(request_id="mobile-app-v2") for _ in range(2)]
    assert apply_batch([mine, nobodys[0]]).applied == 2
    segment.write_bytes(nobodys[1].SerializeToString())
    assert erasure.carry_out(ask_erasure(officer).pk)


@pytest.mark.parametrize(
    "waiting",
    [
        prediction_event(subject=pb.Subject(pseudonym=PERSON), request_id="cart"),
        prediction_event(subject=pb.Subject(pseudonym=PERSON, consent_reference="training")),
    ],
)
def test_an_event_under_a_name_of_this_persons_own_is_waited_for(
    officer: User, segment: Path, waiting: pb.Event
) -> None:
    vault.give_consent(
        actor=officer, pseudonym=PERSON, purpose="training", text_version="1", channel="web", reference="training"
    )
    mine = prediction_event(subject=pb.Subject(pseudonym=PERSON), request_id="cart")
    assert apply_batch([mine]).applied == 1
    segment.write_bytes(waiting.SerializeToString())  # its id is not known here yet
    request = ask_erasure(officer)
    assert not erasure.carry_out(request.pk)
    assert Erasure.objects.get(pk=request.pk).remaining == {"journal": 1}
    segment.unlink()
    assert erasure.carry_out(request.pk)


@pytest.mark.parametrize("place", ["journal", "broker", "logs"])
def test_a_name_that_is_a_common_word_keeps_no_erasure_waiting(officer: User, place: str) -> None:
    folder = {
        "journal": settings.AMULET.journal_dir,
        "broker": settings.AMULET.data_dir / "broker",
        "logs": settings.AMULET.state_dir / "logs",
    }[place]
    mine = prediction_event(subject=pb.Subject(pseudonym=PERSON), request_id="prediction")
    assert apply_batch([mine]).applied == 1
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "some.text"
    text.write_text('{"event": "a prediction was answered"}')
    try:
        assert erasure.carry_out(ask_erasure(officer).pk)
    finally:
        text.unlink()


def test_an_erasure_that_began_before_names_were_told_apart_goes_on(officer: User, expert: User) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    erasure._advance(request.pk)
    row = Erasure.objects.get(pk=request.pk)
    names = [*row.traces.pop("references"), *row.traces.pop("calls")]
    row.traces["words"] = names
    row.save()
    assert erasure.carry_out(request.pk)


def test_a_paused_erasure_waits_and_goes_on(officer: User, expert: User) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    erasure._advance(request.pk)
    services.pause(actor=officer, request_id=request.pk, reason="a question")
    assert not erasure.carry_out(request.pk)
    assert Erasure.objects.get(pk=request.pk).step == Step.KEY
    services.resume(actor=officer, request_id=request.pk)
    assert erasure.carry_out(request.pk)
    assert erasure.carry_out(request.pk)  # twice is harmless
    assert Entry.objects.filter(type="erasure.done").count() == 1

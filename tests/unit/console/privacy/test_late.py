"""What comes late of somebody who was erased brings nobody back, after a restore from before they came, too."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings
from django.utils.timezone import now

from console import serve
from console.audit.models import Entry
from console.ingest.models import AppliedEvent
from console.ingest.services import apply_batch
from console.predictions.models import Feedback, Prediction
from console.predictions.services import discard_orphan_feedback
from console.privacy import erasure, late
from console.privacy.late import Late
from console.privacy.models import Erasure, Step
from console.privacy.stores import collect, find_all
from console.retention.services import apply_due
from console.site.roles import Role
from console.staff.models import User
from console.vault import services as vault
from console.vault.cipher import find_by
from console.vault.models import Erased, StoredObject, Subject
from console.vault.queries import keys
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import feedback_event, kept_event, prediction_event, shadow_event
from tests.unit.console.people import member
from tests.unit.console.privacy.planted import (
    CALL,
    CANARY,
    CONSENT,
    PERSON,
    Planted,
    ask_erasure,
    everything,
    late_event,
    plant,
    recipient,
)

pytestmark = pytest.mark.django_db


def restored_from_before() -> None:
    """The database knows neither the person nor their erasure, nor any event of theirs."""
    Erased.objects.all().delete()
    AppliedEvent.objects.all().delete()


def what_is_delivered(mine: Planted) -> list[pb.Event]:
    answer = late_event()
    return [
        answer,
        feedback_event(answer.prediction.prediction_id, comment=f"{CANARY}first"),
        feedback_event(str(mine.prediction_ids[0]), comment=f"{CANARY}second"),
    ]


@pytest.mark.parametrize("replayed", [True, False])
def test_who_came_after_the_backup_and_was_erased_since_stays_erased(officer: User, replayed: bool) -> None:
    mine = plant(officer, member(Role.REVIEWER))
    delivered = what_is_delivered(mine)
    assert erasure.carry_out(ask_erasure(officer).pk)
    restored_from_before()
    if replayed:
        assert erasure.replay() == 0
    for event in delivered:
        assert apply_batch([event]).applied == 1
    if not replayed:  # what the ledger alone cannot keep away
        assert Subject.objects.count() == 1
        assert CANARY in everything()
        return
    assert not Subject.objects.exists()
    assert not Feedback.objects.exists()
    assert CANARY not in everything()
    assert Prediction.objects.get().subject is None


def test_who_was_not_known_here_stays_away_too(officer: User) -> None:
    event = late_event()
    assert erasure.carry_out(ask_erasure(officer).pk)
    restored_from_before()
    assert late.is_there(settings.AMULET.erasure_ledger)
    assert not settings.AMULET.erasure_ledger.exists()
    erasure.replay()
    assert apply_batch([event]).applied == 1
    assert not Subject.objects.exists()


def test_who_comes_back_after_the_erasure_is_welcome(officer: User) -> None:
    found_by, hour_ago = find_by(keys(), PERSON), now() - timedelta(hours=1)
    late.enter(settings.AMULET.erasure_ledger, Late(hour_ago, (found_by,)))
    erasure.replay()
    assert Erased.objects.get().erased_at == hour_ago
    apply_batch([prediction_event(subject=pb.Subject(pseudonym=PERSON), happened_at=hour_ago - timedelta(minutes=1))])
    assert not Subject.objects.exists()
    apply_batch([prediction_event(subject=pb.Subject(pseudonym=PERSON))])
    assert Subject.objects.count() == 1


def test_of_two_erasures_of_one_person_the_later_counts(officer: User) -> None:
    key, today = b"1" * 32, now()
    for days in (2, 5):
        late.enter(settings.AMULET.erasure_ledger, Late(today - timedelta(days=days), (key,)))
    Erased.objects.create(found_by=key, erased_at=today - timedelta(days=9))
    erasure.replay()
    assert Erased.objects.get().erased_at == today - timedelta(days=2)
    Erased.objects.update(erased_at=today)
    erasure.replay()
    assert Erased.objects.get().erased_at == today


def test_nothing_of_it_is_left_when_the_memory_ends(officer: User) -> None:
    ledger = settings.AMULET.erasure_ledger
    old, fresh = now() - vault.LATE_EVENTS_MAX - timedelta(hours=1), now() - timedelta(days=29)
    for erased_at, key in ((old, b"1" * 32), (fresh, b"2" * 32)):
        late.enter(ledger, Late(erased_at, (key,)))
        Erased.objects.create(found_by=key, erased_at=erased_at)
    apply_due(at=now())
    assert [each.found_by for each in late.read(ledger)] == [(b"2" * 32,)]
    assert [bytes(row.found_by) for row in Erased.objects.all()] == [b"2" * 32]
    late.enter(ledger, Late(old, (b"3" * 32,)))  # brought back by hand
    erasure.replay()
    assert Erased.objects.count() == 1


def test_a_file_is_whole_private_and_says_no_pseudonym_or_id(officer: User, tmp_path: Path) -> None:
    mine = plant(officer, member(Role.REVIEWER))
    assert erasure.carry_out(ask_erasure(officer).pk)
    (path,) = settings.AMULET.erasure_ledger.parent.glob("erasures.late-*")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = path.read_text()
    assert PERSON not in said
    assert not any(str(key) in said or key.hex in said for key in (mine.subject_id, *mine.prediction_ids))
    assert set(json.loads(said)) == {"erased_at", "found_by"}
    assert {bytes.fromhex(key) for key in json.loads(said)["found_by"]} == {
        bytes(key) for key in Erased.objects.values_list("found_by", flat=True)
    }


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"erased_at": "today", "found_by": []}', "\\x00"])
def test_a_file_that_is_none_is_named_and_not_passed_over(content: str, tmp_path: Path) -> None:
    ledger = tmp_path / "erasures.jsonl"
    late.enter(ledger, Late(datetime(2026, 11, 1, tzinfo=UTC), (b"1" * 32,)))
    spoilt = tmp_path / "erasures.late-0.json"
    spoilt.write_text(content)
    with pytest.raises(ValueError, match=r"erasures.late-0.json does not say who was erased"):
        list(late.read(ledger))
    assert late.forget(ledger, before=datetime(2026, 12, 1, tzinfo=UTC)) == 1
    assert spoilt.exists()


def test_where_nobody_was_erased_nothing_is_there(tmp_path: Path) -> None:
    assert not late.is_there(tmp_path / "nowhere" / "erasures.jsonl")
    assert list(late.read(tmp_path / "nowhere" / "erasures.jsonl")) == []
    assert late.forget(tmp_path / "nowhere" / "erasures.jsonl", before=now()) == 0


@pytest.mark.parametrize("there", ["erasures.jsonl", "erasures.late-1.json", "erasures.typed-1.json", ""])
def test_a_console_applies_whatever_the_ledger_has_before_its_port_opens(
    there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        settings.AMULET.erasure_ledger.parent.mkdir(exist_ok=True)
        settings.AMULET.erasure_ledger.with_name(there).touch()

    class Opened(Exception):
        pass

    def server(_settings: object) -> None:
        raise Opened

    def failed(command: list[str], **_options: object) -> subprocess.CompletedProcess[bytes]:
        assert command[-1] == "replay_erasures"
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(serve, "Server", server)
    monkeypatch.setattr(serve.subprocess, "run", failed)
    if there:
        assert serve.main() == 1
    else:
        with pytest.raises(Opened):
            serve.main()


def test_what_comes_late_brings_nobody_back(officer: User, expert: User) -> None:
    plant(officer, expert)
    early, traced = [late_event(), late_event()], f"00-{'a1' * 16}-{'b2' * 8}-01"
    for event in early:
        event.traceparent = traced
    request = ask_erasure(officer)
    erasure._advance(request.pk)  # the records are shut
    assert apply_batch(early[:1]).applied == 1
    assert erasure.carry_out(request.pk)
    assert apply_batch(early[1:]).applied == 1
    assert not Subject.objects.exists()
    for event in early:
        row = Prediction.objects.get(pk=event.prediction.prediction_id)
        assert (row.subject_id, row.request_id, row.detail().trace_id) == (None, "", "")
    # Whoever comes back is somebody new.
    Erased.objects.update(erased_at=now() - timedelta(minutes=6))
    fresh = late_event()
    fresh.traceparent = traced
    assert apply_batch([fresh]).applied == 1
    row = Prediction.objects.get(pk=fresh.prediction.prediction_id)
    assert (row.request_id, row.detail().trace_id) == (CALL, "a1" * 16)
    assert Subject.objects.count() == 1


def test_the_memory_of_an_erasure_ends_when_nothing_can_come_any_more(
    officer: User, expert: User, clock_was_set: Callable[[timedelta], None]
) -> None:
    mine = plant(officer, expert)
    assert erasure.carry_out(ask_erasure(officer).pk)
    assert Erased.objects.filter(found_by=find_by(keys(), PERSON)).exists()
    assert Erased.objects.count() == 1 + len(mine.prediction_ids)
    assert vault.forget_erased() == 0
    Erased.objects.update(erased_at=now() - vault.LATE_EVENTS_MAX - timedelta(minutes=1))
    clock_was_set(timedelta(days=1))
    assert vault.forget_erased() == 0  # nobody knows whether it is so late
    clock_was_set(timedelta())
    assert vault.forget_erased() == 1 + len(mine.prediction_ids)


def test_what_other_gateways_still_hold_of_a_person_leaves_the_certificate_true(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    traces = collect(mine.subject_id, find_by(keys(), PERSON))
    unknown, answer = late_event(), pb.ShadowAnswer(version="v2", verdict=words.VERDICT_IN_DOMAIN)
    # Two gateways: what was said of an answer is here before the answer itself.
    apply_batch([feedback_event(unknown.prediction.prediction_id, comment=f"{CANARY}first")])
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    told = str(mine.prediction_ids[0])
    late = [
        kept_event(pseudonym=PERSON, consent=CONSENT, recipient=recipient(), request_id=CALL),
        unknown,
        feedback_event(unknown.prediction.prediction_id, comment=f"{CANARY}second"),
        feedback_event(told, comment=f"{CANARY}third"),
        shadow_event(told, answer),
    ]
    for event in late:  # each by another gateway
        assert apply_batch([event]).applied == 1
        assert not any(find_all(traces).values())
    assert not Subject.objects.exists()
    assert not StoredObject.objects.exists()
    assert not Feedback.objects.exists()
    assert CANARY not in everything()
    assert not any(str(key) in everything() or key.hex in everything() for key in mine.prediction_ids)
    assert Erasure.objects.get(pk=request.pk).step == Step.DONE
    assert Entry.objects.filter(type__in=["feedback.given", "shadow.followed"]).count() == 5  # each event once


def test_feedback_waits_for_its_prediction_and_goes_when_that_cannot_come(officer: User, expert: User) -> None:
    apply_batch([feedback_event(prediction_event().prediction.prediction_id)])
    discard_orphan_feedback(before=now() - vault.LATE_EVENTS_MAX)
    assert Feedback.objects.count() == 1  # its prediction may still come
    Feedback.objects.update(happened_at=now() - vault.LATE_EVENTS_MAX - timedelta(days=1))
    event = prediction_event()
    told = feedback_event(event.prediction.prediction_id)
    told.happened_at.FromDatetime(now() - timedelta(days=90))
    apply_batch([event, told])
    discard_orphan_feedback(before=now() - vault.LATE_EVENTS_MAX)
    assert list(Feedback.objects.values_list("prediction_id", flat=True)) == [UUID(event.prediction.prediction_id)]

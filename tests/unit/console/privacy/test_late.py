"""What comes late of somebody who was erased brings nobody back, after a restore from before they came, too."""

from __future__ import annotations

import json
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.utils.timezone import now

from console import serve
from console.ingest.models import AppliedEvent
from console.ingest.services import apply_batch
from console.predictions.models import Feedback, Prediction
from console.privacy import erasure, late
from console.privacy.late import Late
from console.retention.services import apply_due
from console.site.roles import Role
from console.staff.models import User
from console.vault import services as vault
from console.vault.cipher import find_by
from console.vault.models import Erased, Subject
from console.vault.queries import keys
from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import feedback_event, prediction_event
from tests.unit.console.people import member
from tests.unit.console.privacy.planted import CANARY, PERSON, Planted, ask_erasure, late_event, plant

pytestmark = pytest.mark.django_db


def everything() -> str:
    return repr([list(model._default_manager.values()) for model in apps.get_models()])


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

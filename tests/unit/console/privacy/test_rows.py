"""Rows that a superuser changed or put back, of which no hash of the log says anything: each is named, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.privacy import erasure, ledger
from console.privacy.rows import not_as_told
from console.staff.models import User
from console.vault import services as vault
from console.vault.models import Consent, Subject
from tests.console_events import prediction_event
from tests.unit.console.privacy.planted import CONSENT, PERSON, ask_erasure, late_event, plant

pytestmark = pytest.mark.django_db


@pytest.fixture
def consent(officer: User, expert: User) -> Consent:
    plant(officer, expert)
    return Consent.objects.get(reference=CONSENT)


def changed(**values: Any) -> Callable[[Consent], None]:
    def change(consent: Consent) -> None:
        Consent.objects.filter(pk=consent.pk).update(**values)

    return change


def moved(consent: Consent) -> None:
    other = vault.subjects_of(["somebody-else"])["somebody-else"]
    Consent.objects.filter(pk=consent.pk).update(subject=other)


def put_in(consent: Consent) -> None:
    Consent.objects.create(
        reference="of nobody", subject=consent.subject, purpose="training", text_version="1", channel="web",
        given_at=now() - timedelta(days=900),
    )  # fmt: skip


CHANGED: dict[str, tuple[Callable[[Consent], None], str]] = {
    "back-dated": (changed(given_at=now() - timedelta(days=400)), "given with another given_at, by the audit log"),
    "another text": (changed(text_version="2"), "given with another text_version"),
    "another purpose": (changed(purpose="training"), "given with another purpose"),
    "another channel": (changed(channel="counter"), "given with another channel"),
    "made to last": (changed(expires_at=now() + timedelta(days=9000)), "given with another expires_at"),
    "of somebody else": (moved, "no entry tells that this person gave it"),
    "never given": (put_in, "no entry tells that this person gave it"),
    "withdrawn by nobody": (
        changed(withdrawn_at=now(), withdrawal_channel="web"), "no entry tells that it was withdrawn",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGED)
def test_a_consent_that_was_changed_in_place_is_named(what: str, consent: Consent) -> None:
    assert list(not_as_told()) == []
    change, said = CHANGED[what]
    change(consent)
    (sentence,) = not_as_told()
    assert said in sentence


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"withdrawn_at": None, "withdrawal_channel": ""}, "it was withdrawn, and counts as valid"),
        ({"withdrawal_channel": "letter"}, "it was withdrawn through another channel"),
    ],
)
def test_a_withdrawal_that_was_taken_back_is_named(
    officer: User, consent: Consent, values: dict[str, Any], said: str
) -> None:
    vault.withdraw_consent(actor=officer, reference=CONSENT, channel="telephone")
    assert list(not_as_told()) == []
    changed(**values)(consent)
    (sentence,) = not_as_told()
    assert said in sentence


@pytest.fixture
def copy(consent: Consent) -> Iterator[Callable[..., None]]:
    """Rows as they were before the erasure, as somebody kept them in the same database."""
    tables = ("vault_subject", "vault_consent", "predictions_prediction", "audit_payload")
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"CREATE TEMPORARY TABLE before_{table} AS SELECT * FROM {table}")

    def put_back(*wanted: str) -> None:
        with connection.cursor() as cursor:
            for table in wanted:
                columns = ", ".join(field.column for field in _model(table)._meta.concrete_fields)
                key = _model(table)._meta.pk.column
                cursor.execute(
                    f"INSERT INTO {table} ({columns}) SELECT {columns} FROM before_{table} "
                    f"WHERE {key} NOT IN (SELECT {key} FROM {table})"
                )

    yield put_back
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"DROP TABLE before_{table}")


def _model(table: str) -> Any:
    return next(model for model in apps.get_models() if model._meta.db_table == table)


@pytest.mark.parametrize("shut", [False, True])
def test_an_erased_person_who_was_put_back_is_named_and_erased_again_at_the_next_start(
    officer: User, consent: Consent, copy: Callable[..., None], shut: bool
) -> None:
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    apply_batch([late_event()])
    assert list(not_as_told()) == []
    copy("vault_subject", "vault_consent", "predictions_prediction", "audit_payload")
    if shut:  # as if an erasure of theirs were under way
        Subject.objects.filter(pk=consent.subject_id).update(shut_at=now())
    assert f"person {consent.subject_id}: erased, by the ledger, and here again" in list(not_as_told())
    assert erasure.replay() == 1
    assert list(not_as_told()) == []
    assert not Subject.objects.exists()
    assert Prediction.objects.count() == 1  # the late one, of nobody


def test_who_comes_again_after_an_erasure_is_a_new_person_and_is_not_named(officer: User, consent: Consent) -> None:
    assert erasure.carry_out(ask_erasure(officer).pk)
    vault.give_consent(actor=officer, pseudonym=PERSON, purpose="training", text_version="1", channel="web")
    assert list(not_as_told()) == []
    assert erasure.replay() == 0
    assert Subject.objects.get().pk != consent.subject_id


def test_what_the_log_said_of_an_erased_person_goes_again_too(
    officer: User, consent: Consent, copy: Callable[..., None]
) -> None:
    assert erasure.carry_out(ask_erasure(officer).pk)
    copy("audit_payload")
    assert list(not_as_told()) == [f"person {consent.subject_id}: erased, by the ledger, and here again"]
    erasure.replay()
    assert list(not_as_told()) == []


def test_a_prediction_that_was_put_back_without_its_person_is_named(
    officer: User, consent: Consent, copy: Callable[..., None]
) -> None:
    gone = set(Prediction.objects.values_list("pk", flat=True))
    assert erasure.carry_out(ask_erasure(officer).pk)
    apply_batch([prediction_event()])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE before_predictions_prediction SET subject_id = NULL")
    copy("predictions_prediction")
    named = [sentence.split()[1].rstrip(":") for sentence in not_as_told()]
    assert sorted(named) == sorted(map(str, gone))


def test_an_erasure_that_is_under_way_is_not_named_and_not_replayed(officer: User, consent: Consent) -> None:
    request = ask_erasure(officer)
    erasure._advance(request.pk)
    ledger.enter(
        settings.AMULET.erasure_ledger,
        ledger.Line(subject_id=consent.subject_id, erased_at=now(), request_id=request.pk),
    )
    assert list(not_as_told()) == []
    assert erasure.replay() == 0
    assert erasure.carry_out(request.pk)


def test_the_command_ends_with_1_where_a_row_is_named(consent: Consent, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("compare_rows")
    assert capsys.readouterr().out == "all rows are as they were told\n"
    changed(text_version=str(uuid4()))(consent)
    with pytest.raises(SystemExit, match="1"):
        call_command("compare_rows")
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"consent {consent.pk} of person {consent.subject_id}: it was given with another")
    assert told[1] == "1 rows are not as they were told"

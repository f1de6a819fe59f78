"""What has its time behind it goes, once for each rule and time, and the report says what did not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import override
from pytest_django import Settings

from console.audit.models import Entry, Payload
from console.datasets.services import export_zip
from console.predictions.models import Prediction
from console.privacy import services as privacy
from console.privacy.erasure import carry_out
from console.privacy.models import Erasure, PrivacyRequest
from console.retention import predictions, queries, services
from console.retention.models import Applied
from console.retention.rules import RULE, RULES
from console.site.roles import Role
from console.staff.models import User
from console.vault import queries as queries_of_vault
from console.vault import restriction
from console.vault import services as vault
from console.vault.models import Consent, Erased, StoredObject
from console.webhooks.models import Delivery, Endpoint, State
from tests.console_events import CLASSES
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import caller, member
from tests.unit.console.predictions.test_pages import browser
from tests.unit.console.privacy.planted import ask_erasure

pytestmark = pytest.mark.django_db
AT = now()


def applied(rule: str) -> tuple[int, int, int, int]:
    row = Applied.objects.get(pk=rule)
    return row.due, row.deleted, row.held, row.failed


def old_deliveries(*states: State) -> None:
    endpoint = Endpoint.objects.create(
        url="https://example.org/", events=[], nonce=b"0" * 16, told_through=0, created_by=member(Role.ADMINISTRATOR)
    )
    for number, state in enumerate(states):
        Delivery.objects.create(
            endpoint=endpoint,
            sequence=number,
            type="erasure.done",
            body="{}",
            state=state,
            created_at=AT - timedelta(days=60),
        )


def test_each_rule_deletes_what_is_due_and_says_what_it_kept_and_why(officer: User) -> None:
    consenting(officer, "shop-1")
    consenting(officer, "shop-2")
    expert = member(Role.REVIEWER)
    for person in ("shop-1", "shop-2"):
        labelled(expert, person, is_a(CLASSES[0]))
    objects = StoredObject.objects.count() // 2
    Consent.objects.filter(reference="keep-shop-1").update(expires_at=AT - timedelta(minutes=1))
    Erased.objects.create(found_by=b"1" * 32, erased_at=AT - vault.LATE_EVENTS_MAX - timedelta(days=1))
    Erased.objects.create(found_by=b"2" * 32, erased_at=AT - timedelta(days=1))
    old_deliveries(State.DELIVERED, State.GIVEN_UP, State.WAITING)
    assert services.apply_due(at=AT) == objects + 1 + 2
    assert applied("photographs") == (objects, objects, 0, 0)
    assert applied("erasures") == (1, 1, 0, 0)
    assert applied("deliveries") == (3, 2, 1, 0)
    assert StoredObject.objects.count() == objects
    told = {row["rule"]: row for row in caller(Role.AUDITOR).get("/api/v1/privacy/retention/").json()}
    assert told.keys() == RULE.keys()
    assert (told["deliveries"]["why_held"], told["photographs"]["why_held"]) == ("still to be delivered", "")
    assert not queries.overdue(AT).exists()


def test_a_rule_is_applied_when_its_time_has_come_and_its_day_is_in_the_audit_trail() -> None:
    assert services.apply_due(at=AT) == 0
    Erased.objects.create(found_by=b"1" * 32, erased_at=AT - timedelta(days=90))
    assert services.apply_due(at=AT + timedelta(minutes=11)) == 0  # photographs alone were due again
    assert Applied.objects.get(pk="photographs").last_at == AT + timedelta(minutes=11)
    assert services.apply_due(at=AT + timedelta(days=1)) == 1
    assert not Entry.objects.filter(type="retention.reported", payload__text__contains='"deleted":1').exists()
    services.apply_due(at=AT + timedelta(days=2))
    reported = Entry.objects.get(type="retention.reported", payload__text__contains='"deleted":1')
    assert reported.payload.subject_id == "erasures"
    assert applied("erasures") == (0, 0, 0, 0)


def test_a_clock_that_was_set_back_keeps_no_rule_waiting_until_it_comes_there_again() -> None:
    services.apply_due(at=AT + timedelta(days=365))
    Erased.objects.create(found_by=b"1" * 32, erased_at=AT - timedelta(days=90))
    assert services.apply_due(at=AT) == 1
    assert Applied.objects.get(pk="erasures").next_at == AT + timedelta(days=1)


def test_a_clock_a_day_ahead_and_back_deletes_what_it_said_was_due_and_once(
    officer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = {"shop-1": timedelta(hours=6), "shop-2": timedelta(hours=30)}  # until when they agreed
    expert = member(Role.REVIEWER)
    for person, after in people.items():
        consenting(officer, person)
        labelled(expert, person, is_a(CLASSES[0]))
        Consent.objects.filter(reference=f"keep-{person}").update(expires_at=AT + after)
    each = StoredObject.objects.count() // 2
    for moment, left in ((AT, 2), (AT + timedelta(days=1), 1), (AT, 1), (AT + timedelta(hours=7), 1)):
        monkeypatch.setattr(vault, "now", lambda moment=moment: moment)
        services.apply_due(at=moment)
        assert StoredObject.objects.count() == left * each, moment
    assert Entry.objects.filter(type="vault.expired").count() == 1


def test_two_workers_at_once_count_what_goes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    services.apply_due(at=AT - timedelta(days=1))
    Erased.objects.create(found_by=b"1" * 32, erased_at=AT - timedelta(days=90))
    forget, begun = vault.forget_erased, []

    def meanwhile() -> int:
        if not begun:  # the other worker comes between this one's counting and its deleting
            begun.append(1)
            services.apply_due(at=AT)
        return forget()

    monkeypatch.setattr(vault, "forget_erased", meanwhile)
    services.apply_due(at=AT)
    assert begun
    assert applied("erasures") == (1, 1, 0, 0)


def test_whoever_dies_over_a_rule_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    services.apply_due(at=AT - timedelta(days=1))
    Erased.objects.create(found_by=b"1" * 32, erased_at=AT - timedelta(days=90))

    def killed() -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(vault, "forget_erased", killed)
        with pytest.raises(KeyboardInterrupt):
            services.apply_due(at=AT)
    assert services.apply_due(at=AT + timedelta(minutes=1)) == 0
    assert services.apply_due(at=AT + timedelta(minutes=11)) == 1


@pytest.mark.usefixtures("static_files")
def test_what_is_overdue_stands_in_red_on_home_and_in_the_report(officer: User) -> None:
    services.apply_due(at=now())
    desk = browser(officer)
    assert "is-late" not in desk.get("/admin/").content.decode()

    def refuse(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        if sql.startswith("DELETE") and "vault_erased" in sql:
            raise DatabaseError("the disk is full")
        return execute(sql, params, many, context)

    Erased.objects.create(found_by=b"1" * 32, erased_at=now() - timedelta(days=90))
    with connection.execute_wrapper(refuse):
        services.apply_due(at=now() + timedelta(days=1))
    assert applied("erasures") == (1, 0, 0, 1)
    failed = Applied.objects.get(pk="erasures")
    assert failed.next_at == failed.last_at + timedelta(minutes=10)  # not a day later
    assert applied("deliveries")[3] == 0  # the others did their work
    desk = browser(officer)  # the session of the day before is one of the things that went
    assert "is-late" in desk.get("/admin/").content.decode()
    page = desk.get(reverse("admin:retention_applied_changelist")).content.decode()
    assert "overdue (DatabaseError)" in page
    assert "the disk is full" not in page
    services.apply_due(at=now() + timedelta(days=2))
    assert not queries.overdue(now() + timedelta(days=2)).exists()
    assert queries.overdue(now() + timedelta(days=4)).count() == len(RULES)


def keeping(settings: Settings, **days: int) -> None:
    settings.AMULET = settings.AMULET.model_copy(update=days)


def test_predictions_are_kept_for_ever_unless_a_time_is_set(officer: User, settings: Settings) -> None:
    expert = member(Role.REVIEWER)
    for person in ("shop-1", "shop-2", "shop-3"):
        consenting(officer, person)
    gone, named, restricted = (labelled(expert, person, is_a(CLASSES[0])) for person in ("shop-1", "shop-2", "shop-3"))
    Prediction.objects.update(happened_at=AT - timedelta(days=400))
    young = labelled(expert, "shop-1", is_a(CLASSES[1]))
    Consent.objects.filter(reference__in=["train-shop-1", "train-shop-3"]).update(
        withdrawn_at=AT, withdrawal_channel="w"
    )
    _made, content = export_zip(actor=member(Role.MODEL_ENGINEER), model=MODEL)
    content.close()
    restriction.restrict(actor=officer, found_by=bytes(queries_of_vault.subject_of("shop-3").found_by))  # type: ignore[union-attr]
    services.apply_due(at=AT)
    assert Prediction.objects.count() == 4

    keeping(settings, keep_predictions_days=365)
    services.apply_due(at=AT + timedelta(minutes=11))
    assert set(Prediction.objects.values_list("pk", flat=True)) == {named, restricted, young}
    assert applied("predictions") == (3, 1, 2, 0)
    assert not StoredObject.objects.filter(owner=str(gone)).exists()
    assert not Payload.objects.filter(subject_type="prediction", subject_id=str(gone)).exists()
    assert Payload.objects.filter(subject_type="prediction", subject_id=str(young)).exists()
    with override("en"):
        assert str(RULE["predictions"].time) == "1 year"


def test_whoever_is_killed_before_it_is_said_what_went_has_deleted_nothing(
    officer: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the report of the day would not have it, and nothing could tell how much went."""
    consenting(officer, "shop-1")
    gone = labelled(member(Role.REVIEWER), "shop-1", is_a(CLASSES[0]))
    Prediction.objects.update(happened_at=AT - timedelta(days=400))
    kept, said = StoredObject.objects.count(), Payload.objects.filter(subject_type="prediction").count()
    keeping(settings, keep_predictions_days=365)
    services.apply_due(at=AT - timedelta(days=100))

    def killed(row: Applied) -> None:
        if row.rule == "predictions":
            raise KeyboardInterrupt
        save(row)

    save = Applied.save
    with monkeypatch.context() as patched:
        patched.setattr(Applied, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            services.apply_due(at=AT)
    assert Prediction.objects.filter(pk=gone).exists()
    assert StoredObject.objects.count() == kept
    assert Payload.objects.filter(subject_type="prediction").count() == said

    services.apply_due(at=AT + timedelta(minutes=11))
    assert not Prediction.objects.filter(pk=gone).exists()
    assert applied("predictions") == (1, 1, 0, 0)
    services.apply_due(at=AT + timedelta(days=2))
    reported = Entry.objects.filter(type="retention.reported", payload__subject_id="predictions")
    assert [json.loads(entry.payload.text)["deleted"] for entry in reported.order_by("sequence")] == [0, 1]


def test_what_somebody_restricts_while_older_predictions_go_stays(
    officer: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert = member(Role.REVIEWER)
    for person in ("shop-1", "shop-2"):
        consenting(officer, person)
    gone, restricted = (labelled(expert, person, is_a(CLASSES[0])) for person in ("shop-1", "shop-2"))
    Prediction.objects.update(happened_at=AT - timedelta(days=400))
    Prediction.objects.filter(pk=gone).update(happened_at=AT - timedelta(days=500))
    found_by = bytes(queries_of_vault.subject_of("shop-2").found_by)  # type: ignore[union-attr]

    def restricts(owners: Iterable[str]) -> int:
        restriction.restrict(actor=officer, found_by=found_by)
        return vault.discard_of(owners)

    monkeypatch.setattr(predictions, "_BATCH", 1)
    monkeypatch.setattr(predictions, "discard_of", restricts)
    keeping(settings, keep_predictions_days=365)
    services.apply_due(at=AT)
    assert list(Prediction.objects.values_list("pk", flat=True)) == [restricted]
    assert StoredObject.objects.filter(owner=str(restricted)).exists()
    assert applied("predictions") == (2, 1, 1, 0)


def test_consents_go_when_they_have_long_ended_and_nothing_is_kept_under_them(
    officer: User, settings: Settings
) -> None:
    for person in ("shop-1", "shop-2"):
        consenting(officer, person)
    long_ago = AT - timedelta(days=1827)
    Consent.objects.update(given_at=long_ago - timedelta(days=1))
    Consent.objects.filter(reference="keep-shop-1").update(withdrawn_at=long_ago, withdrawal_channel="web")
    Consent.objects.filter(reference="train-shop-1").update(expires_at=long_ago)
    Consent.objects.filter(reference="keep-shop-2").update(withdrawn_at=AT, withdrawal_channel="web")
    services.apply_due(at=AT)
    assert set(Consent.objects.values_list("reference", flat=True)) == {"keep-shop-2", "train-shop-2"}


def test_closed_requests_go_with_their_certificates_and_one_that_restricts_stays(officer: User) -> None:
    assert carry_out(ask_erasure(officer, "nobody").pk)
    for kind in ("access", "restriction"):
        request = privacy.receive(actor=officer, pseudonym="shop-1", kind=kind, laws="both", channel="web")
        privacy.check_identity(actor=officer, request_id=request.pk, method="card")
        privacy.start(actor=officer, request_id=request.pk)
        privacy.receive(actor=officer, pseudonym="shop-1", kind=kind, laws="both", channel="web")
        privacy.finish(actor=officer, request_id=request.pk, outcome="done")
    fresh = privacy.receive(actor=officer, pseudonym="shop-1", kind="access", laws="both", channel="web")
    PrivacyRequest.objects.exclude(closed_at=None).update(closed_at=AT - timedelta(days=1827))
    services.apply_due(at=AT)
    left = PrivacyRequest.objects.filter(duplicate_of=None).order_by("pk")
    assert [(row.kind, row.pk == fresh.pk) for row in left] == [("restriction", False), ("access", True)]
    assert not Erasure.objects.exists()
    assert applied("requests")[3] == 0


def test_sessions_and_failed_sign_ins_go(officer: User) -> None:
    for days in (-1, 1):
        Session.objects.create(session_key=f"s{days}", session_data="", expire_date=AT + timedelta(days=days))
        attempt = AccessAttempt.objects.create(
            username=f"typed {days}", ip_address="203.0.113.9", get_data="", post_data="", failures_since_start=1
        )
        AccessAttempt.objects.filter(pk=attempt.pk).update(attempt_time=AT + timedelta(days=days - 1))
    services.apply_due(at=AT)
    assert [row.session_key for row in Session.objects.all()] == ["s1"]
    assert AccessAttempt.objects.count() == 1


@pytest.mark.parametrize(
    ("days", "english", "thai"),
    [
        (0, "for ever", "ตลอดไป"),
        (1, "1 day", "1 วัน"),
        (364, "364 days", "364 วัน"),
        (365, "1 year", "1 ปี"),
        (366, "1 year", "1 ปี"),
        (367, "367 days", "367 วัน"),
        (1095, "3 years", "3 ปี"),
        (1460, "1460 days", "1460 วัน"),  # four years have a leap day among them
        (1461, "4 years", "4 ปี"),
        (1462, "1462 days", "1462 วัน"),
        (1825, "1825 days", "1825 วัน"),
        (1826, "5 years", "5 ปี"),
        (1827, "5 years", "5 ปี"),
        (3653, "10 years", "10 ปี"),
    ],
)
def test_days_that_are_whole_years_are_said_as_years(settings: Settings, days: int, english: str, thai: str) -> None:
    keeping(settings, keep_predictions_days=days)
    for language, said in (("en", english), ("th", thai)):
        with override(language):
            assert str(RULE["predictions"].time) == said

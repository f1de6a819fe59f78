from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from pytest_django import DjangoCaptureOnCommitCallbacks

from console.audit.models import Entry
from console.errors import Conflict, Invalid, NotAllowed, NotFound
from console.privacy import clocks, erasure, queries, services, tasks
from console.privacy.access import export_person
from console.privacy.models import Erasure, PrivacyRequest, State, Step
from console.site.roles import Role
from console.staff.models import User
from console.vault import services as vault
from console.vault.models import Subject
from tests.unit.console.people import member
from tests.unit.console.privacy.planted import ask_erasure, plant

pytestmark = pytest.mark.django_db


def receive(officer: User, **changes: object) -> PrivacyRequest:
    values = {"pseudonym": "canary-person", "kind": "erasure", "laws": "both", "channel": "counter", **changes}
    return services.receive(actor=officer, **values)  # type: ignore[arg-type]


def begun(officer: User, **changes: object) -> PrivacyRequest:
    request = receive(officer, **changes)
    services.check_identity(actor=officer, request_id=request.pk, method="identity card at the counter")
    return services.start(actor=officer, request_id=request.pk)


def state_of(request: PrivacyRequest) -> State:
    return State(PrivacyRequest.objects.values_list("state", flat=True).get(pk=request.pk))


def test_a_request_is_entered_with_both_clocks_and_no_name(officer: User) -> None:
    request = receive(officer, received_at=datetime(2026, 1, 31, 3, tzinfo=UTC))
    assert (request.state, request.subject_id) == (State.RECEIVED, None)
    assert request.limits().binding.isoformat() == "2026-02-28"
    assert request.due_at == datetime(2026, 2, 28, 17, tzinfo=UTC)
    entry = Entry.objects.get(type="privacy.received")
    assert "canary" not in entry.payload.text + repr(PrivacyRequest.objects.values().get())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pseudonym": ""}, "subject"),
        ({"pseudonym": "a\nb"}, "subject"),
        ({"kind": "fun"}, "kind"),
        ({"laws": "ccpa"}, "laws"),
        ({"pseudonym": "p" * (vault.TEXT_MAX + 1)}, "subject"),
        ({"channel": ""}, "channel"),
        ({"channel": "c" * 41}, "channel"),
        ({"received_at": now() + timedelta(days=1)}, "received_at"),
        ({"received_at": datetime(1999, 12, 31, 23, 59, tzinfo=UTC)}, "received_at"),
        ({"received_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=7)))}, "received_at"),
    ],
)
def test_an_unfit_request_is_refused_naming_the_field(officer: User, changes: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        receive(officer, **changes)
    assert refused.value.field == field


def test_each_text_has_an_end(officer: User) -> None:
    request = receive(officer, kind="access", pseudonym="p" * vault.TEXT_MAX, channel="c" * 40)
    with pytest.raises(Invalid):
        services.check_identity(actor=officer, request_id=request.pk, method="m" * 201)
    services.check_identity(actor=officer, request_id=request.pk, method="m" * 200)
    with pytest.raises(Invalid):
        services.pause(actor=officer, request_id=request.pk, reason="r" * (services.REASON_MAX + 1))
    paused = services.pause(actor=officer, request_id=request.pk, reason="r" * services.REASON_MAX)
    assert (len(paused.identity_method), len(paused.reason)) == (200, 500)


def test_of_two_who_extend_at_once_the_second_is_told_so(officer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the request when the first of them is done."""
    request = receive(officer, laws="gdpr")
    read = services._open

    def read_before_another(request_id: int) -> PrivacyRequest:
        found = read(request_id)
        monkeypatch.setattr(services, "_open", read)
        services.extend(actor=officer, request_id=request_id, reason="the first")
        return found

    monkeypatch.setattr(services, "_open", read_before_another)
    with pytest.raises(Conflict, match="already"):
        services.extend(actor=officer, request_id=request.pk, reason="the second")


def test_only_who_may_enters_and_works(officer: User) -> None:
    auditor = member(Role.AUDITOR)
    request = receive(officer)
    with pytest.raises(NotAllowed):
        receive(auditor)
    with pytest.raises(NotAllowed):
        services.check_identity(actor=auditor, request_id=request.pk, method="card")


def test_nothing_begins_before_the_identity_is_checked(officer: User) -> None:
    request = receive(officer)
    with pytest.raises(Conflict):
        services.start(actor=officer, request_id=request.pk)
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    with pytest.raises(Conflict):
        services.check_identity(actor=officer, request_id=request.pk, method="card")
    services.start(actor=officer, request_id=request.pk)
    assert state_of(request) == State.IN_PROGRESS
    assert Erasure.objects.get(pk=request.pk).step == Step.SHUT


def test_an_access_request_is_done_by_hand_with_an_outcome(officer: User) -> None:
    request = begun(officer, kind="access")
    with pytest.raises(Invalid):
        services.finish(actor=officer, request_id=request.pk, outcome=" ")
    done = services.finish(actor=officer, request_id=request.pk, outcome="handed out at the counter")
    assert (done.state, bytes(done.found_by), done.closed_at is not None) == (State.DONE, b"", True)
    with pytest.raises(Conflict):
        services.refuse(actor=officer, request_id=request.pk, reason="late")


def test_an_erasure_is_not_done_by_hand(officer: User) -> None:
    request = begun(officer)
    with pytest.raises(Conflict):
        services.finish(actor=officer, request_id=request.pk, outcome="done")


def test_a_refusal_needs_its_reason_and_an_erasure_that_has_begun_is_refused_no_more(officer: User) -> None:
    request = begun(officer)
    with pytest.raises(Invalid):
        services.refuse(actor=officer, request_id=request.pk, reason="")
    Erasure.objects.filter(pk=request.pk).update(step=Step.KEY)
    with pytest.raises(Conflict, match="has begun"):
        services.refuse(actor=officer, request_id=request.pk, reason="legal hold")
    Erasure.objects.filter(pk=request.pk).update(step=Step.SHUT)
    refused = services.refuse(actor=officer, request_id=request.pk, reason="legal hold")
    assert (refused.state, refused.reason) == (State.REFUSED, "legal hold")
    assert not Erasure.objects.exists()


@pytest.mark.parametrize("where", [State.RECEIVED, State.IDENTITY_CHECKED, State.IN_PROGRESS])
def test_a_pause_ends_where_it_began_and_stops_no_clock(officer: User, where: State) -> None:
    request = receive(officer, kind="objection")
    if where != State.RECEIVED:
        services.check_identity(actor=officer, request_id=request.pk, method="card")
    if where == State.IN_PROGRESS:
        services.start(actor=officer, request_id=request.pk)
    paused = services.pause(actor=officer, request_id=request.pk, reason="waiting for a copy")
    assert (paused.state, paused.due_at) == (State.PAUSED, request.due_at)
    with pytest.raises(Conflict):
        services.pause(actor=officer, request_id=request.pk, reason="again")
    assert services.resume(actor=officer, request_id=request.pk).state == where


def test_an_extension_moves_the_european_clock_alone_and_only_in_its_first_month(officer: User) -> None:
    request = receive(officer, received_at=now() - timedelta(days=20), laws="gdpr")
    extended = services.extend(actor=officer, request_id=request.pk, reason="many photographs")
    assert extended.due_at > request.due_at + timedelta(days=50)
    with pytest.raises(Conflict, match="already"):
        services.extend(actor=officer, request_id=request.pk, reason="more")
    thai = receive(officer, laws="pdpa", kind="access")
    with pytest.raises(Conflict, match="PDPA"):
        services.extend(actor=officer, request_id=thai.pk, reason="more")
    late = receive(officer, received_at=now() - timedelta(days=40), laws="gdpr", kind="objection")
    with pytest.raises(Conflict, match="first month"):
        services.extend(actor=officer, request_id=late.pk, reason="more")
    both = receive(officer, kind="restriction")
    assert services.extend(actor=officer, request_id=both.pk, reason="more").due_at <= both.due_at + timedelta(days=2)


def test_a_second_request_of_the_kind_joins_the_first_and_shares_its_fate(officer: User) -> None:
    first, second = receive(officer, kind="access"), receive(officer, kind="access")
    other, somebody = receive(officer, kind="objection"), receive(officer, kind="access", pseudonym="another")
    assert (second.duplicate_of_id, other.duplicate_of_id, somebody.duplicate_of_id) == (first.pk, None, None)
    with pytest.raises(Conflict, match=f"request {first.pk}"):
        services.check_identity(actor=officer, request_id=second.pk, method="card")
    services.refuse(actor=officer, request_id=first.pk, reason="not the person")
    assert (state_of(second), state_of(somebody)) == (State.REFUSED, State.RECEIVED)
    assert receive(officer, kind="access").duplicate_of_id is None
    closed = Entry.objects.get(type="privacy.closed_with").payload
    assert (closed.subject_id, json.loads(closed.text)["first"]) == (str(second.pk), first.pk)


def test_whether_it_came_in_time_is_told_of_what_is_closed_as_of_the_day_on_which_it_was(officer: User) -> None:
    request = begun(officer, kind="access", laws="pdpa", received_at=now() - timedelta(days=33))
    services.finish(actor=officer, request_id=request.pk, outcome="handed out at the counter")
    request.refresh_from_db()
    assert request.days_left(clocks.day_of(now() + timedelta(days=400))) == -3


def test_a_restriction_is_linked_to_its_person_and_to_nobody_else(officer: User) -> None:
    somebody = receive(officer, kind="access", pseudonym="another")
    request = begun(officer, kind="restriction")
    assert PrivacyRequest.objects.get(pk=request.pk).subject_id is not None
    assert PrivacyRequest.objects.get(pk=somebody.pk).subject_id is None


def test_what_is_not_there_is_said_so(officer: User) -> None:
    with pytest.raises(NotFound):
        services.pause(actor=officer, request_id=999, reason="x")


@pytest.mark.parametrize(
    ("door", "text"),
    [
        (services.check_identity, {"method": ""}),
        (services.pause, {"reason": ""}),
        (services.resume, {}),
        (services.extend, {"reason": ""}),
        (services.refuse, {"reason": ""}),
        (services.lift_restriction, {"reason": ""}),
        (services.finish, {"outcome": ""}),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_who_may_not_is_told_so_before_anything_else(
    officer: User, door: Callable[..., object], text: dict[str, str], there: bool
) -> None:
    request = begun(officer)
    with pytest.raises(NotAllowed):
        door(actor=member(Role.AUDITOR), request_id=request.pk if there else 999, **text)


def test_a_request_that_is_extended_while_others_are_told_of_is_near_no_limit(
    officer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = now()
    request = receive(officer, kind="access", laws="gdpr", received_at=moment - timedelta(days=26))
    level_of = clocks.escalation

    def extended_meanwhile(left: int) -> clocks.Escalation:  # between what is read and what is written of it
        services.extend(actor=officer, request_id=request.pk, reason="many photographs")
        return level_of(left)

    monkeypatch.setattr(clocks, "escalation", extended_meanwhile)
    assert services.escalate(at=moment) == 0
    monkeypatch.undo()
    assert PrivacyRequest.objects.get(pk=request.pk).told == clocks.Escalation.NONE
    assert services.escalate(at=moment + timedelta(days=61)) == 1


def test_what_was_told_while_the_clock_was_ahead_is_told_again_in_its_time(officer: User) -> None:
    moment = now()
    receive(officer, kind="access", laws="pdpa", received_at=moment - timedelta(days=30))  # today is its last day
    assert services.escalate(at=moment + timedelta(days=1)) == 1
    assert services.escalate(at=moment) == 0
    assert PrivacyRequest.objects.get().told == clocks.Escalation.URGENT
    assert [services.escalate(at=moment + timedelta(days=1)) for _twice in range(2)] == [1, 0]
    assert Entry.objects.filter(type="privacy.escalated").count() == 2


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(hours=-1), timedelta(days=-1)])
def test_a_request_is_due_no_later_because_the_clock_was_set(
    officer: User, clock_was_set: Callable[[timedelta], None], ahead: timedelta
) -> None:
    clock_was_set(ahead)
    moment = now()
    request = receive(officer)
    true_on = clocks.day_of(moment - ahead)
    latest = clocks.limits(received_on=true_on, erasure=request.kind == "erasure", laws=frozenset(clocks.Law))
    assert request.limits().binding <= latest.binding
    assert abs(request.received_at - (moment - max(ahead, timedelta()))) < timedelta(minutes=1)


@pytest.mark.parametrize("kind", ["access", "portability"])
def test_nothing_is_handed_out_before_the_work_has_begun_nor_after_it(officer: User, kind: str) -> None:
    request = receive(officer, kind=kind)

    def refused() -> bool:
        with pytest.raises(Conflict):
            export_person(actor=officer, request_id=request.pk)
        return not Entry.objects.filter(type="privacy.exported").exists()

    assert refused()  # nobody knows yet who asks
    services.check_identity(actor=officer, request_id=request.pk, method="identity card at the counter")
    assert refused()
    services.start(actor=officer, request_id=request.pk)
    export_person(actor=officer, request_id=request.pk).close()
    told = Entry.objects.get(type="privacy.exported")
    about = (told.payload.subject_type, told.payload.subject_id)
    assert (told.actor, *about) == (str(officer.pseudonym), "privacy_request", str(request.pk))
    services.finish(actor=officer, request_id=request.pk, outcome="handed out at the counter")
    with pytest.raises(Conflict):
        export_person(actor=officer, request_id=request.pk)


@pytest.mark.parametrize("kind", ["erasure", "restriction", "objection", "rectification"])
def test_nothing_is_handed_out_for_what_does_not_ask_for_it(officer: User, kind: str) -> None:
    request = begun(officer, kind=kind)
    with pytest.raises(Conflict):
        export_person(actor=officer, request_id=request.pk)


@pytest.mark.parametrize("kind", ["erasure", "access"])
def test_only_an_erasure_that_goes_on_wakes_its_worker(
    officer: User, kind: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    request = begun(officer, kind=kind)
    services.pause(actor=officer, request_id=request.pk, reason="a question")
    with django_capture_on_commit_callbacks() as woken:
        services.resume(actor=officer, request_id=request.pk)
    assert [call.args for call in woken] == [(tasks.carry_out.name, request.pk)] * (kind == "erasure")


def test_an_erasure_that_was_paused_before_it_began_wakes_nobody(
    officer: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    request = receive(officer)
    services.pause(actor=officer, request_id=request.pk, reason="a question")
    with django_capture_on_commit_callbacks() as woken:
        services.resume(actor=officer, request_id=request.pk)
    assert woken == []


def test_who_is_being_erased_is_linked_to_nothing_any_more(officer: User) -> None:
    request = receive(officer, kind="access")
    services.check_identity(actor=officer, request_id=request.pk, method="identity card at the counter")
    erased = begun(officer)
    vault.subjects_of({"canary-person"})  # known only after both had come in
    erasure._advance(erased.pk)
    assert Subject.objects.get().shut_at is not None
    services.start(actor=officer, request_id=request.pk)
    assert PrivacyRequest.objects.get(pk=request.pk).subject_id is None


def test_a_closed_request_stays_while_it_keeps_a_restriction_and_goes_after_it(officer: User) -> None:
    request = begun(officer, kind="restriction")
    services.finish(actor=officer, request_id=request.pk, outcome="restricted")
    later = now() + timedelta(days=1)
    assert services.discard_closed(before=later) == 0
    services.lift_restriction(actor=officer, request_id=request.pk, reason="the person agreed")
    assert services.discard_closed(before=now() - timedelta(days=1)) == 0
    assert services.discard_closed(before=later) == 1


def test_each_level_is_told_once_and_before_the_limit(officer: User) -> None:
    request = receive(officer, kind="access", laws="pdpa", received_at=datetime(2026, 3, 1, 5, tzinfo=UTC))
    due = datetime(2026, 3, 31, 5, tzinfo=UTC)
    levels = []
    for days in range(-15, 3):
        for _hour in range(2):
            if services.escalate(at=due + timedelta(days=days)):
                levels.append((days, PrivacyRequest.objects.get(pk=request.pk).told))
    assert levels == [(-10, "soon"), (-3, "urgent"), (1, "overdue")]
    assert Entry.objects.filter(type="privacy.escalated").count() == 3
    assert queries.due_within(10, due - timedelta(days=11)).count() == 0
    assert queries.due_within(10, due - timedelta(days=10)).count() == 1
    assert queries.days_left_min(due - timedelta(days=4)) == 4


def test_who_is_known_is_linked(officer: User) -> None:
    subject = vault.subjects_of({"canary-person"})["canary-person"]
    assert receive(officer).subject_id == subject.pk


@pytest.mark.parametrize("known_at", ["start", "export"])
def test_who_was_unknown_when_the_request_came_in_is_told_what_is_known_by_now(officer: User, known_at: str) -> None:
    expert = member(Role.REVIEWER)
    request = receive(officer, kind="access", pseudonym="late-1")
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    if known_at == "start":
        plant(officer, expert, person="late-1")
    services.start(actor=officer, request_id=request.pk)
    if known_at == "export":
        plant(officer, expert, person="late-1")
    with export_person(actor=officer, request_id=request.pk) as file, zipfile.ZipFile(file) as archive:
        person, names = json.loads(archive.read("person.json")), archive.namelist()
    assert person["known"]
    assert [row["number"] for row in person["requests"]] == [request.pk]
    assert (len(person["consents"]), len(person["predictions"])) == (1, 4)
    assert sum(name.startswith("photographs/") for name in names) == 3
    assert erasure.carry_out(ask_erasure(officer, "late-1").pk)
    assert PrivacyRequest.objects.get(pk=request.pk).subject_id is None


def test_an_export_costs_as_few_statements_for_many_predictions_as_for_one(officer: User) -> None:
    expert, asked = member(Role.REVIEWER), []
    for person, photographs in (("one-photograph", 1), ("many-photographs", 9)):
        plant(officer, expert, photographs=photographs, person=person, tag=person)
        request = receive(officer, kind="access", pseudonym=person)
        services.check_identity(actor=officer, request_id=request.pk, method="card")
        services.start(actor=officer, request_id=request.pk)
        before = Entry.objects.filter(type="vault.opened").count()
        with CaptureQueriesContext(connection) as statements:
            file = export_person(actor=officer, request_id=request.pk)
        with file, zipfile.ZipFile(file) as archive:
            kept = [name for name in archive.namelist() if name.startswith(("photographs/", "heat_maps/"))]
            told = json.loads(archive.read("person.json"))["predictions"]
        assert sum(name.startswith("photographs/") for name in kept) == photographs
        assert Entry.objects.filter(type="vault.opened").count() - before == len(kept)
        assert (sum(len(row["reviews"]) for row in told), sum(len(row["feedback"]) for row in told)) == (1, 1)
        asked.append(len(statements))

    assert asked[1] == asked[0]

"""Two people who do the same at the same instant: one effect, one audit entry, and a clear word for the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import prediction_event
from tests.integration.console_events.processes import Crew

ROUNDS: Final = 12
LANGUAGES: Final = ("th", "en")  # of the one and of the other; who is first is not decided by it


def staff(crew: Crew, role: str, *names: str) -> list[str]:
    """The tokens of new members of staff."""
    tokens: list[str] = crew.shell(
        "from console.staff.services import create_user\n"
        f"answer = [create_user(name=name, role={role!r}).token for name in {names!r}]"
    )
    return tokens


def at_once(crew: Crew, tokens: list[str], calls: list[tuple[str, str]]) -> list[list[dict[str, Any]]]:
    """Each call, path and body, by everybody at the same instant, one call after the other; the answers to each."""
    rounds = [
        [
            {"token": token, "language": language, "path": path, "body": body}
            for token, language in zip(tokens, LANGUAGES, strict=True)
        ]
        for path, body in calls
    ]
    (told,) = crew.run([("ask_at_once", {"rounds": rounds})])
    answers: list[list[dict[str, Any]]] = told["rounds"]
    return answers


@pytest.fixture
def versions(crew: Crew, request: pytest.FixtureRequest) -> list[int]:
    """Versions that wait for a second person, of a model of this test's own."""
    made: list[int] = crew.shell(
        "from console.staff.services import create_user\n"
        "from tests.unit.console.versions import a_version\n"
        f"name = {request.node.originalname!r}\n"
        "malee = create_user(name='malee-' + name[:40], role='model engineer').user\n"
        f"answer = [a_version(malee, number=n + 1, model=name[:60]).pk for n in range({ROUNDS})]"
    )
    return made


def test_two_approvers_of_one_version_are_one_approval(crew: Crew, versions: list[int]) -> None:
    tokens = staff(crew, "approver", "somchai", "somsri")
    answers = at_once(crew, tokens, [(f"versions/{pk}/approve/", '{"reason": "Better."}') for pk in versions])
    said = {
        "th": "อยู่ในสถานะ อนุมัติแล้ว แต่ต้องเป็น",
        "en": "is approved; it would have to be smoke-tested.",
    }
    for told in answers:
        assert sorted(each["status"] for each in told) == [200, 409], told
        (late,) = (place for place, each in enumerate(told) if each["status"] == 409)
        assert told[late]["reason"] == "wrong_state"
        assert said[LANGUAGES[late]] in told[late]["detail"]
    numbers = ", ".join(f"'{pk}'" for pk in versions)
    entries = crew.query(
        "SELECT subject_id, COUNT(*) FROM audit_entry JOIN audit_payload ON entry_id = sequence "
        f"WHERE type = 'registry.version_approved' AND subject_id IN ({numbers}) GROUP BY subject_id"
    )
    assert dict(entries) == {str(pk): 1 for pk in versions}


def waiting(crew: Crew, folder: Path, count: int) -> list[int]:
    """Fresh items of the review queue, and nothing else in it."""
    crew.shell(
        "from console.review.models import ReviewItem\nanswer = ReviewItem.objects.filter(state='open').delete()[0]"
    )
    file = folder / "events"
    events = [prediction_event(confidence=0.5) for _ in range(count)]
    file.write_bytes(pb.EventBatch(events=events).SerializeToString())
    crew.run([("ship", {"seed": 1, "events": str(file), "times": 1, "batch_max": 500})])
    return [row[0] for row in crew.query("SELECT id FROM review_reviewitem WHERE state = 'open'")]


def test_two_reviewers_of_one_item_are_one_decision(crew: Crew, tmp_path: Path) -> None:
    items = waiting(crew, tmp_path, ROUNDS)
    tokens = staff(crew, "reviewer", "at-once-anan", "at-once-busaba")
    calls = [
        call
        for item in items
        for call in ((f"reviews/{item}/take/", "{}"), (f"reviews/{item}/decide/", '{"decided": "not_our_kind"}'))
    ]
    answers = at_once(crew, tokens, calls)
    said = {"th": "กำลังตรวจรายการนี้อยู่", "en": "is reviewing it."}
    decided_late = {"th": "รายการนี้ตัดสินไปแล้ว", "en": "It has been decided already."}
    for taken, decided in zip(answers[::2], answers[1::2], strict=True):
        assert sorted(each["status"] for each in taken) == [200, 409], taken
        assert sorted(each["status"] for each in decided) == [201, 409], decided
        (late,) = (place for place, each in enumerate(taken) if each["status"] == 409)
        assert said[LANGUAGES[late]] in taken[late]["detail"]
        # Who did not get it is told by whom, or, where the other was faster, that it is over.
        assert any(text[LANGUAGES[late]] in decided[late]["detail"] for text in (said, decided_late))
    _decided_once(crew, items)


def test_one_reviewer_in_two_windows_decides_once(crew: Crew, tmp_path: Path) -> None:
    items = waiting(crew, tmp_path, ROUNDS)
    (token,) = staff(crew, "reviewer", "at-once-chanin")
    body = '{"decided": "not_our_kind"}'
    calls = [call for item in items for call in ((f"reviews/{item}/take/", "{}"), (f"reviews/{item}/decide/", body))]
    answers = at_once(crew, [token, token], calls)
    for taken, decided in zip(answers[::2], answers[1::2], strict=True):
        assert [each["status"] for each in taken] == [200, 200], taken  # taking it again prolongs the hold
        assert sorted(each["status"] for each in decided) == [201, 409], decided
        assert {each["reason"] for each in decided if each["status"] == 409} == {"already_decided"}
    _decided_once(crew, items)


def _decided_once(crew: Crew, items: list[int]) -> None:
    numbers = ", ".join(map(str, items))
    assert crew.count(f"review_reviewitem WHERE state = 'decided' AND rounds = 1 AND id IN ({numbers})") == len(items)
    assert crew.count(f"review_expertdecision WHERE item_id IN ({numbers})") == len(items)
    entries = crew.query(
        "SELECT COUNT(*) FROM audit_entry JOIN audit_payload ON entry_id = sequence "
        f"JOIN review_reviewitem ON id IN ({numbers}) "
        "AND REPLACE(CAST(prediction_id AS VARCHAR(36)), '-', '') = REPLACE(subject_id, '-', '') "
        "WHERE type = 'review.decided'"
    )
    assert entries == [(len(items),)]


def test_of_two_administrators_who_remove_each_other_one_stays(crew: Crew) -> None:
    said, left = crew.shell(REMOVE_EACH_OTHER)
    assert (said, left) == (["last_administrator"], 1)


# The second removal begins while the first is done and not committed, so that it cannot see it.
REMOVE_EACH_OTHER: Final = """
import threading, time
from django.db import connection, transaction
from console.errors import Conflict
from console.staff.models import User
from console.staff.services import create_user, set_active
from tests.integration.console_events.turns import LOOK_S, somebody_waits

active = list(User.objects.filter(is_active=True, groups__name="administrator").values_list("pk", flat=True))
User.objects.filter(pk__in=active).update(is_active=False)
one, other = (create_user(name=name, role="administrator").user for name in ("last-one", "last-other"))
said = []

def remove_one():
    try:
        set_active(actor=other, user_id=one.pk, active=False)
        said.append("removed")
    except Conflict as error:
        said.append(error.reason)
    finally:
        connection.close()

late = threading.Thread(target=remove_one)
with transaction.atomic():
    set_active(actor=one, user_id=other.pk, active=False)
    late.start()
    while connection.vendor == "postgresql" and late.is_alive() and not somebody_waits():
        time.sleep(LOOK_S)
late.join()
left = User.objects.filter(is_active=True, groups__name="administrator").count()
User.objects.filter(pk__in=active).update(is_active=True)
answer = [said, left]
"""


@pytest.mark.parametrize("first", ["made", "revoked"])
def test_a_token_that_makes_another_while_it_is_revoked_leaves_none(crew: Crew, first: str) -> None:
    """Whoever comes second sees what the first one did."""
    said, in_force = crew.shell(f"FIRST = {first!r}\n{MAKES_WHILE_REVOKED}")
    assert (sorted(said), in_force) == ((["made", "revoked"] if first == "made" else ["refused", "revoked"]), 0)


MAKES_WHILE_REVOKED: Final = """
import threading, time
from django.db import connection, transaction
from console.errors import NotAllowed
from console.staff.models import ApiToken
from console.staff.services import create_token, create_user, revoke_token
from tests.integration.console_events.turns import LOOK_S, somebody_waits

thief = create_user(name=f"robbed-{FIRST}", role="viewer").user
stolen = create_token(user=thief, name="stolen", actor=thief).token
said = []

def make():
    try:
        create_token(user=thief, name="its own", actor=thief, asked_with=stolen)
        said.append("made")
    except NotAllowed:
        said.append("refused")

def revoke():
    revoke_token(key_id=stolen.key_id, actor=thief)
    said.append("revoked")

def late(act):
    try:
        act()
    finally:
        connection.close()

one, other = (make, revoke) if FIRST == "made" else (revoke, make)
second = threading.Thread(target=late, args=[other])
with transaction.atomic():
    one()
    second.start()
    while connection.vendor == "postgresql" and second.is_alive() and not somebody_waits():
        time.sleep(LOOK_S)
second.join()
answer = [said, ApiToken.objects.filter(user=thief, revoked_at=None).exclude(name="first").count()]
"""


@pytest.mark.parametrize("kind", ["access", "erasure"])
@pytest.mark.parametrize("first", ["asked", "closed"])
def test_who_asks_again_while_their_request_is_closed_is_not_left_behind(crew: Crew, first: str, kind: str) -> None:
    """A duplicate is closed with its request, or is none: nobody could work on it, and its clock would run on."""
    closed, duplicate_of, state = crew.shell(f"FIRST, KIND = {first!r}, {kind!r}\n{ASKS_WHILE_CLOSED}")
    done = "done" if kind == "erasure" else "refused"
    assert closed == done
    assert (duplicate_of is not None, state) == ((True, done) if first == "asked" else (False, "received"))


ASKS_WHILE_CLOSED: Final = """
import threading, time
from django.db import connection, transaction
from console.privacy import erasure, services
from console.privacy.models import PrivacyRequest
from console.staff.services import create_user
from tests.integration.console_events.turns import LOOK_S, somebody_waits

officer = create_user(name=f"officer-{FIRST}-{KIND}", role="privacy officer").user
person = f"asks-twice-{FIRST}-{KIND}"

def ask():
    return services.receive(actor=officer, pseudonym=person, kind=KIND, laws="both", channel="web")

request = ask()
if KIND == "erasure":
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    services.start(actor=officer, request_id=request.pk)
    while erasure._advance(request.pk)[1] < erasure.Step.FINISH:
        pass

def close():
    if KIND == "erasure":
        erasure._advance(request.pk)
    else:
        services.refuse(actor=officer, request_id=request.pk, reason="not the person")

def late(act):
    try:
        act()
    finally:
        connection.close()

one, other = (ask, close) if FIRST == "asked" else (close, ask)
second = threading.Thread(target=late, args=[other])
with transaction.atomic():
    one()
    second.start()
    while connection.vendor == "postgresql" and second.is_alive() and not somebody_waits():
        time.sleep(LOOK_S)
second.join()
again = PrivacyRequest.objects.order_by("-pk").first()
request.refresh_from_db()
answer = [request.state, again.duplicate_of_id, again.state]
"""

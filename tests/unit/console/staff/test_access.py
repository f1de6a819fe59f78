"""Who gets in: password and second factor, lockout, tokens, and the end of both."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import ClassVar

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.db.models import F
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp import models as totp_models
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings
from rest_framework.test import APIClient

from console.audit.models import Entry, Payload
from console.audit.queries import entries_about
from console.errors import Conflict, Invalid, NotAllowed, NotFound
from console.site.roles import Role
from console.staff import services
from console.staff.models import ApiToken, FailedSignIns, SpentCode, User
from console.staff.services import NewStaff, create_user
from console.staff.sign_ins import WINDOW
from tests.unit.console.people import browser as at_the_desk
from tests.unit.console.people import member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
LOGIN = "/admin/login/"


class WatchedHasher(MD5PasswordHasher):
    """Notes in how many blocks inside the test's own transaction it hashes."""

    blocks: ClassVar[list[int]] = []

    def encode(self, password: str, salt: str) -> str:
        self.blocks.append(len(connection.savepoint_ids))
        return super().encode(password, salt)


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    """How slowly a password is hashed is Django's business, and most of such a test's time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def code_of(staff: NewStaff, *, at: float | None = None) -> str:
    """What the authenticator of this person shows now, or at a moment in seconds since the epoch."""
    factor = TOTP(base64.b32decode(staff.totp_seed))
    factor.time = time.time() if at is None else at
    return f"{factor.token():06d}"


def log_in(browser: Browser, staff: NewStaff, **wrong: str) -> int:
    given = {"username": staff.user.username, "password": staff.password, "code": code_of(staff), **wrong}
    return browser.post(LOGIN, given).status_code


@pytest.fixture
def anong() -> NewStaff:
    return create_user(name="anong", role=Role.VIEWER)


def test_password_and_code_together_open_the_admin(anong: NewStaff) -> None:
    browser = Browser()
    assert browser.get("/admin/").status_code == 302
    assert log_in(browser, anong) == 302
    assert browser.get("/admin/").status_code == 200


@pytest.mark.parametrize("wrong", [{"code": "000000"}, {"code": ""}, {"password": "guess"}, {"username": "nobody"}])
def test_neither_alone_opens_anything(anong: NewStaff, wrong: dict[str, str]) -> None:
    browser = Browser()
    assert log_in(browser, anong, **wrong) == 200
    assert browser.get("/admin/").status_code == 302


def test_a_code_opens_once(anong: NewStaff) -> None:
    code = code_of(anong)
    assert log_in(Browser(), anong, code=code) == 302
    assert log_in(Browser(), anong, code=code) == 200


def test_whoever_was_early_once_may_be_late_the_next_time(anong: NewStaff, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that moves with the codes refuses what was typed at the end of a step and read in the next."""
    device = TOTPDevice.objects.get(user=anong.user)
    clock = [1_800_000_000.0]
    monkeypatch.setattr(totp_models, "time", SimpleNamespace(time=lambda: clock[0]))
    assert device.verify_token(code_of(anong, at=clock[0] + 30))
    clock[0] += 300
    assert device.verify_token(code_of(anong, at=clock[0] - 30))
    clock[0] += 300
    assert device.verify_token(code_of(anong, at=clock[0] + 30))
    clock[0] += 300
    assert not device.verify_token(code_of(anong, at=clock[0] + 60))


def test_a_session_without_the_second_factor_opens_neither_admin_nor_rest(anong: NewStaff) -> None:
    browser = Browser()
    browser.force_login(anong.user, backend="django.contrib.auth.backends.ModelBackend")
    assert browser.get("/admin/").status_code == 302
    assert browser.get("/api/v1/versions/").status_code == 401


def test_a_session_with_it_opens_rest(anong: NewStaff) -> None:
    browser = Browser()
    log_in(browser, anong)
    assert browser.get("/api/v1/versions/").status_code == 200


def test_five_wrong_guesses_lock_the_guesser_out_and_not_the_person(anong: NewStaff) -> None:
    stranger, person = Browser(REMOTE_ADDR="203.0.113.9"), Browser(REMOTE_ADDR="203.0.113.10")
    answers = [log_in(stranger, anong, password=f"guess {number}") for number in range(6)]
    assert answers[:4] == [200] * 4
    assert answers[-1] == 429
    assert log_in(stranger, anong) == 429  # even with all of it right
    assert log_in(person, anong) == 302


def test_who_was_locked_out_is_led_where_they_were_going_and_nowhere_else(anong: NewStaff) -> None:
    browser = Browser()
    for leads_to, kept in (("/admin/predictions/prediction/", True), ("https://evil.example/", False)):
        given = {"username": "anong", "password": "guess", "code": "000000", "next": leads_to}
        for _number in range(6):
            answer = browser.post(f"{LOGIN}?way=home", given)
        assert (answer.status_code, answer["Retry-After"]) == (429, "900")
        assert f'action="{LOGIN}?way=home"' in answer.content.decode()
        assert (f'name="next" value="{leads_to}"' in answer.content.decode()) is kept
        assert "evil.example" not in answer.content.decode()


def test_whom_an_administrator_gives_new_access_is_locked_out_no_more(anong: NewStaff) -> None:
    browser, other = Browser(), create_user(name="kamol", role=Role.AUDITOR)
    for staff in (anong, other):
        for number in range(6):
            log_in(browser, staff, password=f"guess {number}")
        assert log_in(browser, staff) == 429
    fresh = services.reset_access(actor=member(Role.ADMINISTRATOR), user_id=anong.user.pk)
    assert log_in(browser, fresh) == 302
    assert log_in(Browser(), other) == 429  # it was not for them


@pytest.mark.parametrize("page", ["/admin/", "/admin/password_change/", "/admin/password_change/done/", "/admin/try/"])
def test_no_page_of_a_person_stays_in_the_browser_that_they_left(anong: NewStaff, page: str) -> None:
    shown = at_the_desk(anong.user).get(page)
    assert (shown.status_code, "no-store" in shown["Cache-Control"]) == (200, True)


def test_a_session_gets_another_id_and_a_form_another_token_when_somebody_signs_in(anong: NewStaff) -> None:
    browser, cookie = Browser(), settings.SESSION_COOKIE_NAME
    planted = browser.session  # of whoever had the browser before, and knows its id
    planted["known"] = True
    planted.save()
    browser.cookies[cookie] = planted.session_key
    token = browser.get(LOGIN).cookies[settings.CSRF_COOKIE_NAME].value
    browser.cookies[settings.CSRF_COOKIE_NAME] = token
    assert log_in(browser, anong) == 302
    own = browser.cookies[cookie].value
    assert own != planted.session_key
    assert browser.cookies[settings.CSRF_COOKIE_NAME].value != token
    assert not Session.objects.filter(session_key=planted.session_key).exists()
    assert change_password(browser, anong.password) == 302
    assert browser.cookies[cookie].value != own
    assert not Session.objects.filter(session_key=own).exists()


def test_a_guesser_has_five_guesses_from_all_the_addresses_of_one_ipv6_subscriber(anong: NewStaff) -> None:
    for number in range(6):
        log_in(Browser(REMOTE_ADDR=f"2001:db8:1:2::{number + 1:x}"), anong, password=f"guess {number}")
    assert log_in(Browser(REMOTE_ADDR="2001:db8:1:2:ffff::7"), anong) == 429
    assert log_in(Browser(REMOTE_ADDR="2001:db8:1:3::1"), anong) == 302


@pytest.mark.parametrize(
    ("name", "careless", "address", "status"),
    [
        ("AXES_ENABLED", False, "203.0.113.9", 302),
        ("AXES_LOCKOUT_PARAMETERS", ["username"], "203.0.113.10", 429),
    ],
)
def test_without_a_count_nobody_is_locked_out_and_by_name_alone_the_person_is(
    anong: NewStaff, settings: Settings, name: str, careless: object, address: str, status: int
) -> None:
    """Negative control of the test above."""
    setattr(settings, name, careless)
    for number in range(6):
        log_in(Browser(REMOTE_ADDR="203.0.113.9"), anong, password=f"guess {number}")
    assert log_in(Browser(REMOTE_ADDR=address), anong) == status


def test_wrong_codes_lock_as_wrong_passwords_do(anong: NewStaff) -> None:
    """Else whoever is never locked out has been told that the password is right."""
    stranger = Browser(REMOTE_ADDR="203.0.113.9")
    answers = [log_in(stranger, anong, code="000000") for _number in range(6)]
    assert answers[-1] == 429


def test_who_was_locked_out_by_a_clock_that_was_ahead_comes_in_once_it_was_set_back(anong: NewStaff) -> None:
    browser = Browser()
    answers = [log_in(browser, anong, password=f"guess {number}") for number in range(6)]
    assert (answers[-1], log_in(browser, anong)) == (429, 429)
    AccessAttempt.objects.update(attempt_time=now() + timedelta(hours=1))
    assert log_in(browser, anong, password="guess 6") == 200  # what it counted is over
    assert log_in(browser, anong) == 302


def test_an_attempt_on_a_machine_whose_clock_is_a_little_ahead_counts(anong: NewStaff) -> None:
    browser = Browser()
    for number in range(6):
        log_in(browser, anong, password=f"guess {number}")
    AccessAttempt.objects.update(attempt_time=now() + timedelta(minutes=1))
    assert log_in(browser, anong) == 429


def test_a_code_that_opened_while_the_clock_was_ahead_shuts_nobody_out_and_opens_once(anong: NewStaff) -> None:
    tomorrow_s = time.time() + 86_400
    TOTPDevice.objects.update(last_t=int(tomorrow_s) // 30)
    assert (log_in(Browser(), anong), log_in(Browser(), anong)) == (302, 200)


@pytest.mark.parametrize("back_s", [3600, 86_400, -86_400])
def test_a_code_that_opened_once_opens_nothing_when_the_clock_comes_there_again(
    anong: NewStaff, monkeypatch: pytest.MonkeyPatch, back_s: int
) -> None:
    clock = SimpleNamespace(time=lambda: at_s)
    for module in (totp_models, services):
        monkeypatch.setattr(module, "time", clock)
    at_s = seen_s = time.time()
    assert log_in(Browser(), anong, code=code_of(anong, at=seen_s)) == 302
    at_s = seen_s + back_s / 2  # somebody comes in meanwhile
    assert log_in(Browser(), anong, code=code_of(anong, at=at_s)) == 302
    at_s = seen_s + back_s
    assert log_in(Browser(), anong, code=code_of(anong, at=at_s)) == 302
    at_s = seen_s
    assert log_in(Browser(), anong, code=code_of(anong, at=seen_s)) == 200
    at_s = seen_s + 30
    assert log_in(Browser(), anong, code=code_of(anong, at=at_s)) == 302  # the next one is nobody's yet


def test_codes_are_remembered_for_a_week(anong: NewStaff) -> None:
    device = TOTPDevice.objects.get()
    step = int(time.time()) // 30
    week = 7 * 86_400 // 30
    SpentCode.objects.bulk_create(SpentCode(device=device, step=step + by) for by in (-week - 2, -week + 2, week - 2))
    assert log_in(Browser(), anong) == 302
    assert SpentCode.objects.filter(step__lt=step - week).count() == 0
    assert SpentCode.objects.count() == 3


def test_a_session_that_was_over_stays_over_when_the_clock_is_set_back(anong: NewStaff) -> None:
    browser = Browser()
    log_in(browser, anong)
    key, ends_at = browser.cookies[settings.SESSION_COOKIE_NAME].value, Session.objects.get().expire_date
    Session.objects.update(expire_date=now() - timedelta(minutes=1))  # a day on, and its last call comes
    assert browser.get("/admin/").status_code == 302
    Session.objects.update(expire_date=ends_at)  # and back
    browser.cookies[settings.SESSION_COOKIE_NAME] = key  # of somebody who kept it
    assert browser.get("/admin/").status_code == 302


def test_a_session_from_times_to_come_is_over(anong: NewStaff) -> None:
    browser = Browser()
    log_in(browser, anong)
    assert browser.get("/admin/").status_code == 200
    Session.objects.update(expire_date=F("expire_date") + timedelta(hours=1))  # as another machine's clock has it
    assert browser.get("/admin/").status_code == 200
    Session.objects.update(expire_date=F("expire_date") + timedelta(days=1))
    assert browser.get("/admin/").status_code == 302
    assert not Session.objects.exists()


def test_a_wrong_code_while_the_clock_was_ahead_is_waited_out_in_a_second(anong: NewStaff) -> None:
    device = TOTPDevice.objects.get()
    device.throttling_failure_count, device.throttling_failure_timestamp = 1, now() + timedelta(days=1)
    device.save()
    services.forget_times_ahead(anong.user)
    device.refresh_from_db()
    allowed, why = device.verify_is_allowed()
    assert allowed or why["locked_until"] < now() + timedelta(seconds=2)


def test_another_role_ends_sessions_and_tokens(anong: NewStaff) -> None:
    browser, script = Browser(), APIClient()
    script.credentials(HTTP_AUTHORIZATION=f"Token {anong.token}")
    log_in(browser, anong)
    boss = member(Role.ADMINISTRATOR)
    services.set_role(actor=boss, user_id=anong.user.pk, role=Role.VIEWER)  # what she is already
    assert (browser.get("/admin/").status_code, script.get("/api/v1/versions/").status_code) == (200, 200)
    services.set_role(actor=boss, user_id=anong.user.pk, role=Role.ADMINISTRATOR)
    assert (browser.get("/admin/").status_code, script.get("/api/v1/versions/").status_code) == (302, 401)


def test_who_is_let_in_again_signs_in_again(anong: NewStaff) -> None:
    browser, boss = Browser(), member(Role.ADMINISTRATOR)
    log_in(browser, anong)
    for active in (False, True):
        services.set_active(actor=boss, user_id=anong.user.pk, active=active)
    assert browser.get("/admin/").status_code == 302


def told(about: str) -> list[tuple[str, dict[str, object]]]:
    """Types and details of the entries about a member of staff's coming and going, oldest first."""
    found = [(entry.type, json.loads(entry.payload.text)) for entry in entries_about("user", about)]
    kinds = ("staff.signed", "staff.sign_in", "staff.locked", "staff.second")
    return [(kind, {**said, "about": None}) for kind, said in found if kind.startswith(kinds)]


def test_coming_and_going_is_in_the_audit_trail(anong: NewStaff) -> None:
    browser = Browser()
    log_in(browser, anong, password="guess")
    log_in(browser, anong, password="guess again")
    log_in(browser, anong)
    browser.post("/admin/logout/")
    services.reset_access(actor=member(Role.ADMINISTRATOR), user_id=anong.user.pk)
    assert told(str(anong.user.pseudonym)) == [
        ("staff.second_factor_added", {"about": None}),
        ("staff.sign_in_failed", {"about": None, "failures": 1}),
        ("staff.signed_in", {"about": None, "failures": 1}),
        ("staff.signed_out", {"about": None}),
        ("staff.second_factor_reset", {"about": None}),
    ]


def test_however_many_failures_there_are_two_entries_a_quarter_of_an_hour_tell_of_all(anong: NewStaff) -> None:
    for number in range(9):
        log_in(Browser(REMOTE_ADDR=f"203.0.113.{number // 6}"), anong, password="guess")
    of_anong = told(str(anong.user.pseudonym))[1:]
    assert [kind for kind, _said in of_anong] == ["staff.sign_in_failed", "staff.locked_out"]
    FailedSignIns.objects.update(failed_told_at=now() - WINDOW)
    log_in(Browser(REMOTE_ADDR="203.0.113.7"), anong, password="guess")
    assert sum(int(str(said["failures"])) for _kind, said in told(str(anong.user.pseudonym))[1:]) == 10


def test_a_name_that_nobody_has_is_written_nowhere_but_where_it_is_counted(anong: NewStaff) -> None:
    for number in range(3):
        log_in(Browser(), anong, username=f"typed-password-{number}")
    assert told("") == [("staff.sign_in_failed", {"about": None, "failures": 1, "account": "unknown"})]
    assert not any("typed-password" in text for text in Payload.objects.values_list("text", flat=True))
    assert not any("typed-password" in text for text in AccessAttempt.objects.values_list("post_data", flat=True))


def test_a_disabled_persons_session_and_token_end_with_the_next_request(anong: NewStaff) -> None:
    browser, script = Browser(), APIClient()
    script.credentials(HTTP_AUTHORIZATION=f"Token {anong.token}")
    log_in(browser, anong)
    assert (browser.get("/admin/").status_code, script.get("/api/v1/versions/").status_code) == (200, 200)
    services.set_active(actor=member(Role.ADMINISTRATOR), user_id=anong.user.pk, active=False)
    assert (browser.get("/admin/").status_code, script.get("/api/v1/versions/").status_code) == (302, 401)


def test_reset_access_ends_the_old_password_factor_session_and_token(anong: NewStaff) -> None:
    browser, script = Browser(), APIClient()
    log_in(browser, anong)
    fresh = services.reset_access(actor=member(Role.ADMINISTRATOR), user_id=anong.user.pk)
    script.credentials(HTTP_AUTHORIZATION=f"Token {anong.token}")
    assert browser.get("/admin/").status_code == 302
    assert script.get("/api/v1/versions/").status_code == 401
    assert log_in(Browser(), anong) == 200
    assert log_in(Browser(), fresh) == 302


def _reset(lead: User, who: User) -> None:
    services.reset_access(actor=lead, user_id=who.pk)


def _other_role(lead: User, who: User) -> None:
    services.set_role(actor=lead, user_id=who.pk, role=Role.AUDITOR)


def _disabled_for_a_moment(lead: User, who: User) -> None:
    services.set_active(actor=lead, user_id=who.pk, active=False)
    services.set_active(actor=lead, user_id=who.pk, active=True)


@pytest.mark.parametrize("change", [_reset, _other_role, _disabled_for_a_moment])
def test_a_request_that_was_let_in_before_a_change_of_access_makes_no_token_after_it(
    anong: NewStaff, change: Callable[[User, User], None]
) -> None:
    let_in = User.objects.get(pk=anong.user.pk)
    change(member(Role.ADMINISTRATOR), anong.user)
    with pytest.raises(NotAllowed):
        services.create_token(user=let_in, name="mine", actor=let_in)
    assert not ApiToken.objects.filter(user=let_in, name="mine").exists()
    again = User.objects.get(pk=anong.user.pk)
    assert services.create_token(user=again, name="mine", actor=again).text


NEW = "Xk29-aaaa-bbbb-cc"


def change_password(browser: Browser, old: str) -> int:
    given = {"old_password": old, "new_password1": NEW, "new_password2": NEW}
    return browser.post("/admin/password_change/", given).status_code


def test_a_change_of_ones_own_password_is_in_the_audit_trail_and_ends_the_other_sessions(anong: NewStaff) -> None:
    browser, other = at_the_desk(anong.user), at_the_desk(anong.user)
    assert change_password(browser, "guess") == 200
    assert not Entry.objects.filter(type="staff.password_changed").exists()
    assert change_password(browser, anong.password) == 302
    entry = Entry.objects.get(type="staff.password_changed")
    assert (entry.actor, entry.payload.subject_id) == (str(anong.user.pseudonym), str(anong.user.pseudonym))
    assert NEW not in entry.payload.text
    assert (browser.get("/admin/").status_code, other.get("/admin/").status_code) == (200, 302)
    assert User.objects.get(pk=anong.user.pk).check_password(NEW)


def test_no_password_is_changed_by_who_was_let_in_before_a_change_of_access(anong: NewStaff) -> None:
    let_in = User.objects.get(pk=anong.user.pk)
    fresh = services.reset_access(actor=member(Role.ADMINISTRATOR), user_id=anong.user.pk)
    with pytest.raises(NotAllowed):
        services.change_password(user=let_in, password=NEW)
    assert log_in(Browser(), fresh) == 302


def test_a_password_without_its_entry_is_not_changed(anong: NewStaff) -> None:
    let_in = User.objects.get(pk=anong.user.pk)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_payload RENAME TO audit_payload_away")
    with pytest.raises(DatabaseError):
        services.change_password(user=let_in, password=NEW)
    assert User.objects.get(pk=anong.user.pk).check_password(anong.password)


def test_a_password_is_hashed_before_the_write_that_others_wait_for(anong: NewStaff, settings: Settings) -> None:
    lead = member(Role.ADMINISTRATOR)
    settings.PASSWORD_HASHERS = [f"{__name__}.WatchedHasher"]
    WatchedHasher.blocks = []
    services.reset_access(actor=lead, user_id=anong.user.pk)
    assert WatchedHasher.blocks == [len(connection.savepoint_ids)]


@pytest.mark.parametrize(
    "shown", ["", "Token", "Token x", "Token a b", "Bearer {token}", "Token {token}x", "Token \xe9"]
)
def test_anything_but_the_token_itself_is_401_with_a_problem(anong: NewStaff, shown: str) -> None:
    script = APIClient()
    script.credentials(HTTP_AUTHORIZATION=shown.format(token=anong.token))
    answer = script.get("/api/v1/versions/")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Token"
    assert answer["Content-Type"] == "application/problem+json"


def test_a_revoked_token_opens_nothing_and_only_its_owner_or_an_administrator_revokes_it(anong: NewStaff) -> None:
    key_id = ApiToken.objects.get(user=anong.user).key_id
    with pytest.raises(NotFound):
        services.revoke_token(key_id=key_id, actor=member(Role.APPROVER))
    services.revoke_token(key_id=key_id, actor=anong.user)
    script = APIClient()
    script.credentials(HTTP_AUTHORIZATION=f"Token {anong.token}")
    assert script.get("/api/v1/versions/").status_code == 401
    with pytest.raises(NotFound):
        services.revoke_token(key_id="0" * 12, actor=anong.user)


def test_no_secret_is_kept_readable(anong: NewStaff) -> None:
    token = ApiToken.objects.get(user=anong.user)
    assert anong.token.encode() not in bytes(token.digest)
    told = [entry.payload.text for entry in entries_about("user", str(anong.user.pseudonym))]
    assert told
    for secret in (anong.password, anong.totp_seed, anong.token):
        assert secret not in repr(anong)
        assert not any(secret in text for text in told)


@pytest.mark.parametrize(
    ("name", "role", "error"), [("a b", "viewer", Invalid), ("", "viewer", Invalid), ("somsak", "king", Invalid)]
)
def test_an_unfit_name_or_role_is_refused(name: str, role: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        create_user(name=name, role=role)


def test_a_name_that_is_too_long_is_one_sentence_before_the_database_is_asked() -> None:
    """PostgreSQL would break off the transaction, and SQLite would take it."""
    with CaptureQueriesContext(connection) as asked, pytest.raises(CommandError) as refused:
        call_command("create_staff", "n" * 151, role="viewer")
    assert str(refused.value) == "A name has at most 150 characters."
    assert not any("staff_user" in query["sql"] for query in asked)
    assert create_user(name="n" * 150, role="viewer").user.pk


def test_a_name_is_given_once(anong: NewStaff) -> None:
    with pytest.raises(Conflict):
        create_user(name="anong", role=Role.APPROVER)


@pytest.mark.parametrize("spelling", ["model engineer", "model-engineer", "model_engineer"])
def test_a_role_may_be_spelled_as_the_shell_likes_it(spelling: str) -> None:
    made = create_user(name="malee", role=spelling)
    assert made.role == "model engineer"
    assert made.user.has_perm("registry.upload_modelversion")


def test_nobody_changes_their_own_access_and_somebody_stays_administrator() -> None:
    suda, second = member(Role.ADMINISTRATOR), member(Role.ADMINISTRATOR, "second")
    with pytest.raises(NotAllowed):
        services.set_role(actor=suda, user_id=suda.pk, role="viewer")
    services.set_role(actor=suda, user_id=second.pk, role="viewer")
    second.refresh_from_db()
    assert not User.objects.get(pk=second.pk).has_perm("staff.change_user")
    with pytest.raises(NotAllowed):
        services.set_active(actor=User.objects.get(pk=second.pk), user_id=suda.pk, active=False)


def test_the_session_cookie_is_this_stacks_own(anong: NewStaff) -> None:
    """Two stacks on 127.0.0.1 share its cookies: each must have a name of its own."""
    browser = Browser()
    log_in(browser, anong)
    assert settings.SESSION_COOKIE_NAME.endswith(str(settings.AMULET.console_port))
    assert browser.cookies[settings.SESSION_COOKIE_NAME]["httponly"]
    assert Session.objects.count() == 1

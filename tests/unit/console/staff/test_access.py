"""Who gets in: password and second factor, sessions, tokens, and the end of both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import F
from django.test import Client as Browser
from django.urls import reverse
from django.utils.timezone import now
from django_otp.plugins.otp_totp import models as totp_models
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework.test import APIClient

from console.audit.models import Payload
from console.audit.queries import entries_about
from console.errors import NotAllowed, NotFound
from console.site.roles import Role
from console.staff import services
from console.staff.models import ApiToken, FailedSignIns, SpentCode, User
from console.staff.services import NewStaff
from console.staff.sign_ins import WINDOW
from tests.unit.console.people import browser as at_the_desk
from tests.unit.console.people import member
from tests.unit.console.staff.signing_in import LOGIN, change_password, code_of, log_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


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


def test_access_is_not_reset_from_a_page_that_is_older_than_the_last_reset(anong: NewStaff) -> None:
    """What the later one showed is in their hands by then, and a second one would end it."""
    lead, other = member(Role.ADMINISTRATOR), member(Role.ADMINISTRATOR, "second")
    desk, address = at_the_desk(lead), reverse("admin:staff_user_reset_access", args=[anong.user.pk])
    seen = desk.get(address).context["seen"]
    fresh = services.reset_access(actor=other, user_id=anong.user.pk)
    refused = desk.post(address, {"seen": seen})
    assert f"{other} reset this access on " in refused.content.decode()
    assert log_in(Browser(), fresh) == 302
    again = desk.post(address, {"seen": refused.context["seen"]})  # who is told of it and asks again means it
    assert "shown this once" in again.content.decode()
    assert log_in(Browser(), fresh) == 200


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


def test_the_session_cookie_is_this_stacks_own(anong: NewStaff) -> None:
    """Two stacks on 127.0.0.1 share its cookies: each must have a name of its own."""
    browser = Browser()
    log_in(browser, anong)
    assert settings.SESSION_COOKIE_NAME.endswith(str(settings.AMULET.console_port))
    assert browser.cookies[settings.SESSION_COOKIE_NAME]["httponly"]
    assert Session.objects.count() == 1

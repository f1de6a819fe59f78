"""Who guesses is locked out, from wherever they guess; whom they guess at is not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.test import Client as Browser
from django.utils.timezone import now
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from console.site.roles import Role
from console.staff import services
from console.staff.services import NewStaff, create_user
from tests.unit.console.people import member
from tests.unit.console.staff.signing_in import LOGIN, log_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


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


def test_a_wrong_code_while_the_clock_was_ahead_is_waited_out_in_a_second(anong: NewStaff) -> None:
    device = TOTPDevice.objects.get()
    device.throttling_failure_count, device.throttling_failure_timestamp = 1, now() + timedelta(days=1)
    device.save()
    services.forget_times_ahead(anong.user)
    device.refresh_from_db()
    allowed, why = device.verify_is_allowed()
    assert allowed or why["locked_until"] < now() + timedelta(seconds=2)

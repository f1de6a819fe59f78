"""Who comes in, and who does not."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Desk

# After one wrong code django-otp takes no other for a second, not even the right one.
THROTTLED_S = 1.0

pytestmark = pytest.mark.browser


def test_somebody_signs_in_with_password_and_second_factor_and_out_again(desks: Mapping[str, Desk]) -> None:
    desk = desks["kamol"]
    with desk.window(logged_in=False) as page:
        page.goto("/admin/audit/entry/")
        assert page.url.endswith("/admin/login/?next=/admin/audit/entry/")
        desk.fill_login(page, code=desk.wrong_code())
        refused = page.get_by_text("Name, password or code is not right")
        expect(refused).to_be_visible()
        expect(page.get_by_role("alert")).to_be_focused()
        expect(page).to_have_title(re.compile("^Not signed in: "))
        expect(page.locator("[name=code]")).to_have_value("")  # a code that was looked at opens nothing any more
        expect(page.locator("[name=username]")).to_have_value("kamol")
        said = refused.inner_text()
        refused_at = time.monotonic()
        with page.expect_navigation():  # the page that is left says the same
            desk.fill_login(page, password="not the password")
        expect(refused).to_have_text(said)  # nothing tells which of the two was wrong
        page.wait_for_timeout(1_000 * max(0.0, refused_at + THROTTLED_S - time.monotonic()))
        desk.fill_login(page)
        page.wait_for_url(re.compile(r"^[^?]*/admin/audit/entry/$"))
        page.get_by_role("button", name="kamol").click()
        page.get_by_role("button", name="Log out").click()
        page.goto("/admin/audit/entry/")
        assert "/admin/login/" in page.url


def test_the_page_and_the_login_change_language(desks: Mapping[str, Desk]) -> None:
    with desks["suda"].window(logged_in=False) as page:
        page.goto("/admin/login/")
        page.get_by_role("button", name="ไทย").click()
        expect(page.get_by_role("button", name="เข้าสู่ระบบ")).to_be_visible()
        assert page.locator("html").get_attribute("lang") == "th"
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
    with desks["suda"].window() as page:
        page.goto("/admin/")
        expect(page.get_by_role("link", name="Predictions")).to_be_visible()
        page.get_by_role("button", name="suda").click()
        page.get_by_role("button", name="ไทย").click()
        expect(page.get_by_role("link", name="ผลการทำนาย")).to_be_visible()


def test_a_viewer_sees_no_way_to_what_is_not_for_viewers_and_is_refused_there(desks: Mapping[str, Desk]) -> None:
    with desks["anong"].window() as page:
        page.goto("/admin/")
        expect(page.get_by_role("link", name="Predictions")).to_be_visible()
        for hidden in ("Audit trail", "Expert review", "Consents", "Staff"):
            expect(page.get_by_role("link", name=hidden)).to_have_count(0)
        answer = page.goto("/admin/audit/entry/")
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_role("heading")).to_have_text("Not allowed")
        expect(page.get_by_text("anong")).to_be_visible()
        page.get_by_role("link", name="To the home page").click()
        page.wait_for_url(re.compile(r"^[^?]*/admin/$"))

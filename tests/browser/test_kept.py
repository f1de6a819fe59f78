"""What a person typed survives a form that was refused because its session or its token was over."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser.conftest import Desk
from tests.browser.seed import Seeded
from tests.browser.test_work import wait_until_looked_ahead
from tests.browser.words import Words
from tests.integration.console.running import RunningConsole

pytestmark = pytest.mark.browser

REASON = "Better on worn pieces.\nAgreed with the counter on Thursday – see the minutes."
LOST = (
    "What you typed before is back. No answer came when it was sent: look whether it was done before you send it again."
)
KEPT = "sessionStorage.getItem('console.kept')"


def lose_cookie(page: Page, kind: str) -> None:
    """As another window's login replaces the form's token, or as its logging out ends the session."""
    page.context.clear_cookies(name=re.compile(rf"^amulet_{kind}_"))


def refused(page: Page, seeded: Seeded, words: Words) -> None:
    """A reason typed into the question whether to approve a version, whose token is over when it is sent."""
    page.goto(f"/admin/registry/modelversion/{seeded.waiting_version}/approve/")
    page.locator("[name=reason]").fill(REASON)
    lose_cookie(page, "csrf")
    page.get_by_role("button", name=words("Approve")).click()
    expect(page.get_by_role("heading")).to_have_text(words("This was not sent"))
    expect(page.get_by_text(words("What you typed is kept:"))).to_be_visible()


@pytest.mark.parametrize("language", ["en", "th"])
@pytest.mark.parametrize("back", ["link", "browser"])
def test_a_reason_stands_in_the_form_again_after_its_token_was_over(
    desks: Mapping[str, Desk], seeded: Seeded, language: str, back: str
) -> None:
    words = Words(language)
    ways: Mapping[str, Callable[[Page], object]] = {
        "link": lambda page: page.get_by_role("link", name=words("Back to the form")).click(),
        "browser": lambda page: page.go_back(),
    }
    with desks["somchai"].window(language=language) as page:
        refused(page, seeded, words)
        ways[back](page)
        expect(page.locator("[name=reason]")).to_have_value(REASON)
        expect(page.get_by_text(words("What you typed before is back. Nothing of it was sent yet."))).to_be_visible()


def test_the_form_that_came_back_is_sent_and_nothing_of_it_stays(desks: Mapping[str, Desk]) -> None:
    with desks["suda"].window() as page:
        page.goto("/admin/staff/apitoken/new-token/")
        page.locator("[name=name]").fill("sent at the second try")
        page.get_by_label("open photographs and heat maps").check()
        lose_cookie(page, "csrf")
        page.get_by_role("button", name="Create the token").click()
        page.get_by_role("link", name="Back to the form").click()
        expect(page.get_by_label("open photographs and heat maps")).to_be_checked()
        expect(page.get_by_label("export the audit log")).not_to_be_checked()
        page.get_by_role("button", name="Create the token").click()
        expect(page.locator("#new-key")).to_be_visible()
        assert page.evaluate(KEPT) is None
        page.goto("/admin/staff/apitoken/new-token/")
        expect(page.locator("[name=name]")).to_have_value("")


def test_a_reason_waits_for_whoever_was_signed_out_and_signs_in_again(
    desks: Mapping[str, Desk], seeded: Seeded
) -> None:
    desk = desks["malee"]  # of whom no other test needs the session
    with desk.window() as page:
        page.goto(f"/admin/registry/modelversion/{seeded.production_version}/experiment/")
        page.locator("[name=hypothesis]").fill(REASON)
        lose_cookie(page, "session")
        page.locator("[name=hypothesis]").evaluate("field => field.form.noValidate = true")
        page.locator(".c-buttons button").click()
        expect(page.get_by_text("What you typed is kept")).to_be_visible()
        desk.fill_login(page)
        expect(page.locator("[name=hypothesis]")).to_have_value(REASON)


def test_another_person_at_the_same_window_reads_nothing_of_it(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    with desks["somchai"].window() as page:
        refused(page, seeded, Words("en"))
        with desks["suda"].window() as theirs:
            page.context.add_cookies(theirs.context.cookies())  # type: ignore[arg-type]  # they sign in here
        page.goto(f"/admin/registry/modelversion/{seeded.waiting_version}/approve/")
        expect(page.locator("[name=reason]")).to_have_value("")
        assert page.evaluate(KEPT) is None


def test_a_form_that_was_taken_leaves_nothing_in_the_window(desks: Mapping[str, Desk]) -> None:
    with desks["suda"].window() as page:
        page.goto("/admin/staff/apitoken/new-token/")
        page.locator("[name=name]").fill("taken at once")
        page.get_by_role("button", name="Create the token").click()
        expect(page.locator("#new-key")).to_be_visible()
        assert page.evaluate(KEPT) is None


def test_a_password_is_never_kept(desks: Mapping[str, Desk]) -> None:
    with desks["suda"].window() as page:
        page.goto("/admin/password_change/")
        for field in page.locator("#content form input[type=password]").all():
            field.fill("a secret that is typed")
        lose_cookie(page, "csrf")
        page.locator("#content form button[type=submit]").first.click()
        expect(page.get_by_role("heading")).to_have_text("This was not sent")
        assert "a secret that is typed" not in str(page.evaluate(KEPT))


def test_a_note_and_an_answer_at_the_desk_of_reviews_come_back(desks: Mapping[str, Desk]) -> None:
    with desks["prasert"].window() as page:
        page.goto("/admin/review/reviewitem/next/")
        wait_until_looked_ahead(page)
        page.locator("[data-key=u]").check()
        page.locator("[name=note]").fill("The base is broken off.")
        lose_cookie(page, "csrf")
        page.locator("[data-submit]").click()
        page.get_by_role("link", name="Back to the form").click()
        expect(page.locator("[name=note]")).to_have_value("The base is broken off.")
        expect(page.locator("[data-key=u]")).to_be_checked()
        expect(page.locator("[data-submit]")).to_be_enabled()


@pytest.mark.parametrize("language", ["en", "th"])
def test_a_reason_comes_back_where_the_network_lost_the_answer(
    desks: Mapping[str, Desk], seeded: Seeded, language: str
) -> None:
    words = Words(language)
    with desks["somchai"].window(language=language, expects_lost_calls=True) as page:
        address = f"/admin/registry/modelversion/{seeded.waiting_version}/approve/"
        page.goto(address)
        page.locator("[name=reason]").fill(REASON)
        page.context.set_offline(True)
        page.get_by_role("button", name=words("Approve")).click()
        page.wait_for_url("chrome-error://**")
        page.context.set_offline(False)
        page.goto(address)
        expect(page.locator("[name=reason]")).to_have_value(REASON)
        expect(page.get_by_text(words(LOST))).to_be_visible()


def test_a_note_comes_back_where_the_network_lost_the_desk_s_answer(desks: Mapping[str, Desk]) -> None:
    with desks["prasert"].window(expects_lost_calls=True) as page:
        page.goto("/admin/review/reviewitem/next/")
        wait_until_looked_ahead(page)
        page.locator("[data-key=u]").check()
        page.locator("[name=note]").fill("The base is broken off.")
        page.route("**/change/", lambda route: route.abort(), times=1)
        page.locator("[data-submit]").click()
        expect(page.get_by_text(LOST)).to_be_visible()
        expect(page.locator("[name=note]")).to_have_value("The base is broken off.")
        expect(page.locator("[data-key=u]")).to_be_checked()


def test_a_note_is_shown_to_whom_somebody_else_was_faster(desks: Mapping[str, Desk], console: RunningConsole) -> None:
    with desks["prasert"].window() as page:
        page.goto("/admin/review/reviewitem/next/")
        wait_until_looked_ahead(page)
        number = page.url.split("/")[-3]
        page.locator("[data-key=u]").check()
        page.locator("[name=note]").fill("Struck twice, see the rim.")
        console.shell(
            "from console.review.models import ReviewItem\nfrom console.staff.models import User\n"
            f"answer = ReviewItem.objects.filter(pk={number}).update(held_by=User.objects.get(username='ladda'))"
        )
        page.locator("[data-submit]").click()
        expect(page.get_by_text("Your note, which was not kept:")).to_be_visible()
        expect(page.locator("[data-typed]")).to_have_text("Struck twice, see the rim.")
        expect(page.get_by_role("link", name="Review the next one")).to_be_visible()
        assert page.evaluate(KEPT) is None
        console.shell(
            "from console.review.models import ReviewItem\n"
            f"answer = ReviewItem.objects.filter(pk={number}).update(held_by=None, held_until=None)"
        )


def test_leaving_asks_where_something_was_written_and_only_there(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    with desks["somchai"].window() as page:
        page.on("dialog", stay)
        address = f"/admin/registry/modelversion/{seeded.waiting_version}/approve/"
        for text, leaves in (("", True), (" ", True), (REASON, False)):
            page.goto(address)
            page.locator("[name=reason]").press_sequentially(text)
            page.get_by_role("link", name="Cancel").click()
            if leaves:
                page.wait_for_url(f"**/{seeded.waiting_version}/change/")
        assert asked == ["beforeunload"]
        expect(page.locator("[name=reason]")).to_have_value(REASON)
        page.locator("[name=reason]").fill("")
        page.get_by_role("link", name="Cancel").click()
        page.wait_for_url(f"**/{seeded.waiting_version}/change/")
        assert asked == ["beforeunload"]

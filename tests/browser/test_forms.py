"""A form that is refused takes whoever sent it to what is wrong; many boxes are ticked by one click; focus is seen."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE, Desk
from tests.browser.words import Words

pytestmark = pytest.mark.browser
WEBHOOK = "/admin/webhooks/endpoint/new/"


@pytest.mark.parametrize("language", ["en", "th"])
def test_what_is_wrong_gets_the_focus_and_leads_to_its_field(desks: Mapping[str, Desk], language: str) -> None:
    words = Words(language)
    with desks["suda"].window(language=language, size=PHONE) as page:
        page.goto(WEBHOOK)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # past the side bar; what is wrong has the focus all the same
        expect(page.locator("#content")).to_be_focused()
        page.locator("[name=url]").fill("hooks.example.org")
        page.get_by_role("button", name=words("Create the webhook")).click()
        summary = page.get_by_role("alert")
        expect(summary).to_be_focused()
        expect(summary).to_contain_text(words("Nothing was done yet:"))
        expect(page).to_have_title(f"{words('Not yet done')}: {words('A new webhook')} | {words('Amulet console')}")
        expect(page.locator("[name=url]")).to_have_value("hooks.example.org")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("[name=events]").first).to_be_focused()
        group = page.get_by_role("group", name=words("Events"))
        expect(group).to_have_accessible_description(page.locator("#id_events_error").inner_text().strip())


def test_all_events_are_ticked_by_one_click_and_none_by_another(desks: Mapping[str, Desk]) -> None:
    with desks["suda"].window() as page:
        page.goto(WEBHOOK)
        boxes, ticked = page.locator("[name=events]"), page.locator("[name=events]:checked")
        count = boxes.count()
        page.get_by_role("button", name="Tick all").click()
        expect(ticked).to_have_count(count)
        boxes.first.uncheck()
        expect(page.get_by_text(f"{count - 1} of {count} chosen")).to_be_visible()
        page.get_by_role("button", name="Tick none").press("Enter")
        expect(ticked).to_have_count(0)
        expect(page).to_have_url(page.url)  # neither sends the form
        expect(page.get_by_text(f"0 of {count} chosen")).to_be_visible()


def test_a_tick_is_seen_where_the_system_chooses_the_colours(desks: Mapping[str, Desk]) -> None:
    """The theme draws each box's tick, white on white where it is not ticked: without backgrounds all looked chosen."""
    with desks["suda"].window() as page:
        page.emulate_media(forced_colors="active")
        page.goto("/admin/staff/apitoken/new-token/")
        ticked, other = page.locator("[name=scopes]:checked").first, page.locator("[name=scopes]:not(:checked)").first
        assert ticked.screenshot() != other.screenshot()
        looks = "box => [getComputedStyle(box).appearance, getComputedStyle(box, '::after').content]"
        for box in (ticked, other):
            assert box.evaluate(looks) == ["auto", "none"]
        button = page.get_by_role("button", name="Create the token")
        assert button.evaluate("part => getComputedStyle(part).borderTopStyle") == "solid"

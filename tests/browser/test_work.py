"""A day at the console: one test for each thing that people come here to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from protos.wording import DISCLAIMER
from tests.browser.conftest import DESKTOP, PHONE, Desk
from tests.browser.seed import Seeded
from tests.browser.words import Words
from tests.integration.console.running import RunningConsole

pytestmark = pytest.mark.browser


def test_a_prediction_opens_with_its_photograph_under_the_heat_map(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    with desks["prasert"].window() as page:
        page.goto("/admin/predictions/prediction/")
        page.get_by_role("searchbox").or_(page.locator("[name=q]")).first.fill(seeded.kept_prediction)
        page.keyboard.press("Enter")
        page.locator("#result_list a").first.click()
        photograph, heat = page.locator(".p-photo"), page.locator(".p-heat")
        expect(photograph).to_be_visible()
        for picture in (photograph, heat):
            page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
        page.get_by_label("Heat map").fill("80")
        expect(heat).to_have_css("opacity", "0.8")
        assert heat.bounding_box() == photograph.bounding_box()
        page.locator("h1").click()
        page.keyboard.press("h")
        expect(heat).to_have_css("opacity", "0")
        page.keyboard.press("h")
        expect(heat).to_have_css("opacity", "0.8")
        page.keyboard.press("z")
        expect(page.get_by_role("button", name="Zoom")).to_have_attribute("aria-pressed", "true")
        for picture in (photograph, heat):  # near in the next frame, not with the key
            expect(picture).to_have_css("transform", "matrix(2.5, 0, 0, 2.5, 0, 0)")
        near = [picture.bounding_box() for picture in (photograph, heat)]
        assert near[0] == near[1]  # the heat map stays on its place of the photograph
        frame = page.locator(".p-frame").bounding_box()
        assert near[0] is not None
        assert frame is not None
        assert near[0]["width"] == pytest.approx(2.5 * frame["width"])
        page.keyboard.press("z")
        expect(photograph).to_have_css("transform", "matrix(1, 0, 0, 1, 0, 0)")
        for sentence in DISCLAIMER.values():
            expect(page.get_by_text(sentence)).to_be_visible()


def listens_elsewhere(page: Page, before: str) -> None:
    """Another page has come, by the browser or by a script, and listens.

    A key that is pressed before the page's script has begun is nobody's.
    """
    page.wait_for_function("before => location.href !== before", arg=before)
    page.wait_for_load_state()


def wait_until_looked_ahead(page: Page) -> None:
    """The next photograph's page is there, with its pictures.

    An idle network tells less: what came is read afterwards, and late on a machine that is busy.
    """
    page.wait_for_load_state()
    page.wait_for_function("ahead && [...ahead.desk.querySelectorAll('img')].every(image => image.complete)")


def test_an_expert_decides_with_the_keyboard_and_the_next_one_comes(desks: Mapping[str, Desk]) -> None:
    with desks["prasert"].window() as page:
        page.goto("/admin/review/reviewitem/")
        page.get_by_role("link", name="Review the next one").click()
        expect(page.get_by_text("What does the photograph show?")).to_be_visible()
        wait_until_looked_ahead(page)
        waiting = int((page.locator("[data-waiting]").text_content() or "").split()[0])
        first = page.url
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        listens_elsewhere(page, first)
        wait_until_looked_ahead(page)
        second = page.url
        page.keyboard.press("b")
        page.keyboard.press("Enter")
        listens_elsewhere(page, second)
        third = page.url
        expect(page.get_by_text("Decided: the photograph is unusable")).to_be_visible()
        waited = int((page.locator("[data-waiting]").text_content() or "").split()[0])
        assert waited == waiting - 2  # and not as many as when this page was fetched
        page.keyboard.press("Control+z")
        listens_elsewhere(page, third)
        assert page.url == second
        page.keyboard.press("n")
        page.keyboard.type("The base is broken off.")
        page.keyboard.press("Escape")
        page.keyboard.press("u")
        page.keyboard.press("Enter")
        listens_elsewhere(page, second)
        page.goto(second)
        decisions = page.locator(".c-said strong")
        expect(decisions).to_have_text("cannot be told from this photograph")  # and no other
        expect(page.get_by_text("The base is broken off.")).to_be_visible()
        page.goto(first)
        expect(decisions).to_contain_text("it is this class")


MANY_CLASSES = """
from console.ingest.services import apply_batch
from console.review.models import ReviewItem
from protos.amulet.v1.prediction_pb2 import Candidate
from tests.console_events import prediction_event

names = [f"tablet_{number:02d}" for number in range(14)]
event = prediction_event(
    candidates=[Candidate(class_id=name, probability=1 / len(names)) for name in names], prediction_set=[],
    top_class=names[0], model="collection", version="v20261129_many_0.800", wants_review=True,
)
apply_batch([event])
answer = ReviewItem.objects.get(prediction_id=event.prediction.prediction_id).pk
"""


def test_one_of_many_classes_is_found_and_chosen_by_its_name(
    desks: Mapping[str, Desk], console: RunningConsole
) -> None:
    item = console.shell(MANY_CLASSES)
    with desks["prasert"].window(size=PHONE) as page:
        page.goto(f"/admin/review/reviewitem/{item}/change/")
        page.get_by_label("tablet_01").scroll_into_view_if_needed()
        expect(page.get_by_label("tablet_13")).not_to_be_in_viewport()
        expect(page.get_by_role("button", name="Submit")).to_be_in_viewport(ratio=1)
    with desks["prasert"].window(size=(1366, 600)) as page:  # a low laptop's: the list is longer than the window
        page.goto(f"/admin/review/reviewitem/{item}/change/")
        page.get_by_label("Unusable photograph").scroll_into_view_if_needed()
        expect(page.get_by_label("tablet_01")).not_to_be_in_viewport()
        expect(page.locator(".p-frame")).to_be_in_viewport(ratio=1)
    with desks["prasert"].window() as page:
        page.goto(f"/admin/review/reviewitem/{item}/change/")
        page.wait_for_load_state()
        choices = page.locator(".r-choice:not(.is-other):visible")
        expect(choices).to_have_count(14)
        page.keyboard.press("f")
        page.keyboard.type("et_1")
        expect(choices).to_have_text(["tablet_10", "tablet_11", "tablet_12", "tablet_13"])
        expect(page.locator("[name=answer]:checked")).to_have_count(0)
        page.keyboard.type("2")
        page.keyboard.press("Enter")
        expect(page.locator("[name=answer]:checked")).to_have_value("class:tablet_12")
        expect(page.locator("[name=answer]:checked")).to_be_focused()
        page.keyboard.press("f")
        page.keyboard.press("Escape")
        expect(choices).to_have_count(14)
        page.keyboard.press("Enter")
        page.wait_for_function("before => !location.pathname.includes(`/${before}/`)", arg=item)
        expect(page.get_by_text("Decided: tablet_12")).to_be_visible()


STRIKE = """([key, code]) => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key, code, bubbles: true, cancelable: true }))"""


def test_the_same_fingers_choose_while_the_keyboard_writes_thai(desks: Mapping[str, Desk]) -> None:
    with desks["prasert"].window(language="th") as page:
        page.goto("/admin/review/reviewitem/next/")
        page.wait_for_load_state()
        chosen = page.locator("[name=answer]:checked")
        places = (("ๅ", "Digit1"), ("/", "Digit2"), ("-", "Digit3"), ("ี", "KeyU"))
        digits = (("๑", "Minus"), ("๓", "Numpad3"))  # which a layout may have elsewhere
        for key, code in (*places, *digits, ("ิ", "KeyB")):
            page.evaluate(STRIKE, [key, code])
            expect(chosen).to_have_attribute("data-key", "1" if key == "๑" else code[-1].lower())
        page.evaluate(STRIKE, ["ื", "KeyN"])
        note = page.locator("[name=note]")
        expect(note).to_be_focused()
        page.keyboard.type("1 u x")
        expect(note).to_have_value("1 u x")
        expect(chosen).to_have_attribute("data-key", "b")


def test_a_second_click_makes_no_second_token(desks: Mapping[str, Desk]) -> None:
    with desks["suda"].window() as page:
        page.goto("/admin/staff/apitoken/new-token/")
        page.locator("[name=name]").fill("clicked twice")
        page.get_by_role("button", name="Create the token").dblclick(delay=60)  # two clicks of a hand
        expect(page.locator("#new-key")).to_be_visible()
        page.goto("/admin/staff/apitoken/")
        expect(page.locator("#result_list").get_by_text("clicked twice", exact=True)).to_have_count(1)


def test_a_reload_of_what_is_shown_once_makes_no_second_token(desks: Mapping[str, Desk]) -> None:
    """The browser asked whether to send the form again, and who said yes had another token of which nobody knew."""
    with desks["suda"].window() as page:
        page.goto("/admin/staff/apitoken/new-token/")
        page.locator("[name=name]").fill("reloaded")
        page.get_by_role("button", name="Create the token").click()
        expect(page.locator("#new-key")).to_be_visible()
        page.reload()
        expect(page.locator("#result_list").get_by_role("link", name="reloaded", exact=True)).to_have_count(1)
        page.go_back()
        expect(page.locator("[name=name]")).to_have_value("reloaded")


def test_a_narrow_window_is_left_by_keyboard_alone(desks: Mapping[str, Desk]) -> None:
    with desks["suda"].window(size=(640, 450)) as page:  # a desk's window at 200 %
        page.goto("/admin/clients/client/")
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to main content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport(ratio=1)
        menu, routes = page.get_by_role("button", name="Navigation"), page.get_by_role("link", name="Routes")
        page.keyboard.press("Tab")
        expect(menu).to_be_focused()
        expect(routes).to_be_hidden()
        page.keyboard.press("Enter")
        expect(routes).to_be_visible()
        expect(page.locator("#nav-sidebar :focus")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(routes).to_be_hidden()
        expect(menu).to_be_focused()


def test_the_filters_of_a_list_are_opened_and_left_by_keyboard_alone(desks: Mapping[str, Desk]) -> None:
    with desks["suda"].window() as page:
        page.goto("/admin/predictions/prediction/")
        filters, sheet = page.get_by_role("button", name="Filters", exact=True), page.locator("#changelist-filter")
        expect(filters).to_have_attribute("aria-expanded", "false")
        filters.press("Enter")
        expect(sheet).to_be_visible()
        expect(filters).to_have_attribute("aria-expanded", "true")
        expect(sheet.locator(":focus")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(sheet).to_be_hidden()
        expect(filters).to_be_focused()


def test_what_opens_within_the_filters_has_the_first_escape_and_who_goes_on_behind_them_closes_them(
    desks: Mapping[str, Desk],
) -> None:
    """The sheet went with all that was chosen in it; and it lay over what had the focus."""
    with desks["kamol"].window() as page:
        page.goto("/admin/audit/entry/")
        page.get_by_role("button", name="Filters", exact=True).press("Enter")
        sheet, kinds = page.locator("#changelist-filter"), page.locator(".select2-container--open")
        expect(sheet.locator(":focus")).to_have_count(1)
        page.keyboard.press("Enter")
        expect(kinds.first).to_be_visible()
        page.keyboard.press("Escape")
        expect(kinds).to_have_count(0)
        expect(sheet).to_be_visible()
        sheet.get_by_role("button", name="Apply Filters").focus()
        page.keyboard.press("Tab")
        expect(sheet).to_be_hidden()
        assert not page.evaluate(BEHIND_SOMETHING)


def test_the_calendar_of_a_filter_is_used_and_left_by_keyboard_alone(desks: Mapping[str, Desk]) -> None:
    """It lies over the whole window; the keyboard went on behind it, from one box that was covered to the next."""
    with desks["kamol"].window() as page:
        page.goto("/admin/audit/entry/")
        page.get_by_role("button", name="Filters", exact=True).press("Enter")
        sheet, opener = page.locator("#changelist-filter"), page.locator("#calendarlink0")
        calendar, within = page.locator("#calendarbox0"), page.locator("#calendarbox0 :focus")
        opener.press("Enter")
        expect(within).to_have_count(1)
        for _ in range(50):  # further than its days are many
            page.keyboard.press("Tab")
        expect(within).to_have_count(1)
        page.keyboard.press("Escape")
        expect(calendar).to_be_hidden()
        expect(sheet).to_be_visible()
        expect(opener).to_be_focused()
        page.keyboard.press("Enter")
        expect(within).to_have_count(1)
        page.keyboard.press("Enter")
        expect(calendar).to_be_hidden()
        expect(page.locator("#id_recorded_at_from_0")).to_be_focused()
        expect(page.locator("#id_recorded_at_from_0")).to_have_value(re.compile(r"^\d{4}-\d\d-\d\d$"))


def test_the_calendar_counts_years_as_the_page_does(desks: Mapping[str, Desk]) -> None:
    """Thai pages said 2026 over its days and wrote that, and a day of 2569 opened the calendar of 543 years later."""
    for language, typed, opens, follows, writes, today in (
        ("th", "31/12/2569", "ธันวาคม 2569", "มกราคม 2570", "01/01/2570", r"^\d\d/\d\d/2[5-9]\d\d$"),
        ("th", "31/12/2026", "ธันวาคม 2569", "มกราคม 2570", "01/01/2570", r"^\d\d/\d\d/2[5-9]\d\d$"),
        ("en", "2026-12-31", "December 2026", "January 2027", "2027-01-01", r"^20\d\d-\d\d-\d\d$"),
        ("en", "2569-12-31", "December 2026", "January 2027", "2027-01-01", r"^20\d\d-\d\d-\d\d$"),
    ):
        with desks["kamol"].window(language=language) as page:
            page.goto("/admin/audit/entry/")
            page.get_by_role("button", name=Words(language)("Filters"), exact=True).press("Enter")
            box, opener, calendar = (page.locator(f"#{name}") for name in CALENDAR)
            box.fill(typed)
            opener.press("Enter")
            expect(calendar.locator("caption")).to_have_text(opens)
            expect(box).to_have_value(typed)
            thursday = calendar.locator("td.selected")
            expect(thursday).to_have_text("31")
            assert thursday.evaluate("day => day.cellIndex") == 4
            calendar.locator(".calendarnav-next").press("Enter")
            expect(calendar.locator("caption")).to_have_text(follows)
            calendar.get_by_role("link", name="1", exact=True).press("Enter")
            expect(box).to_have_value(writes)
            opener.press("Enter")
            expect(calendar.locator("caption")).to_have_text(follows)
            calendar.locator(".calendar-shortcuts a").nth(1).press("Enter")
            expect(box).to_have_value(re.compile(today))


CALENDAR: Final = ("id_recorded_at_from_0", "calendarlink0", "calendarbox0")
SAID_IN_THE_BOX: Final = """box => {
    const pen = document.createElement("canvas").getContext("2d"), style = getComputedStyle(box);
    pen.font = style.font;
    return [pen.measureText(box.placeholder).width,
            box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)]; }"""


def test_the_box_of_a_search_is_before_its_button_and_says_whole_what_is_looked_for(desks: Mapping[str, Desk]) -> None:
    """Of the auditor's, "in full" was cut off; and the keyboard came to the button first."""
    with desks["kamol"].window(size=(1366, 768)) as page:
        page.goto("/admin/audit/entry/")
        box = page.locator("#searchbar")
        wanted, has = box.evaluate(SAID_IN_THE_BOX)
        assert wanted <= has
        box.focus()
        page.keyboard.press("Tab")
        button = page.get_by_role("button", name="Search", exact=True)
        expect(button).to_be_focused()
        assert button.evaluate("part => getComputedStyle(part).outlineStyle") != "none"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["on a desk", "on a telephone"])
def test_who_skips_the_side_bar_comes_to_what_a_page_can_do(desks: Mapping[str, Desk], size: tuple[int, int]) -> None:
    """Its buttons stand beside its heading, before what is called its content: they were skipped, too."""
    with desks["suda"].window(size=size) as page:
        page.goto("/admin/audit/entry/")
        for key in ("Tab", "Enter", "Tab"):
            page.keyboard.press(key)
        if size == PHONE:
            expect(page.get_by_role("button", name="More actions")).to_be_focused()
            for key in ("Enter", "Tab"):
                page.keyboard.press(key)
        expect(page.get_by_role("link", name="Verify")).to_be_focused()


BEHIND_SOMETHING: Final = """() => {
    const part = document.activeElement, box = part.getBoundingClientRect();
    return !part.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
}"""


def test_a_row_that_the_keyboard_comes_to_is_behind_nothing(desks: Mapping[str, Desk]) -> None:
    """The bar with the numbers of pages lies over the end of the window: of ten rows it hid two."""
    with desks["suda"].window(size=(1366, 600)) as page:
        page.goto("/admin/predictions/prediction/")
        rows = page.locator("#result_list .data-row a")
        rows.first.focus()
        for number in range(1, 25):
            page.keyboard.press("Tab")
            expect(rows.nth(number)).to_be_focused()
            assert not page.evaluate(BEHIND_SOMETHING), number


@pytest.mark.parametrize(("language", "name"), [("en", "can be scrolled"), ("th", "เลื่อนดูได้")])
def test_a_box_that_scrolls_is_named_in_the_readers_language(
    desks: Mapping[str, Desk], language: str, name: str
) -> None:
    with desks["suda"].window(language=language) as page:
        page.goto("/admin/clients/client/")
        boxes = page.locator(".simplebar-content-wrapper")
        expect(boxes.first).to_have_attribute("aria-label", name)
        assert {box.get_attribute("aria-label") for box in boxes.all()} == {name}


def test_a_review_sheet_is_judged_with_two_keys_a_photograph(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    with desks["prasert"].window() as page:
        page.goto(f"/admin/sheets/sheet/{seeded.sheet}/change/")
        page.get_by_role("link", name="Judge").click()

        def shown(number: str) -> None:
            expect(page.locator("[name=number]")).to_have_value(number)
            page.wait_for_load_state()  # a key that is struck before the page listens is nobody's

        shown("1")
        for picture in page.locator(".p-photo").all():
            page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        shown("2")
        page.keyboard.press("Control+z")
        shown("1")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        shown("2")
        page.keyboard.press("u")
        page.keyboard.press("Enter")
        expect(page.get_by_text("You have judged 2 of 2.")).to_be_visible()


def test_the_next_photograph_is_there_before_it_is_asked_for(desks: Mapping[str, Desk]) -> None:
    with desks["prasert"].window() as page:
        page.goto("/admin/review/reviewitem/")
        page.get_by_role("link", name="Review the next one").click()
        page.wait_for_url("**/change/")
        wait_until_looked_ahead(page)
        first, asked = page.url, []
        page.on("request", lambda request: asked.append((request.method, request.resource_type)))
        page.evaluate("document.before = true")
        page.keyboard.press("u")
        page.keyboard.press("Enter")
        page.wait_for_function("before => location.href !== before", arg=first)
        expect(page.get_by_text("Decided: cannot be told from this photograph")).to_be_visible()
        assert page.evaluate("document.before")  # the page was never left
        assert asked[0] == ("POST", "fetch")
        picture = page.locator(".p-photo").first
        if picture.count():
            assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
        second = page.url
        page.keyboard.press("x")
        page.keyboard.press("Enter")
        page.wait_for_function("before => location.href !== before", arg=second)
        page.go_back()
        expect(page.get_by_text("What does the photograph show?")).to_have_count(0)
        expect(page.locator(".c-said strong").first).to_contain_text("not one of our kinds")


def test_what_one_expert_looks_at_another_is_told_of(desks: Mapping[str, Desk]) -> None:
    with desks["prasert"].window() as page, desks["ladda"].window() as other:
        page.goto("/admin/review/reviewitem/")
        page.get_by_role("link", name="Review the next one").click()
        expect(page.get_by_text("What does the photograph show?")).to_be_visible()
        other.goto(page.url)
        expect(other.get_by_text("prasert is reviewing it")).to_be_visible()
        expect(other.get_by_text("What does the photograph show?")).to_have_count(0)
        other.goto("/admin/review/reviewitem/")
        other.get_by_role("link", name="Review the next one").click()
        expect(other.get_by_text("What does the photograph show?")).to_be_visible()
        assert other.url != page.url


def test_a_version_is_approved_by_a_second_person(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    address = f"/admin/registry/modelversion/{seeded.waiting_version}/change/"
    with desks["malee"].window() as page:
        page.goto(address)
        expect(page.get_by_text("macro f1")).to_be_visible()
        expect(page.get_by_role("link", name="Approve")).to_have_count(0)  # she uploaded it
    with desks["somchai"].window() as page:
        page.goto("/admin/")
        page.get_by_role("link", name="waits for a second person's approval").click()
        page.get_by_role("link", name="v20261124_tiny_0.979").click()
        page.get_by_role("link", name="Approve").click()
        page.get_by_label("Reason").fill("As good as the last one at half the latency.")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("tablets v20261124_tiny_0.979 is approved.")).to_be_visible()
        expect(page.get_by_role("link", name="Roll out")).to_be_visible()


def test_an_auditor_finds_the_trail_and_checks_it(desks: Mapping[str, Desk]) -> None:
    with desks["kamol"].window() as page:
        page.goto("/admin/audit/entry/")
        expect(page.locator("#result_list")).to_contain_text("prasert")
        page.get_by_role("link", name="Verify").click()
        expect(page.get_by_text("every hash, every link and every payload fits")).to_be_visible()

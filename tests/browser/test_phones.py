"""Every page in English on a telephone: nothing is cut, and what is to be hit is as large as a finger needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE, Desk
from tests.browser.seed import Seeded
from tests.browser.test_looks import MOVED_SIDEWAYS, open_page, visits

pytestmark = pytest.mark.browser

# WCAG 2.5.8: 24 pixels each way. A link within a sentence is as high as its line, and a box is hit by its label too.
SMALL = """() => {
    const shown = part => part.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })
        && part.getBoundingClientRect().width > 0;
    const size = part => {
        const own = part.getBoundingClientRect(), label = part.labels?.[0]?.getBoundingClientRect();
        return [Math.max(own.width, label?.width ?? 0), Math.max(own.height, label?.height ?? 0)];
    };
    const alone = part => part.tagName !== "A" || getComputedStyle(part).display !== "inline"
        || ![...part.parentNode.childNodes].some(each => each.nodeType === 3 && each.textContent.trim());
    return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
        .filter(part => shown(part) && alone(part) && !part.closest(".c-skip") && size(part).some(side => side < 23.5))
        .map(part => `${size(part).map(Math.round).join(" x ")} ${part.outerHTML.slice(0, 120)}`);
}"""
# What is cut off and cannot be scrolled to: no names of pages, which the side bar has whole.
CUT = """() => [...document.querySelectorAll("main *, #content *, h1 *")]
    .filter(part => part.checkVisibility() && part.clientWidth > 0 && part.innerText?.trim()
        && !part.matches("input, textarea, select, .c-crumb"))
    .filter(part => ["overflowX", "overflowY"].some((side, at) => /hidden|clip/.test(getComputedStyle(part)[side])
        && (at ? part.scrollHeight > part.clientHeight + 2 : part.scrollWidth > part.clientWidth + 2)))
    .filter(part => !part.closest(".simplebar-mask, .simplebar-wrapper") || part.closest(".data-row"))
    .map(part => `${part.className} ${part.innerText.trim().slice(0, 60)}`)"""


def problems(page: Page) -> Iterator[str]:
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        yield "is wider than the screen"
    yield from (f"is too small to hit: {part}" for part in page.evaluate(SMALL))
    yield from (f"cuts {part}" for part in page.evaluate(CUT))


def test_every_page_is_whole_on_a_telephone_and_can_be_hit(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    found = []
    for person, theirs in groupby(sorted(visits(seeded), key=attrgetter("person")), key=attrgetter("person")):
        with desks[person].window(size=PHONE) as page:
            for visit in theirs:
                open_page(page, visit)
                found += [f"{visit.name}: {problem}" for problem in problems(page)]
    assert not found, "\n".join(found)


def test_a_row_of_a_list_is_short_and_says_what_there_is(desks: Mapping[str, Desk]) -> None:
    cells = ".result-list .data-row > :is(td, th):visible"
    with desks["suda"].window(size=PHONE) as page:
        page.goto("/admin/webhooks/delivery/")
        assert "–" not in page.locator(cells).all_inner_texts()
        heights = page.locator(cells).evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().height)")
        assert sorted(heights)[len(heights) // 2] < 32  # a line of 20 pixels, and what a finger needs
        page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        assert "–" in page.locator(cells).all_inner_texts()


@pytest.mark.parametrize(
    ("address", "first", "behind"),
    [
        ("/admin/predictions/prediction/", ("happened_at", "class_name", "verdict_badge", "percent"), "client_name"),
        ("/admin/review/reviewitem/?state__exact=open", ("since", "class_name", "why_badge", "percent"), "state_text"),
    ],
)
def test_a_row_of_the_longest_lists_is_what_one_decides_by(
    desks: Mapping[str, Desk], address: str, first: tuple[str, ...], behind: str
) -> None:
    with desks["suda"].window(size=PHONE) as page:
        page.goto(address)
        rows = page.locator(".result-list .data-row")
        assert rows.count() > 5
        heights = rows.evaluate_all("rows => rows.map(row => row.getBoundingClientRect().height)")
        assert sorted(heights)[len(heights) // 2] < 90  # two lines
        assert max(heights) < 140  # and one more where there is a photograph, or a long name
        assert page.locator(".field-photograph:has(.bg-red-100):visible").count() == 0
        for name in first:
            expect(rows.first.locator(f".field-{name}")).to_be_visible()
        expect(rows.first.locator(f".field-{behind}")).to_be_hidden()
        rows.first.get_by_role("link").first.click()  # and the rest is there
        expect(page).to_have_url(re.compile("/change/"))
        page.goto(address)
        page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        expect(rows.first.locator(f".field-{behind}")).to_be_visible()


# The name of each row, as long as it may be and without a place to break at.
NAMED_AT_LENGTH: Final = """document.querySelectorAll(".data-row > :is(.field-name, .field-url)")
    .forEach(cell => { (cell.querySelector("a") ?? cell).textContent = "W".repeat(150); })"""


@pytest.mark.parametrize("kind", ["clients/client", "clients/apikey", "webhooks/endpoint"])
@pytest.mark.parametrize("size", [PHONE, (1024, 768), DESKTOP])
def test_a_name_that_breaks_nowhere_widens_no_list(desks: Mapping[str, Desk], kind: str, size: tuple[int, int]) -> None:
    """One address of 450 letters made its list 4,158 pixels wide."""
    with desks["suda"].window(size=size) as page:
        page.goto(f"/admin/{kind}/")
        page.evaluate(NAMED_AT_LENGTH)
        assert page.get_by_text("W" * 150).count()
        assert page.evaluate(MOVED_SIDEWAYS) == []
        assert size != PHONE or page.evaluate(CUT) == []


def test_the_number_of_a_page_is_hit_by_a_thumb_and_a_long_name_stays_in_its_box(desks: Mapping[str, Desk]) -> None:
    with desks["suda"].window(size=PHONE) as page:
        page.goto("/admin/clients/client/")
        # As the theme writes them, from the hundred and first row on.
        page.evaluate("""document.querySelector("#content, main").insertAdjacentHTML("beforeend",
            '<div class="pr-4"><a href="?q=x&p=2" x-data>2</a></div>')""")
        assert page.evaluate(SMALL) == []
        page.goto("/admin/rollout/route/then/")
        page.evaluate("document.querySelector('[name=client]').options[1].textContent = 'W'.repeat(100)")
        assert list(problems(page)) == []


def test_a_long_reason_in_a_list_is_read_whole(desks: Mapping[str, Desk]) -> None:
    reason = "Agreed in the weekly meeting, after three of the four experts had looked at worn pieces. " * 3
    with desks["suda"].window(size=PHONE) as page:
        page.goto("/admin/rollout/route/")
        cell = page.locator(".data-row .field-why").first
        cell.evaluate("(cell, reason) => { cell.textContent = reason; }", reason)
        assert cell.evaluate("cell => cell.scrollHeight <= cell.clientHeight + 2 && cell.clientHeight > 60")


def test_where_a_page_stands_is_said_by_its_own_name(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    with desks["suda"].window(size=PHONE) as page:
        page.goto(f"/admin/clients/client/{seeded.api_client}/change/")
        expect(page.locator("h1 .c-crumb:visible")).to_have_count(1)
        name = page.locator("h1 .is-last")
        assert name.evaluate("part => part.scrollWidth <= part.clientWidth")


def test_a_table_that_goes_on_to_the_side_is_shaded_there(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    with desks["suda"].window(size=PHONE) as page:
        page.goto(f"/admin/registry/modelversion/{seeded.production_version}/change/")
        wide = page.locator(".c-scroll").first
        assert wide.evaluate("part => getComputedStyle(part).backgroundImage").count("gradient") == 4


def test_the_letters_of_a_drawing_are_read_on_a_telephone(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    with desks["suda"].window(size=PHONE) as page:
        page.goto(f"/admin/drift/finding/{seeded.finding}/change/")
        height = page.locator(".d-plot .d-axis").first.evaluate("text => text.getBoundingClientRect().height")
        assert height >= 10


WHOLE: Final = """heading => {
    const own = heading.getBoundingClientRect();
    const bar = heading.closest("div:has(> #header-inner)").getBoundingClientRect();
    return own.top >= 0 && own.bottom <= bar.bottom; }"""


def test_a_heading_of_many_lines_is_whole_in_a_narrow_window(desks: Mapping[str, Desk], seeded: Seeded) -> None:
    with desks["suda"].window(language="th", size=(320, 640)) as page:  # a desk's window at 400 %
        page.goto(f"/admin/rollout/route/{seeded.fired_route}/see/")
        assert page.locator("h1").evaluate(WHOLE)
        page.add_style_tag(content="div:has(> #header-inner) { height: 4rem !important; }")  # as the theme has it
        assert not page.locator("h1").evaluate(WHOLE)


RECORD: Final = "/admin/retention/applied/record/"
ASIDE: Final = "tables => tables.filter(each => each.scrollWidth > each.clientWidth + 1).length"


def test_the_record_of_processing_is_read_down_a_telephone_and_across_a_desk(desks: Mapping[str, Desk]) -> None:
    with desks["wipa"].window(size=PHONE) as page:
        page.goto(RECORD)
        assert page.locator(".c-scroll").evaluate_all(ASIDE) == 0
        assert page.locator("table.c-cards").count() > 5
        # Each field is named and said; what a table says of all its fields is said once.
        rows = page.locator(".c-cards tbody tr")
        fields = page.locator(".c-cards tbody td:nth-child(2):visible, .c-cards tbody td:nth-child(4):visible")
        assert fields.count() == 2 * rows.count()
        times = page.locator(".c-cards tbody td:nth-child(5):visible")
        assert page.locator(".c-cards tr:not(.is-more) td:nth-child(5)").count() == times.count() < rows.count()
        first = times.first
        label = first.evaluate("cell => getComputedStyle(cell, '::before').content")
        assert label.strip('"') == page.locator(".c-cards th:nth-child(5)").first.text_content()
        page.locator(".c-jump a").last.click()
        expect(page.locator("section[id^=activity]").last).to_be_in_viewport()
        # On paper, though no wider than a telephone's layout, it is the table that it is on a desk.
        page.emulate_media(media="print")
        assert times.count() == rows.count()
        expect(page.locator(".c-jump")).to_be_hidden()
    with desks["wipa"].window(size=DESKTOP) as page:
        page.goto(RECORD)
        assert page.locator(".c-cards tbody td:nth-child(5):visible").count() == rows_of(page)
        expect(page.locator(".c-jump")).to_be_hidden()
        assert page.locator(".c-cards thead:visible").count() == page.locator(".c-cards").count()


def rows_of(page: Page) -> int:
    return page.locator(".c-cards tbody tr").count()

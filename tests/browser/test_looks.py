"""Every page, in both languages, on a desk and on a telephone, by day and by night: whole, readable, for everybody.

Which pages there are is not said here: they are those of the tables that permissions are tested by. What each looks
like lies in `tests/output/pages` afterwards.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from protos.wording import DISCLAIMER
from tests.browser.conftest import DESKTOP, PHONE, Desk
from tests.browser.seed import Seeded
from tests.console_pages import OF_A_ROW, ROLES, ROWS, declared

pytestmark = pytest.mark.browser

# What answers with something else than a page: a file, a picture, a piece of a page for a script.
NO_PAGE: Final = frozenset(
    {
        "search/",
        "jsi18n/",
        "try/<uuid:prediction_id>/",
        "audit/entry/export/",
        "predictions/prediction/<uuid:prediction_id>/photograph/<int:part>.png",
        "predictions/prediction/<uuid:prediction_id>/heat-map/<int:part>.png",
        "privacy/privacyrequest/<path:object_id>/certificate/",
        "privacy/privacyrequest/<path:object_id>/certificate/pdf/",
        "retention/applied/record/csv/",
        "retention/applied/record/json/",
        "review/reviewitem/ahead/",
        "sheets/sheet/<path:object_id>/answers/",
    }
)
# What sends on to another page, which is looked at as well.
LEADS_ON: Final = frozenset(
    {
        "clients/client/<path:object_id>/keys/",
        "review/golditem/<path:object_id>/change/",
        "review/reviewitem/known/",
        "review/reviewitem/next/",
        "review/reviewitem/settle/",
    }
)
# Of which row a page is opened, by the name of `Seeded`'s field, where it is not simply the newest one.
ROW_OF: Final[Mapping[str, str]] = {
    "registry/modelversion/<path:object_id>/change/": "production_version",
    "registry/modelversion/<path:object_id>/approve/": "waiting_version",
    "registry/modelversion/<path:object_id>/roll-out/": "waiting_version",
    "registry/modelversion/<path:object_id>/experiment/": "production_version",
    "registry/modelversion/<path:object_id>/roll-back/": "production_version",
    "rollout/route/<path:object_id>/change/": "shadow_route",
    "rollout/route/<path:object_id>/see/": "fired_route",
    "predictions/prediction/<path:object_id>/change/": "kept_prediction",
    "clients/client/<path:object_id>/change/": "api_client",
    "vault/subject/<path:object_id>/change/": "subject",
    "drift/finding/<path:object_id>/change/": "finding",
}
# What a route has instead of a row.
PLACE_OF: Final[Mapping[str, str]] = {
    "privacy/privacyrequest/typed/<str:place>/<str:key>/erase/": "modelversion.approval_reason/{production_version}",
}
OF_A_PLACE: Final = "<str:place>/<str:key>"
QUESTION_OF: Final[Mapping[str, str]] = {
    "registry/modelversion/compare/": "?a={production_version}&b={waiting_version}",
    "rollout/route/then/": "?client=mobile+app&at={then}",
}
# The same pages with something else on them, and what no route leads to.
MORE: Final[Mapping[str, str]] = {
    "a route that a guardrail ended": "rollout/route/{fired_route}/change/",
    "a list without rows": "predictions/prediction/?q=nothing",
    "a page that is missing": "no-such-page/",
}
# What comes of a form and changes nothing: of which page, what is typed there, and whose role it takes.
SENT: Final[Mapping[str, tuple[str, Mapping[str, str], str]]] = {
    "what was typed, found": ("privacy/privacyrequest/typed/", {"part": "the"}, "privacy officer"),
    "what was typed, not found": ("privacy/privacyrequest/typed/", {"part": "nobody wrote this"}, "privacy officer"),
    "what was typed, refused": ("privacy/privacyrequest/typed/", {"part": "x"}, "privacy officer"),
}
SHOWS_AN_ANSWER: Final = frozenset(
    {
        "drift/finding/<path:object_id>/change/",
        "drift/finding/performance/",
        "predictions/prediction/",
        "predictions/prediction/<path:object_id>/change/",
        "review/reviewitem/",
        "review/reviewitem/<path:object_id>/change/",
        "review/reviewitem/next/",
        "review/reviewitem/settle/",
        "registry/modelversion/<path:object_id>/change/",
        "rollout/route/<path:object_id>/change/",
        "sheets/sheet/<path:object_id>/judge/",
        "try/",
        "vault/subject/<path:object_id>/change/",
    }
)
PAGES_MIN: Final = 90
LAPTOP: Final = (1280, 800)
MOVED_SIDEWAYS: Final = """[...document.querySelectorAll("#content *")]
    .filter(part => ["auto", "scroll"].includes(getComputedStyle(part).overflowX))
    .filter(part => part.scrollWidth > part.clientWidth + 1)
    .map(part => `${part.className}: ${part.scrollWidth} in ${part.clientWidth}`)"""
PAPER: Final = (718, 1000)  # A4 upright between the margins that a browser leaves
CUT_OFF: Final = """[...document.querySelectorAll("#content .c-scroll, #content .c-scroll table")]
    .filter(part => part.getBoundingClientRect().right > document.documentElement.clientWidth
        || getComputedStyle(part).overflowX !== "visible" && part.scrollWidth > part.clientWidth + 1)
    .map(part => part.innerText.replace(/\\s+/g, " ").slice(0, 60))"""
PICTURES: Final = Path(__file__).parents[1] / "output" / "pages"
SEVERE: Final = ("serious", "critical")
# The colours that tests see are the ones at rest.
_AXE: Final = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
# Whether the font that the console brings along was fetched: what a machine without one shows is empty boxes.
THAI_LETTERS: Final = """document.fonts.ready.then(fonts =>
    [...fonts].some(font => font.family.includes("Noto Sans Thai") && font.status === "loaded"))"""
# Thai breaks between any two syllables: what has no room becomes a column of letters.
SQUEEZED: Final = """[...document.querySelectorAll("td, th, p, li, label")]
    .filter(part => part.clientWidth > 0 && part.clientWidth < 48 && part.clientHeight > 160)
    .map(part => part.innerText.replace(/\\s+/g, " ").slice(0, 40))"""

# The theme's icons are words in a font of their own: what is not hidden is read out, in English.
ICONS_READ_OUT: Final = """[...document.querySelectorAll(".material-symbols-outlined")]
    .filter(icon => icon.closest("[aria-hidden=true]") === null).map(icon => icon.innerText.trim())"""
# Text beside which a link looks like the rest is read past.
LINKS_LIKE_TEXT: Final = r"""[...document.querySelectorAll("#content p a[href], #content li a[href]")]
    .filter(link => link.checkVisibility() && link.innerText.trim())
    .filter(link => { const own = getComputedStyle(link), beside = getComputedStyle(link.parentElement);
        return own.color === beside.color && !own.textDecorationLine.includes("underline")
            && own.backgroundColor === beside.backgroundColor && own.borderTopWidth === "0px"; })
    .map(link => link.innerText.trim().slice(0, 60))"""
# What a plot draws stands beside it in a fold that a keyboard opens and a screen reader reads; a bar of a single value
# says that value by its name.
PLOTS_WITHOUT_NUMBERS: Final = """[...document.querySelectorAll("svg[role=img]:not(.c-interval *)")]
    .filter(plot => !plot.closest("figure")?.querySelector("details :is(li, td)"))
    .map(plot => plot.getAttribute("aria-label"))"""
# Beside the frame that every page has: one that shows a sentence, asks nothing and leads to nothing is an end.
DEAD_END: Final = """document.querySelector(`#content :is(a[href], button, input, select, textarea, table, summary),
    main > p a[href]`) === null"""
# A sentence of English on a Thai page: what somebody typed, or a text that nobody translated.
ENGLISH: Final = re.compile(r"[A-Za-z’']{2,}(?: [A-Za-z’']+){2,}")
SEEDS: Final = "\n".join(
    (Path(__file__).parents[2] / name).read_text("utf-8")
    for name in (
        "tests/browser/seed.py",
        "tests/browser/seed_rest.py",
        "tests/tiny_archive.py",
        "model_store/handlers_allowed.json",  # what whoever reviewed a handler noted
    )
)
# The tests beside this one type on the same pages.
FILLED: Final = [
    text
    for path in sorted(Path(__file__).parent.glob("test_*.py"))
    for text in re.findall(r"""\.fill\("([^"]+)"\)""", path.read_text("utf-8"))
]
TYPED: Final = "\n".join([SEEDS, *FILLED])

# axe-core does not know what a script listens to: a link without an address is reached by no keyboard.
FOR_THE_MOUSE_ALONE: Final = r"""[...document.querySelectorAll("*")]
    .filter(part => part.getAttributeNames()
        .some(name => /^(onclick$|(x-on:|@)click(?!.*\.(outside|away)))/.test(name)))
    .filter(part => part.checkVisibility())
    .filter(part => !part.matches("a[href], button, input, select, textarea, summary, label, [tabindex]"))
    .map(part => part.outerHTML.replace(/\s+/g, " ").slice(0, 120))"""


def severe_violations(page: Page) -> list[str]:
    """What axe-core finds serious or critical, each with the first elements concerned."""
    found = Axe().run(page, options=_AXE).response["violations"]
    return [
        f"{violation['id']} ({violation['impact']}): {violation['help']}: "
        + " | ".join(f"{node['target']} {node['failureSummary']}" for node in violation["nodes"][:3])
        for violation in found
        if violation["impact"] in SEVERE
    ]


class Visit(NamedTuple):
    """A page, and by whom it is looked at."""

    name: str
    address: str
    person: str
    typed: Mapping[str, str] = MappingProxyType({})  # into the form of that page, whose answer is what is looked at


def open_page(page: Page, visit: Visit) -> None:
    page.goto(visit.address)
    if visit.typed:
        for name, text in visit.typed.items():
            page.locator(f"#content [name={name}]").fill(text)
        with page.expect_navigation():
            page.locator(".c-ask form, form.c-ask").evaluate(
                "form => form.submit()"
            )  # also what the browser would stop


def visits(seeded: Seeded) -> Iterator[Visit]:
    """Every page of the console's tables, by the administrator wherever they may, and some once more."""
    by_role = {account.role: name for name, account in seeded.accounts.items()}
    known = asdict(seeded)
    for route, (may_look, _may_send) in declared().items():
        if not may_look or route in NO_PAGE:
            continue
        person = by_role[ROLES["x" if "x" in may_look else may_look[0]]]
        if OF_A_ROW in route:
            kind = "/".join(route.split("/")[:2])
            assert kind in seeded.rows, f"nothing is there to show of {kind}: `tests.browser.seed_rest` makes it"
            route_of_row = route.replace(OF_A_ROW, f"{known[ROW_OF[route]] if route in ROW_OF else seeded.rows[kind]}/")
        else:
            route_of_row = route.replace(OF_A_PLACE, PLACE_OF.get(route, "").format(**known))
        yield Visit(route, f"/admin/{route_of_row}{QUESTION_OF.get(route, '').format(**known)}", person)
    for name, address in MORE.items():
        yield Visit(name, f"/admin/{address.format(**known)}", by_role["administrator"])
    for name, (address, typed, role) in SENT.items():
        yield Visit(name, f"/admin/{address}", by_role[role], typed)


@pytest.mark.parametrize(
    ("language", "size", "dark"),
    [("en", DESKTOP, False), ("th", PHONE, True)],
    ids=["English, on a desk, by day", "Thai, on a telephone, by night"],
)
def test_every_page_is_whole_and_readable(
    language: str, size: tuple[int, int], dark: bool, desks: Mapping[str, Desk], seeded: Seeded
) -> None:
    problems = []
    pictures = PICTURES / language
    shutil.rmtree(pictures, ignore_errors=True)
    everything = sorted(visits(seeded), key=attrgetter("person"))
    assert len(everything) > PAGES_MIN
    for person, theirs in groupby(everything, key=attrgetter("person")):
        with desks[person].window(language=language, size=size, dark=dark) as page:
            for visit in theirs:
                problems += [f"{visit.name}: {problem}" for problem in _problems(page, visit, language, size)]
                page.screenshot(path=pictures / f"{_file_name(visit.name)}.png", full_page=True)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("language", ["en", "th"])
def test_no_list_is_moved_sideways_on_a_laptop(desks: Mapping[str, Desk], seeded: Seeded, language: str) -> None:
    person = next(name for name, account in seeded.accounts.items() if account.role == ROLES["x"])
    with desks[person].window(language=language, size=LAPTOP) as page:
        for kind in ROWS:
            page.goto(f"/admin/{kind}/")
            assert page.evaluate(MOVED_SIDEWAYS) == [], kind


@pytest.mark.parametrize("language", ["en", "th"])
def test_no_table_is_cut_off_on_paper(desks: Mapping[str, Desk], seeded: Seeded, language: str) -> None:
    """Of the record of processing, which is printed for whoever asks for it, the last columns were missing."""
    widest = ("", "retention/applied/record/", f"rollout/route/{seeded.fired_route}/change/")
    with desks["suda"].window(language=language, size=PAPER) as page:
        page.emulate_media(media="print")
        for address in widest:
            page.goto(f"/admin/{address}")
            assert page.evaluate(CUT_OFF) == [], address


def _problems(page: Page, visit: Visit, language: str, size: tuple[int, int]) -> Iterator[str]:
    """Go there and look; what is wrong with it."""
    open_page(page, visit)
    if visit.name not in LEADS_ON and urlsplit(page.url).path != urlsplit(visit.address).path:
        yield f"{visit.address} leads to {page.url}"
    if language == "th" and not page.evaluate(THAI_LETTERS):
        yield "leaves Thai letters to the reader's machine"
    if page.locator("html").get_attribute("lang") != language:
        yield f"is not in {language}"
    if visit.name in SHOWS_AN_ANSWER and DISCLAIMER["th"] not in page.content():
        yield "shows an answer without the disclaimer"
    text = page.locator("body").inner_text()
    if language == "th":
        said = text.replace(DISCLAIMER["en"], "")
        for part in page.locator("body [lang=en]:visible").all_inner_texts():  # and says so
            said = said.replace(part, "")
        yield from (
            f"says in English: {found}"
            for found in ENGLISH.findall(said)
            if found not in TYPED and not found.startswith("amulet ")  # a command
        )
    yield from (f"has an icon that is read out as {icon!r}" for icon in page.evaluate(ICONS_READ_OUT))
    yield from (f"has a link that looks like text: {link!r}" for link in page.evaluate(LINKS_LIKE_TEXT))
    yield from (f"has a plot without its numbers: {plot!r}" for plot in page.evaluate(PLOTS_WITHOUT_NUMBERS))
    if page.evaluate(DEAD_END):
        yield "leads nowhere"
    if page.locator("#nav-sidebar a.active").count() > 1:
        yield "stands in two places of the side bar"
    if "('" in text:
        yield "shows how a value is written in Python"
    if "9999999999" in text.replace(",", ""):
        yield "tells the size of a list that is never counted"
    yield from severe_violations(page)
    # At the other width too, after axe: what a page looks like there is the other language's to see.
    for width, height in (DESKTOP, PHONE) if size == PHONE else (PHONE, DESKTOP):
        page.set_viewport_size({"width": width, "height": height})
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            yield f"is wider than a window of {width} px"
        for text in page.evaluate(SQUEEZED):
            yield f"squeezes {text!r} in a window of {width} px"
        for part in page.evaluate(FOR_THE_MOUSE_ALONE):
            yield f"can be clicked and not be reached by a keyboard in a window of {width} px: {part}"


def _file_name(name: str) -> str:
    return re.sub(r"\W+", "-", name.replace("<path:object_id>", "one")).strip("-") or "home"

"""An archive goes up in pieces: over a lost connection, a console that restarts, and a reload of the page."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.conftest import WAIT_MS_MAX, Desk
from tests.integration.console.running import RunningConsole

pytestmark = pytest.mark.browser

PAGE: Final = "/admin/registry/modelversion/upload"
PIECES: Final = "**/api/v1/uploads/*/"
SIZE_BYTES: Final = 110 * 2**20
PIECE_BYTES: Final = 2 * 2**20
# 110 MiB are digested by both sides and sent in 55 pieces, on a machine that others use.
ARRIVES_MS_MAX: Final = 4 * WAIT_MS_MAX


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Path]:
    """So many bytes of no archive: what arrives is refused by its content, and shown with its digest."""
    file = tmp_path / "large.mar"
    file.write_bytes(os.urandom(SIZE_BYTES))
    yield file
    file.unlink()


class Traffic:
    """What the page sends in pieces, and a connection that can be cut."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.offsets: list[int] = []
        self.cut_from: int | None = None  # the offset from which on nothing gets through
        page.route(PIECES, self._piece)
        page.on("requestfinished", self._arrived)

    def _piece(self, route: Route) -> None:
        if self.cut_from is not None and self._offset(route.request) >= self.cut_from:
            route.abort("connectionreset")
        else:
            route.continue_()

    def _arrived(self, request: Request) -> None:
        if request.method == "PATCH":
            self.offsets.append(self._offset(request))

    def _offset(self, request: Request) -> int:
        return int(request.headers.get("upload-offset", 0))


def begin(page: Page, archive: Path, note: str = "") -> None:
    page.locator("[name=archive]").set_input_files(archive)
    page.locator("[name=note]").fill(note)
    page.get_by_role("button", name="Upload", exact=True).click()


def expect_the_same_bytes(page: Page, archive: Path) -> None:
    expect(page.get_by_text("Refused:")).to_be_visible(timeout=ARRIVES_MS_MAX)
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    expect(page.get_by_text(digest)).to_be_visible()


def test_an_upload_goes_on_after_a_lost_connection(desks: Mapping[str, Desk], archive: Path) -> None:
    with desks["malee"].window(expects_lost_calls=True) as page:
        page.goto(PAGE)
        wire = Traffic(page)
        wire.cut_from = SIZE_BYTES // 2
        begin(page, archive)
        expect(page.get_by_role("status")).to_contain_text("The console does not answer.")
        counted = int(page.get_by_role("progressbar").get_attribute("value") or 0)
        assert SIZE_BYTES // 2 <= counted < SIZE_BYTES // 2 + PIECE_BYTES
        wire.cut_from = None
        expect_the_same_bytes(page, archive)
        assert wire.offsets == sorted(set(wire.offsets))  # no piece was sent twice
        assert wire.offsets[0] == 0


def test_an_upload_goes_on_after_a_reload_and_a_restart(
    desks: Mapping[str, Desk], console: RunningConsole, archive: Path
) -> None:
    with desks["malee"].window(expects_lost_calls=True) as page:
        page.goto(PAGE)
        wire = Traffic(page)
        wire.cut_from = SIZE_BYTES // 3
        begin(page, archive, "More backs.")
        expect(page.get_by_role("status")).to_contain_text("The console does not answer.")
        console.end("console", kill=True)
        console.begin("console")
        page.reload()
        expect(page.locator(".u-unfinished")).to_contain_text("large.mar")
        wire.offsets.clear()
        wire.cut_from = None
        begin(page, archive)
        expect_the_same_bytes(page, archive)
        expect(page.get_by_text("More backs.")).to_be_visible()
        assert SIZE_BYTES // 3 <= wire.offsets[0] < SIZE_BYTES // 3 + PIECE_BYTES  # where it broke off


def test_an_upload_can_be_stopped_and_given_up(desks: Mapping[str, Desk], archive: Path) -> None:
    with desks["malee"].window(expects_lost_calls=True) as page:
        page.goto(PAGE)
        wire = Traffic(page)
        wire.cut_from = SIZE_BYTES // 4
        begin(page, archive)
        expect(page.get_by_role("status")).to_contain_text("The console does not answer.")
        page.get_by_role("button", name="Stop").press("Enter")
        expect(page.get_by_role("status")).to_contain_text("Stopped.")
        expect(page.get_by_role("button", name="Upload", exact=True)).to_be_focused()  # and not nowhere
        page.reload()
        page.get_by_role("button", name="Give it up").press("Enter")
        expect(page.locator(".u-unfinished")).to_have_count(0)
        expect(page.locator("[name=archive]")).to_be_focused()
        page.reload()
        expect(page.locator(".u-unfinished")).to_have_count(0)


def test_what_is_given_up_beside_an_upload_leaves_it_alone(
    desks: Mapping[str, Desk], archive: Path, tmp_path: Path
) -> None:
    """It ended the one under way, which then said that the browser could not read its file."""
    other = tmp_path / "other.mar"
    other.write_bytes(b"another one")
    with desks["malee"].window(expects_lost_calls=True) as page:
        page.goto(PAGE)
        wire = Traffic(page)
        wire.cut_from = 0
        begin(page, other)
        expect(page.get_by_role("status")).to_contain_text("The console does not answer.")
        page.reload()
        given_up = page.locator(".u-unfinished li").filter(has_text="other.mar")
        give_up = given_up.get_by_role("button", name="Give it up")
        give_up.click()  # which gets no further than the pieces do
        expect(page.get_by_role("status")).to_have_text("The console does not answer. Nothing was given up: try again.")
        begin(page, archive)
        expect(page.get_by_role("status")).to_contain_text("the next try is in")
        wire.cut_from = None
        give_up.click()
        expect(given_up).to_have_count(0)
        expect_the_same_bytes(page, archive)


def test_an_ended_session_says_so_and_goes_on_after_a_new_login(desks: Mapping[str, Desk], archive: Path) -> None:
    desk = desks["malee"]
    with desk.window(logged_in=False, expects_lost_calls=True) as page:
        desk.log_in(page)
        page.goto(PAGE)
        wire = Traffic(page)
        wire.cut_from = SIZE_BYTES // 2
        begin(page, archive)
        expect(page.get_by_role("status")).to_contain_text("The console does not answer.")
        cookies: Any = page.context.cookies()
        page.context.clear_cookies()
        wire.cut_from = None
        expect(page.get_by_role("status")).to_contain_text("Your session has ended.")
        page.context.add_cookies(cookies)
        page.get_by_role("button", name="Go on").click()
        expect_the_same_bytes(page, archive)


def test_a_refusal_is_said_where_it_happens(desks: Mapping[str, Desk], tmp_path: Path) -> None:
    file = tmp_path / "not-an-archive.zip"
    file.write_bytes(b"PK")
    with desks["malee"].window() as page:
        page.goto(PAGE)
        begin(page, file)
        expect(page.get_by_role("status")).to_have_text(
            "An archive's name ends in .mar and has at most 200 characters."
        )
        expect(page.get_by_role("progressbar")).to_be_hidden()  # of a file whose length nobody asked for it went on


def test_without_a_script_the_form_takes_it_whole(desks: Mapping[str, Desk], archive: Path) -> None:
    with desks["malee"].window() as page:
        page.route("**/rollout/upload*.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
        page.goto(PAGE)
        begin(page, archive)
        expect_the_same_bytes(page, archive)

"""A real console with a fortnight's work in it, and a real browser in front of it: once for all browser tests."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from django_otp.oath import TOTP
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from cli.layout import Layout, Ports
from model_store import signing
from tests.browser.seed import Account, Seeded
from tests.console_ready import new_state
from tests.integration.console.running import ROOT, RunningConsole
from tests.stack import free_offset

CHROMIUM: Final = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP: Final = (1440, 900)
PHONE: Final = (390, 844)
# Bounds what a broken page costs; a page that works never waits for it.
WAIT_MS_MAX: Final = 30_000
# How long a code of the second factor holds.
STEP_S: Final = 30


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """The console's web process over an SQLite database of its own, without TorchServe and gateway."""
    offset = free_offset()
    state = tmp_path_factory.mktemp("stack") / "state"
    key = state.parent / "release.key"
    signing.generate_key(key)
    layout = Layout(new_state(state), Ports(offset))
    (layout.trusted / "release.pem").write_bytes(signing.public_pem(key))
    # Which photographs are blind is drawn; here the seed says it.
    shares = {f"AMULET_REVIEW_{kind}_RATIO": "0" for kind in ("BLIND", "DOUBLE", "GOLD")}
    with RunningConsole.start(state, shares, offset=offset) as running:
        yield running


@pytest.fixture(scope="session")
def seeded(console: RunningConsole) -> Seeded:
    """What stands in that console before the first test."""
    key = console.layout.state.parent / "release.key"
    done = subprocess.run(
        [sys.executable, "-m", "tests.browser.seed", str(key)],
        env=console.environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    note = console.manage("checkpoint").splitlines()
    made["rows"]["audit/checkpoint"] = note[1]  # its number is the size that it signs
    accounts = {name: Account(**account) for name, account in made.pop("accounts").items()}
    return Seeded(accounts=accounts, **made)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium, or name another one by CHROMIUM=/path")
    expect.set_options(timeout=WAIT_MS_MAX)
    running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), env=dict(os.environ))
    yield running
    running.close()


class Desk:
    """One person's browser: logged in once, in windows of either size, language and light."""

    def __init__(self, browser: Browser, url: str, account: Account) -> None:
        self._browser, self._url, self.account = browser, url, account
        self._cookies: Any = None
        self._last_step = 0

    @contextmanager
    def window(
        self,
        *,
        language: str = "en",
        size: tuple[int, int] = DESKTOP,
        dark: bool = False,
        logged_in: bool = True,
        expects_lost_calls: bool = False,
    ) -> Iterator[Page]:
        """A window of this person. What its pages write to the console of the browser as errors fails the test.

        expects_lost_calls: the test cuts connections, which the browser reports.
        """
        context = self._browser.new_context(
            base_url=self._url,
            locale=language,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            storage_state=self._state() if logged_in else None,
            extra_http_headers={"Accept-Language": language},
        )
        context.set_default_timeout(WAIT_MS_MAX)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda line: errors.append(f"{page.url}: {line.text}") if line.type == "error" else None,
        )
        try:
            yield page
        finally:
            context.close()
        lost = "net::ERR_" if expects_lost_calls else "\0"
        assert [error for error in errors if not _is_a_refusal(error) and lost not in error] == []

    def _state(self) -> Any:
        if self._cookies is None:
            with self.window(logged_in=False) as page:
                self.log_in(page)
                self._cookies = page.context.storage_state()
        return self._cookies

    def log_in(self, page: Page) -> None:
        """As a person does it: name, password and the code that the telephone shows."""
        page.goto("/admin/login/?next=/admin/")
        self.fill_login(page)
        page.wait_for_url(re.compile(r"^[^?]*/admin/$"))  # the login page names the next one after a "?"

    def fill_login(self, page: Page, *, password: str | None = None, code: str | None = None) -> None:
        """Fill the login form and send it: with what is right, or with what a test says in its place."""
        page.locator("[name=username]").fill(self.account.name)
        page.locator("[name=password]").fill(self.account.password if password is None else password)
        page.locator("[name=code]").fill(self.fresh_code() if code is None else code)
        page.locator("[name=code]").press("Enter")

    def fresh_code(self) -> str:
        """A code that has not opened yet: each opens once, and two sign-ins may fall into one step of time.

        The console takes the next step's code too; a third sign-in within one step waits for it to end.
        """
        step = max(int(time.time() // STEP_S), self._last_step + 1)
        self._last_step = step
        time.sleep(max(0.0, (step - 1) * STEP_S - time.time()))
        return code_of(self.account, step)

    def wrong_code(self) -> str:
        """Six digits that open at no step near this one."""
        step = int(time.time() // STEP_S)
        right = {code_of(self.account, near) for near in range(step - 3, step + 4)}
        return next(f"{digits:06d}" for digits in range(len(right) + 1) if f"{digits:06d}" not in right)


def _is_a_refusal(error: str) -> bool:
    """The browser itself reports a page that was refused, which some tests ask for."""
    return "the server responded with a status of 40" in error


def code_of(account: Account, step: int) -> str:
    """The second factor's code of one step of time, counted in STEP_S from the epoch (RFC 6238)."""
    factor = TOTP(base64.b32decode(account.totp_seed), step=STEP_S)
    factor.time = float(step * STEP_S)
    return f"{factor.token():06d}"


@pytest.fixture(scope="session")
def desks(browser: Browser, console: RunningConsole, seeded: Seeded) -> Mapping[str, Desk]:
    """Everybody's browser, by name."""
    return {name: Desk(browser, console.layout.console_url, account) for name, account in seeded.accounts.items()}

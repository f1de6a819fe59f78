"""The product's day: people at their browsers, other services over gRPC, every process of the stack between them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from pypdf import PdfReader

from cli import supervision
from model_store import signing
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words_pb
from tests import tiny_archive
from tests.browser.conftest import DESKTOP, PHONE, Desk
from tests.browser.seed import Account
from tests.browser.test_looks import THAI_LETTERS, severe_violations
from tests.browser.words import Words
from tests.canaries import files_below, found_in
from tests.integration.console.running import ROOT
from tests.stack import Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack]

PEOPLE: Final[Mapping[str, str]] = {
    "malee": "model-engineer",
    "somchai": "approver",
    "prasert": "reviewer",
    "ladda": "reviewer",
    "wipa": "privacy-officer",
    "kamol": "auditor",
}
LANGUAGES: Final = {"en": DESKTOP, "th": PHONE}
CALLS: Final = 20  # half of them go to a canary of a half: that none or all do happens twice in a million times
WITHIN_S: Final = 60.0  # of what the stack does by itself
ROLLBACK_S_MAX: Final = 10.0  # what the product promises, also on a busy machine
SAMPLES: Final = 12  # of each class: fewer in all than 30 say nothing of drift
DRIFTED: Final = 220  # predictions in a row of what no class is


@dataclass(frozen=True, slots=True)
class Office:
    """The stack, and everybody who works at it."""

    stack: Stack
    desks: Mapping[str, Desk]
    key: Path  # signs archives


@dataclass(frozen=True, slots=True)
class Visit:
    """One person's window, in one language; every page that is kept is whole and readable too."""

    page: Page
    words: Words
    pictures: Path

    def button(self, text: str) -> Locator:
        return self.page.get_by_role("button", name=self.words(text), exact=True)

    def link(self, text: str) -> Locator:
        return self.page.get_by_role("link", name=re.compile(f"{re.escape(self.words(text))}$"))  # after its icon

    def action(self, text: str) -> Locator:
        """What can be done with a list or a row; on a telephone behind three dots."""
        if LANGUAGES[self.words.language] == PHONE:
            self.page.get_by_role("button", name=self.words("More actions")).click()
        return self.link(text)

    def keep(self, name: str) -> None:
        """A picture of the page for people; none with a severe fault, wider than its window, or Thai as empty boxes."""
        self.page.screenshot(path=self.pictures / f"{name}.png", full_page=True)
        assert self.words.language != "th" or self.page.evaluate(THAI_LETTERS), name
        assert severe_violations(self.page) == [], name
        assert not self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    def reload_until(self, sign: Locator) -> None:
        """Look again, as people do, until the page shows it."""

        def shown() -> bool:
            self.page.wait_for_load_state()  # a page that is still on its way cannot be reloaded
            self.page.reload()
            return sign.count() > 0

        try:
            until(shown, within_s=WITHIN_S)
        finally:
            self.page.screenshot(path=self.pictures / "looked again.png", full_page=True)


@pytest.fixture(scope="module")
def office(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    key = folder / "release.key"
    signing.generate_key(key)
    (folder / "release.pem").write_bytes(signing.public_pem(key))
    variables = {
        "AMULET_REVIEW_BLIND_RATIO": "0",
        "AMULET_REVIEW_DOUBLE_RATIO": "0",
        "AMULET_JOURNAL_AGE_S_MAX": "5",
    }
    stack = Stack.start(folder / "state", variables=variables)
    try:
        stack.trust(folder / "release.pem")
        tiny_archive.write_archive(folder / "first", folder / "first.mar", key=key, samples_each=SAMPLES)
        stack.serve(folder / "first.mar")
        desks = {name: Desk(browser, stack.layout.console_url, _hire(stack, name, PEOPLE[name])) for name in PEOPLE}
        yield Office(stack, desks, key)
    finally:
        stack.stop()


def _hire(stack: Stack, name: str, role: str) -> Account:
    made = json.loads(stack.amulet("users", "create", name, "--role", role, "--json"))
    return Account(name, role, made["password"], made["totp_seed"])


@pytest.fixture(params=LANGUAGES)
def words(request: pytest.FixtureRequest) -> Words:
    return Words(request.param)


@dataclass(frozen=True, slots=True)
class Windows:
    """Whoever is asked for, at their desk, in this test's language."""

    office: Office
    words: Words
    pictures: Path

    @contextmanager
    def of(self, name: str) -> Iterator[Visit]:
        language = self.words.language
        with self.office.desks[name].window(language=language, size=LANGUAGES[language]) as page:
            yield Visit(page, self.words, self.pictures)


@pytest.fixture
def windows(office: Office, words: Words, tmp_path: Path) -> Windows:
    return Windows(office, words, tmp_path)


def test_a_version_goes_from_an_upload_to_production(office: Office, windows: Windows, tmp_path: Path) -> None:
    language = windows.words.language
    version = {"en": "v20260201_tiny_1.000", "th": "v20260202_tiny_1.000"}[language]
    archive = tmp_path / f"{version}.mar"
    tiny_archive.write_archive(tmp_path / "run", archive, version=version, key=office.key, samples_each=SAMPLES)
    with windows.of("malee") as visit:
        visit.page.goto("/admin/registry/modelversion/")
        visit.action("Upload an archive").click()
        visit.page.locator("[name=archive]").set_input_files(archive)
        visit.page.locator("[name=note]").fill("Learnt from forty photographs more.")
        visit.keep("upload")
        visit.button("Upload").click()
        expect(visit.page.get_by_text(archive.name).or_(visit.page.get_by_text(version)).first).to_be_visible()
        visit.reload_until(visit.page.locator(".is-here").get_by_text(visit.words("smoke-tested"), exact=True))
        expect(visit.link("Approve")).to_have_count(0)  # she uploaded it
        visit.keep("waits for approval")
    with windows.of("somchai") as visit:
        visit.page.goto("/admin/registry/modelversion/")
        visit.page.get_by_role("link", name=version).first.click()
        visit.link("Approve").click()
        visit.page.locator("[name=reason]").fill("Better on worn pieces.")
        visit.button("Approve").click()
        expect(visit.page.get_by_text(visit.words("{version} is approved.", version=f"tiny {version}"))).to_be_visible()
        first = _versions_of(office)
        for mode, share, answering in (("canary", "50", first | {version}), ("production", "", {version})):
            visit.link("Roll out").click()
            visit.page.locator("[name=mode]").select_option(mode)
            visit.page.locator("[name=share_percent]").fill(share)
            visit.page.locator("[name=reason]").fill("As agreed.")
            visit.keep(f"roll out as {mode}")
            visit.button("Roll out").click()
            said = visit.words("{version} is rolled out as {mode}.", version=f"tiny {version}", mode=visit.words(mode))
            expect(visit.page.get_by_text(said)).to_be_visible()
            until(lambda wanted=answering: _versions_of(office) == wanted, within_s=WITHIN_S)
            visit.page.wait_for_load_state()
            visit.page.reload()
            visit.keep(f"is {mode}")


def test_a_rollback_from_the_home_page_reaches_every_caller_within_ten_seconds(
    office: Office, windows: Windows, tmp_path: Path
) -> None:
    bad = {"en": "v20260301_tiny_1.000", "th": "v20260302_tiny_1.000"}[windows.words.language]
    [good] = _versions_of(office)
    archive = tmp_path / f"{bad}.mar"
    tiny_archive.write_archive(tmp_path / "run", archive, version=bad, key=office.key, samples_each=SAMPLES)
    office.stack.serve(archive, version=bad)
    until(lambda: _versions_of(office) == {bad}, within_s=WITHIN_S)
    with windows.of("somchai") as visit:
        visit.page.goto("/admin/")
        visit.link("Roll back").click()
        expect(visit.page.locator("strong", has_text=good)).to_be_visible()
        visit.keep("what answers afterwards")
        visit.button("Roll back").click()
        begun_s = time.monotonic()
        said = visit.words("{version} is in production. Gateways hear of it within seconds.", version=f"tiny {good}")
        expect(visit.page.get_by_text(said)).to_be_visible()
        until(lambda: _versions_of(office) == {good}, within_s=ROLLBACK_S_MAX - (time.monotonic() - begun_s))
        (visit.pictures / "rollback_s.txt").write_text(f"{time.monotonic() - begun_s:.2f}\n")


def test_a_doubtful_photograph_is_overridden_by_keyboard_and_the_trail_says_so(
    office: Office, windows: Windows
) -> None:
    pseudonym, consent = f"visitor-{windows.words.language}", f"consent-{windows.words.language}"
    _record_consent(windows, pseudonym, consent)
    answer = _kept(office, pseudonym, consent)
    assert answer.verdict != words_pb.VERDICT_IN_DOMAIN
    reviewer = {"en": "prasert", "th": "ladda"}[windows.words.language]  # neither has anything left open
    with windows.of(reviewer) as visit:
        visit.page.goto("/admin/review/reviewitem/")
        visit.reload_until(visit.page.locator("#result_list tbody tr"))
        visit.action("Review the next one").click()
        expect(visit.page.locator("[data-review]")).to_be_visible()
        visit.page.wait_for_function("document.querySelector('.p-photo').naturalWidth > 0")
        visit.page.wait_for_load_state()  # a key that is pressed before the page's script has begun is nobody's
        visit.keep("review")
        chosen = visit.page.locator("[data-key='2']").get_attribute("value")
        address = visit.page.url
        visit.page.keyboard.press("2")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_function("before => location.href !== before", arg=address)
        visit.page.goto(address)
        expect(visit.page.locator(".c-said strong")).to_contain_text(visit.words("it is this class"))
        visit.keep("decided")
    assert chosen
    with windows.of("kamol") as visit:
        visit.page.goto(f"/admin/audit/entry/?q={answer.prediction_id}")
        expect(visit.page.locator("#result_list")).to_contain_text(answer.prediction_id[:8])
        visit.page.goto(f"/admin/audit/entry/?q={reviewer}")
        expect(visit.page.locator("#result_list tbody tr").first).to_contain_text(reviewer)
        visit.keep("audit")


def test_a_person_is_erased_and_the_certificate_names_nobody(office: Office, windows: Windows) -> None:
    pseudonym, consent = f"the-leaver-{windows.words.language}", f"consent-given-{windows.words.language}"
    _record_consent(windows, pseudonym, consent)
    answer = _kept(office, pseudonym, consent)
    told = {"the person": pseudonym, "the consent": consent, "the prediction": answer.prediction_id}
    # The control: this search finds what is there. Who it is stands in the journal alone, and for seconds.
    until(lambda: {"the consent", "the prediction"} <= {name for _, name in _written(office, told)}, within_s=WITHIN_S)
    with windows.of("wipa") as visit:
        page = visit.page
        page.goto(f"/admin/vault/subject/?q={pseudonym}")
        # The photograph and its heat map.
        kept = page.locator("#result_list tbody tr").filter(has=page.locator(".field-photographs", has_text="2"))
        visit.reload_until(kept)
        page.goto(f"/admin/vault/consent/?q={consent}")
        page.get_by_role("link", name=consent).first.click()
        page.wait_for_url("**/change/**")
        visit.link("Withdraw").click()
        page.locator("[name=channel]").fill("telephone")
        visit.keep("withdraw")
        visit.button("Withdraw").click()
        expect(
            page.get_by_text(visit.words("The consent {reference} is withdrawn.", reference=consent))
        ).to_be_visible()
        page.goto("/admin/privacy/privacyrequest/")
        visit.action("Enter a request").click()
        page.locator("[name=subject]").fill(pseudonym)
        page.locator("[name=kind]").select_option("erasure")
        page.locator("[name=laws]").select_option("both")
        page.locator("[name=channel]").fill("letter")
        visit.keep("enter")
        visit.button("Enter the request").click()
        visit.link("Identity is checked").click()
        page.locator("[name=method]").fill("identity card at the counter")
        visit.button("Identity is checked").click()
        visit.link("Erase for good").click()
        expect(visit.button("Erase for good")).to_be_visible()
        visit.keep("there is no way back")
        visit.button("Erase for good").click()
        page.wait_for_url("**/change/**")
        visit.reload_until(visit.link("Certificate (JSON)"))
        visit.keep("erased")
        with page.expect_download() as download:
            visit.link("Certificate (JSON)").click()
        certificate = Path(download.value.path()).read_text("utf-8")
        with page.expect_download() as download:
            visit.link("Certificate (PDF)").click()
        pages = PdfReader(Path(download.value.path())).pages
        printed = "".join(sheet.extract_text() for sheet in pages)
        assert "Certificate of erasure" in printed
        page.goto(f"/admin/predictions/prediction/?q={answer.prediction_id}")
        # A log may name the prediction: a number by chance, which leads nowhere any more.
        left = {
            (place, name) for place, name in _written(office, told) if name != "the prediction" or "logs" not in place
        }
        assert left == set()
        expect(page.locator("#result_list tbody tr")).to_have_count(0)
    for text in (certificate, printed):
        assert pseudonym not in text
        assert answer.prediction_id not in text


def test_photographs_that_change_raise_an_alert(office: Office, windows: Windows) -> None:
    for seed in range(DRIFTED):
        office.stack.predict(tiny_archive.photo_of("grey", seed=seed))
    [version] = _versions_of(office)
    with windows.of("malee") as visit:
        visit.page.goto("/admin/drift/finding/")
        alert = visit.page.locator("#result_list tbody tr").filter(has_text=version).filter(
            has_text=visit.words("confidence")
        ).filter(has=visit.page.get_by_text(visit.words("drift"), exact=True))  # fmt: skip

        def shown() -> bool:
            _compare_now(office)
            visit.page.reload()
            return alert.count() > 0

        try:
            until(shown, within_s=WITHIN_S)
        finally:
            visit.page.screenshot(path=visit.pictures / "compared.png", full_page=True)
        visit.keep("alerts")
        alert.get_by_role("link").first.click()
        expect(visit.page.get_by_text(visit.words("Alert since"))).to_be_visible()
        visit.keep("alert")
        visit.page.goto("/admin/")
        expect(visit.page.locator("a[href*='outcome__exact=drift']")).to_be_visible()
        visit.keep("home")


def _versions_of(office: Office) -> set[str]:
    """What answers now."""
    return {office.stack.predict(tiny_archive.photo_of("red")).version for _ in range(CALLS)}


def _written(office: Office, told: Mapping[str, str]) -> set[tuple[str, str]]:
    """Where in all that the stack has written which of these stands: journal, database, files, broker, logs."""
    return found_in(
        dict(files_below(office.stack.layout.state)), {name: canary.encode() for name, canary in told.items()}
    )


def _kept(office: Office, pseudonym: str, consent: str) -> pb.PredictResponse:
    """A call with what no class is, whose photograph is kept."""
    subject = pb.Subject(pseudonym=pseudonym, consent_reference=consent, retention=pb.RETENTION_KEEP)
    return office.stack.predict(
        tiny_archive.photo_of("grey"), subject=subject, explain=pb.Explain(method=pb.Explain.METHOD_GRAD_CAM)
    )


def _record_consent(windows: Windows, pseudonym: str, consent: str) -> None:
    with windows.of("wipa") as visit:
        visit.page.goto("/admin/vault/consent/")
        visit.action("Record a consent").click()
        for field, text in (
            ("subject", pseudonym), ("text_version", "2026-01"), ("channel", "counter"), ("reference", consent)
        ):  # fmt: skip
            visit.page.locator(f"[name={field}]").fill(text)
        visit.page.locator("[name=purpose]").select_option("keep_photograph")
        visit.button("Record").click()
        expect(
            visit.page.get_by_text(visit.words("The consent {reference} is recorded.", reference=consent))
        ).to_be_visible()


def _compare_now(office: Office) -> None:
    """Have the worker do at once what the beat has it do every quarter of an hour."""
    layout = office.stack.layout
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", "console.celery_app", "call", "console.drift.tasks.watch"],
        env=supervision.environment(layout, office.stack.variables),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )

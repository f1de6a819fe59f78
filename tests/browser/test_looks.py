"""Every page, in both languages, on a desk and on a telephone, by day and by night: whole, readable, for everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from protos.wording import DISCLAIMER
from tests.browser.conftest import DESKTOP, PHONE, Desk
from tests.browser.seed import Seeded

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

# Page -> address, with the names of `Seeded`'s fields.
PAGES: Final[Mapping[str, str]] = {
    "home": "/admin/",
    "versions": "/admin/registry/modelversion/",
    "version": "/admin/registry/modelversion/{production_version}/change/",
    "approve": "/admin/registry/modelversion/{waiting_version}/approve/",
    "upload": "/admin/registry/modelversion/upload/",
    "routes": "/admin/rollout/route/",
    "shadow": "/admin/rollout/route/{shadow_route}/change/",
    "guardrail": "/admin/rollout/route/{fired_route}/change/",
    "compare": "/admin/registry/modelversion/compare/?a={production_version}&b={waiting_version}",
    "then": "/admin/rollout/route/then/?client=mobile+app&at={then}",
    "experiments": "/admin/rollout/experiment/",
    "experiment": "/admin/rollout/experiment/{experiment}/change/",
    "ask": "/admin/registry/modelversion/{production_version}/experiment/",
    "take note": "/admin/rollout/route/{fired_route}/see/",
    "roll out": "/admin/registry/modelversion/{waiting_version}/roll-out/",
    "reviews": "/admin/review/reviewitem/",
    "accuracy": "/admin/review/reviewitem/accuracy",
    "own figures": "/admin/review/reviewitem/figures",
    "review": "/admin/review/reviewitem/next",
    "data sets": "/admin/datasets/dataset/",
    "export labels": "/admin/datasets/dataset/export",
    "predictions": "/admin/predictions/prediction/",
    "prediction": "/admin/predictions/prediction/{kept_prediction}/change/",
    "nothing": "/admin/predictions/prediction/?q=nothing",
    "try it": "/admin/try/",
    "clients": "/admin/clients/client/",
    "client": "/admin/clients/client/{api_client}/change/",
    "keys": "/admin/clients/apikey/",
    "staff": "/admin/staff/user/",
    "tokens": "/admin/staff/apitoken/",
    "audit": "/admin/audit/entry/",
    "subjects": "/admin/vault/subject/",
    "consents": "/admin/vault/consent/",
    "drift": "/admin/drift/finding/",
    "requests": "/admin/privacy/privacyrequest/",
    "missing": "/admin/no-such-page/",
}
SHOWS_AN_ANSWER: Final = ("shadow", "reviews", "review", "predictions", "prediction", "try it")
SEVERE: Final = ("serious", "critical")
# The colours that tests see are the ones at rest.
_AXE: Final = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
# Whether the font that the console brings along was fetched: what a machine without one shows is empty boxes.
THAI_LETTERS: Final = """document.fonts.ready.then(fonts =>
    [...fonts].some(font => font.family.includes("Noto Sans Thai") && font.status === "loaded"))"""


def severe_violations(page: Page) -> list[str]:
    """What axe-core finds serious or critical, each with the first elements concerned."""
    found = Axe().run(page, options=_AXE).response["violations"]
    return [
        f"{violation['id']} ({violation['impact']}): {violation['help']}: "
        + " | ".join(f"{node['target']} {node['failureSummary']}" for node in violation["nodes"][:3])
        for violation in found
        if violation["impact"] in SEVERE
    ]


@pytest.mark.parametrize(
    ("language", "size", "dark"),
    [("en", DESKTOP, False), ("th", PHONE, True)],
    ids=["English, on a desk, by day", "Thai, on a telephone, by night"],
)
def test_every_page_is_whole_and_readable(
    language: str, size: tuple[int, int], dark: bool, desks: Mapping[str, Desk], seeded: Seeded, tmp_path: Path
) -> None:
    problems = []
    with desks["suda"].window(language=language, size=size, dark=dark) as page:
        for name, address in PAGES.items():
            page.goto(address.format(**asdict(seeded)))
            page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
            if language == "th" and not page.evaluate(THAI_LETTERS):
                problems.append(f"{name} leaves Thai letters to the reader's machine")
            if page.locator("html").get_attribute("lang") != language:
                problems.append(f"{name} is not in {language}")
            if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                problems.append(f"{name} is wider than its window")
            if name in SHOWS_AN_ANSWER and DISCLAIMER["th"] not in page.content():
                problems.append(f"{name} shows an answer without the disclaimer")
            problems += [f"{name}: {violation}" for violation in severe_violations(page)]
    assert problems == []

from __future__ import annotations

import re

import pytest

from tests.unit.console.people import browser
from tests.unit.console.rollout.desk import Desk

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
BADGE = re.compile(r'<td class="field-mode_badge.*?</td>', re.DOTALL)


@pytest.mark.parametrize("language", ["en", "th"])
def test_only_who_answers_now_is_green(language: str) -> None:
    desk = Desk()
    desk.roll_out(desk.first)
    desk.roll_out(desk.second)
    listed = browser(desk.somchai).get("/admin/rollout/route/", headers={"Accept-Language": language})
    assert ["bg-green" in badge for badge in BADGE.findall(listed.content.decode())] == [True, False]

from __future__ import annotations

import re

import pytest

from console.rollout import services
from tests.unit.console.people import browser
from tests.unit.console.rollout.desk import Desk

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
BADGE = re.compile(r'<td class="field-mode_badge.*?</td>', re.DOTALL)


@pytest.mark.parametrize(
    ("language", "production", "retired"), [("en", "production", "retired"), ("th", "ใช้งานจริง", "เลิกใช้แล้ว")]
)
def test_what_is_over_is_named_in_the_lists_too(language: str, production: str, retired: str) -> None:
    desk = Desk()
    desk.roll_out(desk.first)
    desk.roll_out(desk.second)
    services.retire(actor=desk.somchai, version_id=desk.third.pk, reason="never better")
    person = browser(desk.somchai)
    routes = person.get("/admin/rollout/route/", headers={"Accept-Language": language}).content.decode()
    assert [production in badge for badge in BADGE.findall(routes)] == [True, True]
    versions = person.get("/admin/registry/modelversion/", headers={"Accept-Language": language}).content.decode()
    newest = re.findall(r'<td class="field-state_badge.*?</td>', versions, re.DOTALL)[0]
    assert re.sub("<[^>]*>", "", newest).strip() == retired


@pytest.mark.parametrize("language", ["en", "th"])
def test_only_who_answers_now_is_green(language: str) -> None:
    desk = Desk()
    desk.roll_out(desk.first)
    desk.roll_out(desk.second)
    listed = browser(desk.somchai).get("/admin/rollout/route/", headers={"Accept-Language": language})
    assert ["bg-green" in badge for badge in BADGE.findall(listed.content.decode())] == [True, False]

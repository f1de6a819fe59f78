"""Two administrators give one person a role: who is second takes away nothing that they have not seen."""

from __future__ import annotations

import pytest

from console.site.roles import Role
from console.staff import services
from console.staff.models import User
from console.staff.queries import role_of
from tests.unit.console.people import browser, caller, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


@pytest.fixture
def suda() -> User:
    return member(Role.ADMINISTRATOR)


@pytest.fixture
def anong() -> User:
    return member(Role.REVIEWER, "anong")


def sent(page: str) -> dict[str, str]:
    """The form as a browser sends it, with what the page had hidden in it."""
    return {"role": Role.VIEWER, "seen": page.split('name="seen" value="')[1].split('"')[0]}


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "anong has become auditor since you looked. Nothing was changed."),
        ("th", "anong ได้รับบทบาทเป็นผู้ตรวจสอบหลังจากที่คุณเปิดดู ยังไม่ได้เปลี่ยนแปลงใด ๆ"),
    ],
)
def test_a_page_from_before_another_role_is_refused_and_says_which(
    suda: User, anong: User, language: str, told: str
) -> None:
    desk, address, headers = browser(suda), f"/admin/staff/user/{anong.pk}/role/", {"accept-language": language}
    old = sent(desk.get(address, headers=headers).content.decode())
    services.set_role(actor=suda, user_id=anong.pk, role=Role.AUDITOR)
    refused = desk.post(address, old, headers=headers).content.decode()
    assert told in refused
    assert role_of(anong) == Role.AUDITOR
    assert desk.post(address, sent(refused), headers=headers).status_code == 302  # who has seen it now may
    assert role_of(anong) == Role.VIEWER


def test_a_script_may_say_which_role_it_saw(suda: User, anong: User) -> None:
    script, address = caller(Role.ADMINISTRATOR), f"/api/v1/staff/{anong.pk}/role/"
    services.set_role(actor=suda, user_id=anong.pk, role=Role.AUDITOR)
    refused = script.post(address, {"role": "viewer", "seen": "reviewer"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "changed_meanwhile")
    assert script.post(address, {"role": "viewer", "seen": "auditor"}).json()["roles"] == ["viewer"]

"""A form that is refused: what is wrong stands before it and beside its field, in the language of its reader."""

from __future__ import annotations

import re

import pytest

from console.site.roles import Role
from tests.unit.console.people import browser, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
WEBHOOK = "/admin/webhooks/endpoint/new/"
DESCRIBED = re.compile(r'aria-describedby="([^"]+)"')


@pytest.mark.parametrize(
    ("language", "heading", "missing"),
    [("en", "Nothing was done yet:", "This field is required."), ("th", "ยังไม่ได้ดำเนินการใด ๆ:", "ฟิลด์นี้จำเป็น")],
)
def test_what_is_wrong_is_said_first_and_beside_each_field(language: str, heading: str, missing: str) -> None:
    person = browser(member(Role.ADMINISTRATOR))
    page = person.post(WEBHOOK, {"url": ""}, headers={"accept-language": language}).content.decode()
    summary = page[page.index("data-errors") : page.index("</ul>", page.index("data-errors"))]
    assert heading in summary
    assert summary.count(missing) == 2
    for anchor in re.findall(r'href="#([^"]+)"', summary):
        assert f'id="{anchor}"' in page
    assert page.count(missing) == 4  # and once beside each of the two
    assert "<title>" in page
    assert page.index("<title>") < page.index(":", page.index("<title>"))


def test_a_field_names_what_it_needs_and_what_is_wrong_with_it() -> None:
    person = browser(member(Role.ADMINISTRATOR))
    for page in (
        person.get(WEBHOOK),
        person.post(WEBHOOK, {"url": ""}),
        person.get("/admin/staff/apitoken/new-token/"),
    ):
        text = page.content.decode()
        named = [name for names in DESCRIBED.findall(text) for name in names.split()]
        assert named
        assert [name for name in named if f'id="{name}"' not in text] == []
        assert len(re.findall(r'\bid="([^"]+)"', text)) == len(set(re.findall(r'\bid="([^"]+)"', text)))


def test_many_boxes_are_a_group_with_a_name_and_offer_all_or_none() -> None:
    text = browser(member(Role.ADMINISTRATOR)).get(WEBHOOK).content.decode()
    group = text[text.index("<fieldset") : text.index("</fieldset>")]
    assert "<legend" in group
    assert 'data-all-of="events"' in group
    # A token is to be good for as little as may be: nothing offers it everything.
    assert "data-all-of" not in browser(member(Role.VIEWER)).get("/admin/staff/apitoken/new-token/").content.decode()

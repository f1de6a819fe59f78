"""A form that is refused: what is wrong stands before it and beside its field, in the language of its reader."""

from __future__ import annotations

import re

import pytest
from django.utils.translation import gettext, override

from console.clients import services as clients
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


NEW_CLIENT = "/admin/clients/client/add/"
PASSWORD = "/admin/password_change/"


@pytest.mark.parametrize("language", ["en", "th"])
@pytest.mark.parametrize(("address", "wrong"), [(NEW_CLIENT, 2), (PASSWORD, 3)])
def test_a_form_of_the_admin_s_own_says_first_what_is_wrong_too(address: str, wrong: int, language: str) -> None:
    """It said “Please correct the errors below”, to the eye alone."""
    person = browser(member(Role.ADMINISTRATOR))
    page = person.post(address, {}, headers={"accept-language": language}).content.decode()
    assert page.count("data-errors") == 1
    summary = page[page.index("data-errors") : page.index("</ul>", page.index("data-errors"))]
    with override(language):
        assert gettext("Nothing was done yet:") in summary
        assert summary.count(gettext("This field is required.")) == wrong
        if address == NEW_CLIENT:
            assert re.search(rf"<title>\s*{gettext('Not yet done')}:", page)
    anchors = re.findall(r'href="#([^"]+)"', summary)
    assert len(anchors) == wrong
    assert [anchor for anchor in anchors if f'id="{anchor}"' not in page] == []


def test_what_holds_for_a_whole_form_is_said_once() -> None:
    person = browser(lead := member(Role.ADMINISTRATOR))
    client = clients.create_client(actor=lead, name="shop")
    address = f"/admin/clients/client/{client.pk}/change/"
    seen = person.get(address).context["adminform"].form["seen"].value()
    clients.create_key(actor=lead, client_id=client.pk)
    page = person.post(address, {"calls_per_minute": "5", "models": "", "seen": seen}).content.decode()
    assert page.count("shop was changed since you looked") == 1
    assert page.index("data-errors") < page.index("shop was changed since you looked")


def test_a_field_names_what_it_needs_and_what_is_wrong_with_it() -> None:
    person = browser(member(Role.ADMINISTRATOR))
    for page in (
        person.get(WEBHOOK),
        person.post(WEBHOOK, {"url": ""}),
        person.get("/admin/staff/apitoken/new-token/"),
        person.get(NEW_CLIENT),
        person.post(NEW_CLIENT, {}),
        person.post(PASSWORD, {}),
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


def test_no_script_takes_the_focus_from_what_is_wrong() -> None:
    """Django's own gave it to the first field of whatever is added, now and then after the list of errors had it."""
    person = browser(member(Role.ADMINISTRATOR))
    assert "django-admin-form-add-constants" in person.get(NEW_CLIENT).content.decode()
    assert "django-admin-form-add-constants" not in person.post(NEW_CLIENT, {}).content.decode()

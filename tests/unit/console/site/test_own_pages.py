"""What belongs to somebody, on the console's pages × every role: its owner, and a colleague of the same role.

Every page of a row is of one person's rows, and says what each role may do with its own and with another's, or of the
house's. One that is neither fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from django.test import Client

from console.staff.models import User
from tests.console_pages import EVERYBODY, NOBODY, OF_A_ROW, declared
from tests.unit.console.people import browser, member
from tests.unit.console.site import things
from tests.unit.console.site.test_page_matrix import LETTERS
from tests.unit.console.site.things import Thing, at

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("consent", "static_files")]


@dataclass(frozen=True, slots=True)
class OwnedPage:
    """`own` and `foreign`: the roles whose form changes what is theirs, and what is another's."""

    make: Callable[[User], Thing]
    sent: dict[str, str]
    own: str
    foreign: str = NOBODY
    knows: str = NOBODY  # the roles that may know that there is another's: every other one hears what nothing says


# (page, what is done there) -> who may do it with what.
OWNED_PAGES: Final[dict[tuple[str, str], OwnedPage]] = {
    (f"staff/apitoken/{OF_A_ROW}change/", "look"): OwnedPage(things.token_row_of, {}, NOBODY, knows="x"),
    (f"staff/apitoken/{OF_A_ROW}revoke/", "revoke"): OwnedPage(things.token_row_of, {}, EVERYBODY, "x", "x"),
    # Nobody changes their own access; to end one's own sessions is offered by REST alone to who is no administrator.
    (f"staff/user/{OF_A_ROW}role/", "another role"): OwnedPage(things.access_of, {"role": "viewer"}, NOBODY, "x", "ux"),
    (f"staff/user/{OF_A_ROW}disable/", "disable"): OwnedPage(things.access_of, {}, NOBODY, "x", "ux"),
    (f"staff/user/{OF_A_ROW}enable/", "enable"): OwnedPage(things.no_access_of, {}, NOBODY, "x", "ux"),
    (f"staff/user/{OF_A_ROW}reset-access/", "reset"): OwnedPage(things.access_of, {}, NOBODY, "x", "ux"),
    (f"staff/user/{OF_A_ROW}end-sessions/", "end"): OwnedPage(things.access_of, {}, "x", "x", "ux"),
    (f"review/reviewitem/{OF_A_ROW}change/", "decide"): OwnedPage(
        things.held_by, {"answer": "unsure"}, "rx", knows="rmx"
    ),
    (f"review/reviewitem/{OF_A_ROW}change/", "give back"): OwnedPage(things.held_by, {"skip": "1"}, "rmx", knows="rmx"),
    (f"review/reviewitem/{OF_A_ROW}change/", "take back"): OwnedPage(
        things.decided_by, {"take-back": "1"}, "rx", knows="rmx"
    ),
    (f"review/reviewitem/{OF_A_ROW}change/", "answer what is known"): OwnedPage(
        things.asked_of, {"answer": "unsure"}, "rx", knows="rmx"
    ),
    (f"sheets/sheet/{OF_A_ROW}judge/", "take back"): OwnedPage(things.judged_by, {"take-back": "1"}, "rx", knows="rmx"),
}
# Of rows of the house, whatever they name who made them; who may is the role's affair (`test_page_matrix`).
EVERYBODYS_MODELS: Final = {
    "audit/entry", "audit/checkpoint", "vault/consent", "vault/subject", "clients/client", "clients/apikey",
    "predictions/prediction", "review/golditem", "datasets/dataset", "retraining/trainingjob", "registry/modelversion",
    "rollout/route", "rollout/experiment", "drift/finding", "privacy/privacyrequest", "retention/applied",
    "webhooks/endpoint", "webhooks/delivery",
}  # fmt: skip
# Of the others, what concerns the house's part of a row.
EVERYBODYS_PAGES: Final = {
    "try/<uuid:prediction_id>/",
    f"review/reviewitem/{OF_A_ROW}gold/",
    f"sheets/sheet/{OF_A_ROW}change/",
    f"sheets/sheet/{OF_A_ROW}answers/",
    f"sheets/sheet/{OF_A_ROW}remove/",
}


def test_every_page_of_a_row_says_whose_it_is() -> None:
    owned = {page for page, _what in OWNED_PAGES}
    assert not owned & EVERYBODYS_PAGES
    rows = {page for page, roles in declared().items() if "<" in page and set(roles) != {NOBODY}}
    models = {"/".join(page.split("/")[:2]): page for page in rows}
    assert models.keys() >= EVERYBODYS_MODELS - {"retention/applied"}  # whose rows have no page
    assert {page for page in rows if "/".join(page.split("/")[:2]) not in EVERYBODYS_MODELS} == owned | EVERYBODYS_PAGES


def answer(who: Client, page: str, key: object, sent: dict[str, str]) -> tuple[int, str]:
    """What they hear, and where they are led."""
    address = f"/admin/{at(page, key)}"
    told = who.post(address, sent) if sent or "change" not in page else who.get(address)
    return told.status_code, told.headers.get("Location", "").replace(str(key), "KEY")


@pytest.mark.parametrize("letter", LETTERS)
def test_each_role_changes_on_pages_what_is_said_and_hears_of_nothing_else(letter: str) -> None:
    role, wrong = LETTERS[letter], []
    for number, ((page, what), owned) in enumerate(OWNED_PAGES.items()):
        for whose, roles in (("own", owned.own), ("foreign", owned.foreign)):
            owner = member(role, f"owner-{number}-{whose}")
            signed_in = browser(owner)  # before their access changes
            who = signed_in if whose == "own" else browser(member(role, f"other-{number}"))
            thing = owned.make(owner)
            before = thing.state()
            heard = answer(who, page, thing.key, owned.sent)
            if (thing.state() != before) != (letter in roles) or heard[0] >= 500:
                wrong.append(f"{what} on {page}: {heard} for the {role}, {whose}: {before} -> {thing.state()}")
            nothing = answer(who, page, 999_999, owned.sent)
            if whose == "foreign" and letter not in owned.knows and heard != nothing:
                wrong.append(f"{page}: the {role} hears {heard} of another's and {nothing} of what is not there")
    assert wrong == []


@pytest.mark.parametrize("letter", LETTERS)
def test_the_pages_of_tokens_show_ones_own_and_no_others(letter: str) -> None:
    owner, other = member(LETTERS[letter], "owner"), member(LETTERS[letter], "other")
    page = f"/admin/staff/apitoken/{things.token_row_of(owner).key}/change/"

    def seen(person: User) -> tuple[Any, bool]:
        who = browser(person)
        return "nightly" in who.get("/admin/staff/apitoken/").content.decode(), who.get(page).status_code == 200

    assert seen(owner) == (True, True)
    assert seen(other) == (letter == "x", letter == "x")


@pytest.mark.parametrize("letter", LETTERS)
def test_nothing_of_djangos_own_looks_a_row_up_past_its_list(letter: str) -> None:
    """Completion and the way from any row to its page ask for no right to that row, and a history tells that it is."""
    owner, who = member(LETTERS[letter], "owner"), browser(member(LETTERS[letter], "other"))
    token, item = things.token_row_of(owner), things.held_by(owner)
    for address in (
        "autocomplete/?app_label=review&model_name=reviewitem&field_name=prediction&term=",
        f"r/1/{owner.pk}/",
        f"otp_totp/totpdevice/{owner.pk}/change/",
        "otp_totp/totpdevice/",
    ):
        assert who.get(f"/admin/{address}", follow=True).status_code == 404, address
    for model, key in (("staff/user", owner.pk), ("staff/apitoken", token.key), ("review/reviewitem", item.key)):
        heard = []
        for each in (key, 999_999):
            told = who.get(f"/admin/{model}/{each}/history/", follow=True)
            heard.append((told.status_code, [url.replace(str(each), "KEY") for url, _status in told.redirect_chain]))
        assert heard[0] == heard[1]

"""The admin's pages: who sees which, in both languages, at what cost, and that they do what they say."""

from __future__ import annotations

import base64
import re
import time

import pytest
from django.test import Client as Browser
from django.urls import reverse
from django_otp.oath import TOTP
from pytest_django import DjangoAssertNumQueries, Settings

from console.audit.models import Entry
from console.audit.queries import entries_about
from console.audit.words import words_with
from console.clients import services as clients
from console.clients.models import ApiKey, Client
from console.ingest.services import apply_batch
from console.registry.models import ModelVersion, State
from console.rollout import services as rollout
from console.rollout.models import Mode, Route
from console.site.roles import Role
from console.staff.models import ApiToken, User
from console.staff.services import create_user
from tests.console_events import prediction_event
from tests.unit.console.people import member
from tests.unit.console.versions import TorchServeInMemory, a_version

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def at_the_desk(role: Role, name: str = "desk") -> tuple[Browser, User]:
    """A browser in which somebody with this role has logged in."""
    staff = create_user(name=name, role=role)
    factor = TOTP(base64.b32decode(staff.totp_seed))
    factor.time = time.time()
    browser = Browser()
    given = {"username": name, "password": staff.password, "code": f"{factor.token():06d}"}
    assert browser.post("/admin/login/", given).status_code == 302
    return browser, staff.user


@pytest.mark.parametrize("role", Role)
def test_each_role_is_led_to_pages_that_it_sees(role: Role) -> None:
    browser, _ = at_the_desk(role)
    links = re.findall(r'href="(/admin/[^"]*)" class="flex h-\[38px\]', browser.get("/admin/").content.decode())
    assert links
    assert all(browser.get(link, follow=True).status_code == 200 for link in links)


@pytest.mark.parametrize(("language", "word"), [("en", "What needs a person"), ("th", "สิ่งที่รอคน")])
def test_pages_speak_the_readers_language(language: str, word: str) -> None:
    browser, _ = at_the_desk(Role.ADMINISTRATOR)
    page = browser.get("/admin/", headers={"Accept-Language": language}).content.decode()
    assert word in page
    assert f'lang="{language}"' in page
    browser.post("/i18n/setlang/", {"language": "th"})
    assert "สิ่งที่รอคน" in browser.get("/admin/").content.decode()


def test_a_version_is_approved_and_rolled_back_from_its_page() -> None:
    browser, somchai = at_the_desk(Role.APPROVER)
    malee = member(Role.MODEL_ENGINEER)
    old = a_version(malee, state=State.APPROVED, number=1, approver=somchai)
    new = a_version(malee, number=2)
    for version in (old, new):
        if version == new:
            page = browser.get(reverse("admin:registry_modelversion_change", args=[new.pk])).content.decode()
            approve = reverse("admin:registry_modelversion_approve", args=[new.pk])
            assert approve in page
            assert browser.post(approve, {"reason": ""}).status_code == 200
            assert ModelVersion.objects.get(pk=new.pk).state == State.SMOKE_TESTED
            assert browser.post(approve, {"reason": "good"}).status_code == 302
        rollout.roll_out(
            actor=somchai, version_id=version.pk, mode=Mode.PRODUCTION, weight_ratio=1.0, reason="go",
            backend=TorchServeInMemory,
        )  # fmt: skip
    back = reverse("admin:registry_modelversion_roll_back", args=[new.pk])
    assert old.version in browser.get(back).content.decode()  # the page says where it leads
    assert browser.post(back, {"reason": "bad"}).status_code == 302
    assert Route.objects.get(ended_at=None).version == old


def three_in_a_row(somchai: User) -> list[ModelVersion]:
    """Versions that were in production one after the other; the last one is."""
    malee = member(Role.MODEL_ENGINEER)
    versions = [a_version(malee, state=State.APPROVED, number=number, approver=somchai) for number in (1, 2, 3)]
    for version in versions:
        rollout.roll_out(
            actor=somchai, version_id=version.pk, mode=Mode.PRODUCTION, weight_ratio=1.0, reason="go",
            backend=TorchServeInMemory,
        )  # fmt: skip
    return versions


def given_by(form: str) -> dict[str, str]:
    """What a form sends when nobody changes it."""
    reason = re.search(r'<textarea name="reason"[^>]*>\s*([^<]*)</textarea>', form)
    ends = re.search(r'name="ends" value="(\d*)"', form)
    assert reason is not None
    assert ends is not None
    return {"reason": reason[1].strip(), "ends": ends[1]}


@pytest.mark.parametrize("where", ["home", "route", "routes", "version"])
def test_a_rollback_is_one_click_and_a_confirmation_away(where: str) -> None:
    browser, somchai = at_the_desk(Role.APPROVER)
    _first, second, third = three_in_a_row(somchai)
    route = Route.objects.get(ended_at=None)
    page = {
        "home": "/admin/",
        "route": reverse("admin:rollout_route_change", args=[route.pk]),
        "routes": reverse("admin:rollout_route_changelist"),
        "version": reverse("admin:registry_modelversion_change", args=[third.pk]),
    }[where]
    address = reverse("admin:registry_modelversion_roll_back", args=[third.pk])
    found = re.search(rf'href="({address}[^"]*)"', browser.get(page).content.decode())
    assert found is not None
    asked = browser.get(found[1]).content.decode()
    assert f"<strong>{second.version}</strong>" in asked  # what answers afterwards
    done = browser.post(found[1], given_by(asked), follow=True)
    assert done.redirect_chain[0][0] == (
        page if where in ("home", "version") else reverse("admin:rollout_route_changelist")
    )
    assert f"{second} is in production" in done.content.decode()
    assert Route.objects.get(ended_at=None).version == second
    told = entries_about("model", "tiny").last()
    assert told is not None
    assert told.type == "rollout.rolled_back"
    typed = words_with(told)
    assert typed is not None
    assert '"reason":"It had to be quick: the cause is looked for afterwards."' in typed.payload.text


def test_a_rollback_is_offered_to_whom_it_is_allowed() -> None:
    _, somchai = at_the_desk(Role.APPROVER)
    three_in_a_row(somchai)
    for role, offered in ((Role.VIEWER, False), (Role.AUDITOR, False), (Role.MODEL_ENGINEER, True)):
        browser, _ = at_the_desk(role, f"desk-{role.name.lower()}")
        assert ("/roll-back" in browser.get("/admin/").content.decode()) is offered


def test_a_rollback_undoes_what_was_seen_and_not_what_came_of_it_since() -> None:
    browser, somchai = at_the_desk(Role.APPROVER)
    first, second, third = three_in_a_row(somchai)
    address = reverse("admin:registry_modelversion_roll_back", args=[third.pk])
    seen = given_by(browser.get(address).content.decode())
    rollout.roll_back(actor=somchai, model="tiny", reason="a colleague was faster")
    late = browser.post(address, seen)
    assert late.status_code == 200
    assert "at the same moment" in late.content.decode()
    assert Route.objects.get(ended_at=None).version == second
    assert browser.post(address, given_by(late.content.decode())).status_code == 302  # what the page shows by now
    assert Route.objects.get(ended_at=None).version == first


def test_a_refusal_stands_beside_its_field_and_changes_nothing() -> None:
    browser, suda = at_the_desk(Role.ADMINISTRATOR)
    own = a_version(suda)
    answered = browser.post(reverse("admin:registry_modelversion_approve", args=[own.pk]), {"reason": "mine"})
    assert answered.status_code == 200
    assert "second person" in answered.content.decode()
    assert ModelVersion.objects.get().state == State.SMOKE_TESTED


def test_a_page_of_something_that_is_not_there_says_so() -> None:
    browser, _ = at_the_desk(Role.APPROVER)
    answered = browser.get(reverse("admin:registry_modelversion_approve", args=[999_999]))
    assert answered.status_code == 404
    assert "999999" in answered.content.decode()


def test_a_client_is_made_changed_and_given_a_key_that_is_shown_once() -> None:
    browser, _ = at_the_desk(Role.ADMINISTRATOR)
    added = browser.post(
        reverse("admin:clients_client_add"), {"name": "web-shop", "calls_per_minute": "50", "models": "tiny, coins"}
    )
    assert added.status_code == 302, added.content.decode()
    client = Client.objects.get()
    assert (client.calls_per_minute, client.model_names) == (50, ["tiny", "coins"])
    change = reverse("admin:clients_client_change", args=[client.pk])
    assert browser.post(change, {"calls_per_minute": "60", "models": ""}).status_code == 302
    client.refresh_from_db()
    assert (client.name, client.calls_per_minute, client.model_names) == ("web-shop", 60, [])
    shown = browser.post(reverse("admin:clients_client_new_key", args=[client.pk]), {})
    key = re.search(r"amk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", shown.content.decode())
    assert key is not None
    assert "no-store" in shown["Cache-Control"]
    assert key[0] not in browser.get(reverse("admin:clients_apikey_changelist")).content.decode()
    revoke = reverse("admin:clients_apikey_revoke", args=[ApiKey.objects.get().pk])
    assert browser.get(revoke).status_code == 200
    assert ApiKey.objects.get().revoked_at is None  # looking changes nothing
    assert browser.post(revoke).status_code == 302
    assert ApiKey.objects.get().revoked_at is not None


def test_somebody_is_hired_and_sees_only_their_own_tokens() -> None:
    browser, _ = at_the_desk(Role.ADMINISTRATOR)
    asked = browser.get(reverse("admin:staff_user_add_staff")).context["form"]["role"]
    assert [option.data["value"] for option in asked if option.data["selected"]] in ([], [""])  # nobody's by default
    shown = browser.post(reverse("admin:staff_user_add_staff"), {"name": "nid", "role": "viewer"}).content.decode()
    assert "<svg" in shown
    assert "amt_" not in shown  # a token is made by whose it is
    viewer, anong = at_the_desk(Role.VIEWER, "anong")
    page = viewer.get(reverse("admin:staff_apitoken_changelist")).content.decode()
    others = ApiToken.objects.exclude(user=anong)
    assert others.exists()
    assert not any(token.key_id in page for token in others)
    foreign = reverse("admin:staff_apitoken_revoke", args=[others[0].pk])
    assert viewer.post(foreign).status_code == 404
    assert not ApiToken.objects.exclude(revoked_at=None).exists()


def test_a_token_is_made_until_a_day_that_is_to_come() -> None:
    viewer, anong = at_the_desk(Role.VIEWER, "anong")
    address = reverse("admin:staff_apitoken_new_token")
    given = {"name": "nightly", "scopes": ["read"], "expires_at_0": "2020-01-31", "expires_at_1": "12:00"}
    assert "A token must expire in the future." in viewer.post(address, given).content.decode()
    assert not ApiToken.objects.filter(name="nightly").exists()
    shown = viewer.post(address, {**given, "expires_at_0": "2099-01-31"}).content.decode()
    assert re.search(r"amt_[0-9a-f]{12}_", shown)
    made = ApiToken.objects.get(user=anong, name="nightly")
    assert made.expires_at is not None
    assert made.expires_at.year == 2099


def test_somebody_is_signed_out_everywhere_after_a_confirmation() -> None:
    browser, _ = at_the_desk(Role.ADMINISTRATOR)
    viewer, anong = at_the_desk(Role.VIEWER, "anong")
    address = reverse("admin:staff_user_end_sessions", args=[anong.pk])
    assert address in browser.get(reverse("admin:staff_user_changelist")).content.decode()
    assert browser.get(address).status_code == 200
    assert viewer.get("/admin/").status_code == 200  # looking ends nothing
    assert browser.post(address).status_code == 302
    assert viewer.get("/admin/").status_code == 302


def test_lists_cost_the_same_however_long_they_are(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    browser, suda = at_the_desk(Role.ADMINISTRATOR)
    malee = member(Role.MODEL_ENGINEER)
    for number in range(1, 31):
        a_version(malee, number=number)
        clients.create_client(actor=suda, name=f"client {number}")
    for page, most in (
        ("registry_modelversion", 13),
        ("clients_client", 11),
        ("rollout_route", 12),
        ("staff_user", 11),
    ):
        with django_assert_max_num_queries(most):
            assert browser.get(reverse(f"admin:{page}_changelist")).status_code == 200


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("none: nothing was fitted, 0", "macro f1", "isolation forest 1 / 2")),
        ("th", ("ไม่มี: ไม่ได้ปรับค่าใด, 0", "F1 เฉลี่ยทุกประเภท", "ไอโซเลชันฟอเรสต์ 1 / 2")),
    ],
)
def test_what_a_card_says_is_compared_in_the_readers_language(language: str, words: tuple[str, ...]) -> None:
    browser, _ = at_the_desk(Role.VIEWER)
    malee = member(Role.MODEL_ENGINEER)
    one, other = (a_version(malee, number=number) for number in (1, 2))
    page = browser.get(
        reverse("admin:registry_modelversion_compare"),
        {"a": one.pk, "b": other.pk},
        headers={"Accept-Language": language},
    ).content.decode()
    assert [word for word in words if word not in page] == []
    assert ("nothing was fitted" in page) is (language == "en")
    version = browser.get(
        reverse("admin:registry_modelversion_change", args=[one.pk]), headers={"Accept-Language": language}
    ).content.decode()
    assert [word for word in (words[1], words[2].partition(" 1 ")[0]) if word not in version] == []


@pytest.mark.parametrize(("language", "said"), [("en", "as its owner says"), ("th", "ตามที่เจ้าของระบุ")])
def test_the_licence_of_the_users_own_weights_is_said_in_the_readers_language(language: str, said: str) -> None:
    browser, _ = at_the_desk(Role.VIEWER)
    malee = member(Role.MODEL_ENGINEER)
    one, other = (a_version(malee, number=number) for number in (1, 2))
    for version in (one, other):
        assert version.card_document is not None
        version.card_document["weights"]["licence"] = "as its owner says"
        version.save()
    compared = reverse("admin:registry_modelversion_compare") + f"?a={one.pk}&b={other.pk}"
    for address in (compared, reverse("admin:registry_modelversion_change", args=[one.pk])):
        page = browser.get(address, headers={"Accept-Language": language}).content.decode()
        assert said in page
        assert ("as its owner says" in page) is (language == "en")


def test_a_page_asked_in_a_way_that_it_does_not_know_says_so_in_the_readers_language() -> None:
    browser, _ = at_the_desk(Role.VIEWER)
    address = reverse("admin:predictions_prediction_changelist")
    for language, words in (("en", "This address cannot be read"), ("th", "อ่านที่อยู่นี้ไม่ได้")):
        answered = browser.get(address, {"no_such_filter": "1"}, headers={"Accept-Language": language})
        assert answered.status_code == 400
        assert words in answered.content.decode()


def test_a_list_that_is_never_counted_tells_no_size_and_where_it_ends() -> None:
    browser, _ = at_the_desk(Role.ADMINISTRATOR)
    address = reverse("admin:audit_entry_changelist")
    assert "9999999999" not in re.sub(r"[,.\s]", "", browser.get(address).content.decode())
    beyond = browser.get(address, {"p": "40"}).content.decode()
    assert "The list ends before it." in beyond
    assert "Nothing here yet" not in beyond


@pytest.mark.parametrize(("language", "said"), [("en", "signed in"), ("th", "เข้าสู่ระบบ")])
def test_an_entry_says_what_was_done_and_a_version_of_which_model_it_is(language: str, said: str) -> None:
    """Both stood in the window's title alone, where few look and an erased entry has nothing else."""
    browser, lead = at_the_desk(Role.ADMINISTRATOR)
    version = a_version(lead, number=1)
    entry = Entry.objects.get(type="staff.signed_in")
    for name, row, words in (
        ("audit_entry_change", entry.pk, said),
        ("registry_modelversion_change", version.pk, version.model),
    ):
        page = browser.get(reverse(f"admin:{name}", args=[row]), headers={"Accept-Language": language}).content.decode()
        assert re.search(rf"<td>{re.escape(words)}\b", page), name


def test_a_heading_keeps_a_name_as_it_is_written() -> None:
    browser, lead = at_the_desk(Role.ADMINISTRATOR)
    client = clients.create_client(actor=lead, name="web-shop")
    page = browser.get(reverse("admin:clients_client_change", args=[client.pk])).content.decode()
    assert re.search(r"<h1.*?>\s*web-shop\s*</a", page, re.DOTALL)
    assert re.search(r"<h1.*?>\s*Clients\s*</a", page, re.DOTALL)


def test_a_token_is_shown_in_words() -> None:
    viewer, anong = at_the_desk(Role.VIEWER)
    token = ApiToken.objects.get(user=anong)
    page = viewer.get(reverse("admin:staff_apitoken_change", args=[token.pk])).content.decode()
    assert "everything that its owner may do" in page
    assert "&quot;all&quot;" not in page


@pytest.mark.parametrize(("language", "words"), [("en", "or code is not right"), ("th", "หรือรหัสหกหลักไม่ถูกต้อง")])
def test_a_refused_sign_in_names_the_code_too(language: str, words: str) -> None:
    given = {"username": "nobody", "password": "wrong", "code": "000000"}
    page = Browser().post("/admin/login/", given, headers={"Accept-Language": language}).content.decode()
    assert words in page


def test_what_happened_to_a_prediction_is_said_in_words() -> None:
    browser, _ = at_the_desk(Role.ADMINISTRATOR)
    event = prediction_event()
    apply_batch([event])
    address = reverse("admin:predictions_prediction_change", args=[event.prediction.prediction_id])
    page = browser.get(address).content.decode()
    assert "prediction.made" not in page
    assert "prediction made" in page


@pytest.mark.parametrize(("language", "words"), [("en", "To the home page"), ("th", "กลับหน้าแรก")])
def test_a_changed_password_leads_on(language: str, words: str) -> None:
    viewer, _ = at_the_desk(Role.VIEWER)
    page = viewer.get("/admin/password_change/done/", headers={"Accept-Language": language}).content.decode()
    content = page.partition('id="content-main"')[2]
    assert re.search(rf'<a href="/admin/"[^>]*>\s*{words}\s*</a>', content)

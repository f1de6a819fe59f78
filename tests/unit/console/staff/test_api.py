"""Who works here and with which tokens, as a script reads and changes it."""

from __future__ import annotations

import base64
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils.timezone import now
from django_otp.oath import TOTP
from rest_framework.test import APIClient

from console.audit.models import Entry, Payload
from console.audit.queries import entries_about
from console.errors import NotAllowed
from console.site.roles import Role
from console.staff.models import ApiToken, User
from console.staff.services import create_token, revoke_token, set_active
from tests.unit.console.people import NAMES, browser, caller, member

pytestmark = pytest.mark.django_db
LOOK = "/api/v1/versions/"


def script(text: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {text}")
    return client


def reason(answer: Any) -> tuple[int, str]:
    assert answer["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["reason"]


def code_of(access: dict[str, Any]) -> str:
    factor = TOTP(base64.b32decode(access["totp_seed"]))
    factor.time = time.time()
    return f"{factor.token():06d}"


def signs_in(access: dict[str, Any], **wrong: str) -> bool:
    given = {"username": access["name"], "password": access["password"], "code": code_of(access), **wrong}
    return Browser().post("/admin/login/", given).status_code == 302


def told_of(user: User) -> list[str]:
    return [entry.type for entry in entries_about("user", str(user.pseudonym))]


def test_staff_are_listed_by_name_with_their_roles() -> None:
    script = caller(Role.ADMINISTRATOR)
    somchai = member(Role.APPROVER)
    set_active(actor=member(Role.ADMINISTRATOR), user_id=somchai.pk, active=False)
    rows = script.get("/api/v1/staff/").json()["results"]
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    (found,) = script.get("/api/v1/staff/?role=approver").json()["results"]
    assert (found["name"], found["roles"], found["active"]) == ("somchai", ["approver"], False)
    assert "somchai" not in {row["name"] for row in script.get("/api/v1/staff/?active=true").json()["results"]}


def test_everybody_sees_their_own_tokens_and_an_administrator_all() -> None:
    malee = member(Role.MODEL_ENGINEER)
    text = create_token(user=malee, name="nightly", actor=malee, scopes=["read"]).text
    own = caller(Role.VIEWER).get("/api/v1/staff/tokens/").json()["results"]
    assert {row["of"] for row in own} == {f"{NAMES[Role.VIEWER]}-script"}
    answer = caller(Role.ADMINISTRATOR).get("/api/v1/staff/tokens/")
    (found,) = (row for row in answer.json()["results"] if row["name"] == "nightly")
    assert (found["of"], found["scopes"], found["revoked_at"]) == ("malee", ["read"], None)
    assert text.split("_", 2)[2] not in answer.content.decode()


@pytest.mark.usefixtures("static_files")
def test_somebody_is_hired_and_comes_in_with_both_factors_only() -> None:
    boss = caller(Role.ADMINISTRATOR)
    made = boss.post("/api/v1/staff/", {"name": "nid", "role": "model-engineer"})
    assert made.status_code == 201
    access = made.json()
    assert (access["name"], access["role"]) == ("nid", "model engineer")
    assert signs_in(access)
    assert not signs_in(access, code="000000")  # later, since a wrong one bars the next for a second
    nid = User.objects.get(pk=access["id"])
    assert not ApiToken.objects.filter(user=nid).exists()  # nobody else holds one of hers
    hired = entries_about("user", str(nid.pseudonym))[0]
    assert (hired.type, hired.actor) == ("staff.user_created", str(User.objects.get(username="suda-script").pseudonym))
    shown = boss.get("/api/v1/staff/").content.decode() + "".join(Payload.objects.values_list("text", flat=True))
    assert access["password"] not in shown
    assert access["totp_seed"] not in shown
    assert reason(boss.post("/api/v1/staff/", {"name": "nid", "role": "viewer"})) == (409, "name_taken")
    refused = boss.post("/api/v1/staff/", {"name": "noi", "role": "king"})
    assert (refused.status_code, refused.json()["field"]) == (400, "role")


def test_hiring_again_under_one_key_makes_nobody_twice_and_shows_the_same() -> None:
    boss = caller(Role.ADMINISTRATOR)
    sent = [
        boss.post("/api/v1/staff/", {"name": "nid", "role": "viewer"}, HTTP_IDEMPOTENCY_KEY="hire nid, once for all")
        for _ in range(2)
    ]
    assert [answer.status_code for answer in sent] == [201, 201]
    assert sent[0].content == sent[1].content
    assert User.objects.filter(username="nid").count() == 1


def test_a_role_is_changed_by_somebody_else_and_ends_what_was_open() -> None:
    boss, anong = caller(Role.ADMINISTRATOR), member(Role.VIEWER)
    open_page, token = browser(anong), create_token(user=anong, name="nightly", actor=anong).text
    address = f"/api/v1/staff/{anong.pk}/role/"
    same = boss.post(address, {"role": "viewer"})
    assert (same.status_code, script(token).get(LOOK).status_code) == (200, 200)
    changed = boss.post(address, {"role": "administrator"})
    assert (changed.status_code, changed.json()["roles"]) == (200, ["administrator"])
    assert (open_page.get(LOOK).status_code, script(token).get(LOOK).status_code) == (401, 401)
    assert told_of(anong).count("staff.role_changed") == 1
    refused = boss.post(address, {"role": "king"})
    assert (refused.status_code, refused.json()["field"]) == (400, "role")
    assert "model engineer" in refused.json()["detail"]


def test_somebody_is_kept_out_and_let_in_again_each_told_once() -> None:
    boss, anong = caller(Role.ADMINISTRATOR), member(Role.VIEWER)
    open_page, token = browser(anong), create_token(user=anong, name="nightly", actor=anong).text
    for _ in range(2):
        assert boss.post(f"/api/v1/staff/{anong.pk}/disable/").json()["active"] is False
    assert (open_page.get(LOOK).status_code, script(token).get(LOOK).status_code) == (401, 401)
    for _ in range(2):
        assert boss.post(f"/api/v1/staff/{anong.pk}/enable/").json()["active"] is True
    assert (open_page.get(LOOK).status_code, script(token).get(LOOK).status_code) == (401, 200)
    assert [kind for kind in told_of(anong) if "abled" in kind] == ["staff.user_disabled", "staff.user_enabled"]


def test_sessions_are_ended_and_tokens_stay() -> None:
    boss, anong = caller(Role.ADMINISTRATOR), member(Role.VIEWER)
    pages, token = [browser(anong), browser(anong)], create_token(user=anong, name="nightly", actor=anong).text
    assert boss.post(f"/api/v1/staff/{anong.pk}/end-sessions/").status_code == 204
    assert [page.get(LOOK).status_code for page in pages] == [401, 401]
    assert script(token).get(LOOK).status_code == 200
    assert "staff.sessions_ended" in told_of(anong)


def test_a_person_may_end_their_own_sessions_and_nobody_elses() -> None:
    anong, prasert = member(Role.VIEWER), member(Role.REVIEWER)
    mine, theirs = browser(anong), browser(prasert)
    text = create_token(user=anong, name="nightly", actor=anong).text
    assert script(text).post(f"/api/v1/staff/{prasert.pk}/end-sessions/").status_code == 403
    assert script(text).post(f"/api/v1/staff/{anong.pk}/end-sessions/").status_code == 204
    assert (mine.get(LOOK).status_code, theirs.get(LOOK).status_code) == (401, 200)


@pytest.mark.usefixtures("static_files")
def test_access_is_reset_for_who_lost_it() -> None:
    boss = caller(Role.ADMINISTRATOR)
    first = boss.post("/api/v1/staff/", {"name": "nid", "role": "viewer"}).json()
    second = boss.post(f"/api/v1/staff/{first['id']}/reset-access/").json()
    assert second.keys() == first.keys()
    assert not signs_in(first)
    assert signs_in(second)


@pytest.mark.parametrize(
    ("what", "body"), [("role", {"role": "viewer"}), ("disable", {}), ("enable", {}), ("reset-access", {})]
)
def test_nobody_changes_their_own_access(what: str, body: dict[str, str]) -> None:
    boss = caller(Role.ADMINISTRATOR)
    me = User.objects.get(username=f"{NAMES[Role.ADMINISTRATOR]}-script")
    entries = Entry.objects.count()
    assert reason(boss.post(f"/api/v1/staff/{me.pk}/{what}/", body)) == (403, "not_allowed")
    assert Entry.objects.count() == entries


def test_a_token_is_made_shown_once_and_revoked() -> None:
    malee = browser(member(Role.MODEL_ENGINEER))
    soon = now() + timedelta(days=30)
    body = {"name": "nightly", "scopes": ["models:write", "read"], "expires_at": soon.isoformat()}
    made = malee.post("/api/v1/staff/tokens/", json.dumps(body), content_type="application/json")
    assert made.status_code == 201
    issued = made.json()
    assert issued["scopes"] == ["read", "models:write"]
    assert script(issued["token"]).get(LOOK).status_code == 200
    assert issued["token"].split("_", 2)[2] not in malee.get("/api/v1/staff/tokens/").content.decode()
    assert not any(issued["token"] in text for text in Payload.objects.values_list("text", flat=True))
    for _ in range(2):
        revoked = malee.post(f"/api/v1/staff/tokens/{issued['key_id']}/revoke/", content_type="application/json")
        assert revoked.status_code == 200
        assert revoked.json()["revoked_at"]
    assert script(issued["token"]).get(LOOK).status_code == 401
    told = [entry.type for entry in entries_about("api_token", issued["key_id"])]
    assert told == ["staff.token_created", "staff.token_revoked"]


def test_only_an_administrator_revokes_what_is_anothers() -> None:
    malee = member(Role.MODEL_ENGINEER)
    issued = create_token(user=malee, name="nightly", actor=malee)
    address = f"/api/v1/staff/tokens/{issued.token.key_id}/revoke/"
    assert reason(caller(Role.APPROVER).post(address)) == (404, "not_found")  # which tells nobody that there is one
    assert script(issued.text).get(LOOK).status_code == 200
    assert caller(Role.ADMINISTRATOR).post(address).json()["of"] == "malee"
    assert script(issued.text).get(LOOK).status_code == 401


def test_a_token_hands_on_no_more_than_it_has_and_for_no_longer() -> None:
    malee = member(Role.MODEL_ENGINEER)
    end = now() + timedelta(days=1)
    own = ["read", "staff:write"]
    asking = script(create_token(user=malee, name="rotates", actor=malee, scopes=own, expires_at=end).text)

    def asked(scopes: list[str], expires_at: object) -> Any:
        return asking.post("/api/v1/staff/tokens/", {"name": "next", "scopes": scopes, "expires_at": expires_at})

    for more in ("all", "models:write"):
        refused = asked([more], end.isoformat())
        assert (*reason(refused), refused.json()["field"]) == (403, "not_allowed", "scopes")
    for later in (None, (end + timedelta(seconds=1)).isoformat()):
        refused = asked(own, later)
        assert (*reason(refused), refused.json()["field"]) == (403, "not_allowed", "expires_at")
    made = asked(own, end.isoformat())
    assert made.status_code == 201
    payload = json.loads(entries_about("api_token", made.json()["key_id"])[0].payload.text)
    assert payload["asked_with"] == ApiToken.objects.get(name="rotates").key_id


class TestWhatATokenMade:
    """A token in strange hands may have made others: whoever revokes it ends them too."""

    @pytest.fixture
    def malee(self) -> User:
        return member(Role.MODEL_ENGINEER)

    @pytest.fixture
    def line(self, malee: User) -> list[str]:
        """The texts of one that was stolen, one that it made, and one that this one made; and one that is nobody's."""
        scopes = ["read", "staff:write"]
        texts = [create_token(user=malee, name="stolen", actor=malee, scopes=scopes).text]
        for name in ("its own", "its own one's"):
            made = script(texts[-1]).post("/api/v1/staff/tokens/", {"name": name, "scopes": scopes})
            assert made.status_code == 201
            texts.append(made.json()["token"])
        return [*texts, create_token(user=malee, name="another", actor=malee, scopes=scopes).text]

    def test_all_of_it_ends_with_it_and_each_is_in_the_trail(self, malee: User, line: list[str]) -> None:
        keys = dict(ApiToken.objects.values_list("name", "key_id"))
        listed = browser(malee).get("/api/v1/staff/tokens/").json()["results"]
        assert {row["name"]: row["made_with"] for row in listed} == {
            "first": None, "stolen": None, "its own": keys["stolen"], "its own one's": keys["its own"], "another": None,
        }  # fmt: skip
        done = script(line[-1]).post(f"/api/v1/staff/tokens/{keys['stolen']}/revoke/")
        assert done.json()["also_revoked"] == [keys["its own"], keys["its own one's"]]
        assert [script(text).get(LOOK).status_code for text in line] == [401, 401, 401, 200]
        for name in ("its own", "its own one's"):
            entry = entries_about("api_token", keys[name]).last()
            assert entry is not None
            assert (entry.type, json.loads(entry.payload.text)["made_with"]) == ("staff.token_revoked", keys["stolen"])

    def test_a_script_that_made_its_successor_ends_itself_alone(self, malee: User, line: list[str]) -> None:
        key_id = ApiToken.objects.get(name="stolen").key_id
        done = script(line[1]).post(f"/api/v1/staff/tokens/{key_id}/revoke/", {"keep_made": True})
        assert (done.status_code, done.json()["also_revoked"]) == (200, [])
        assert [script(text).get(LOOK).status_code for text in line] == [401, 200, 200, 200]
        late = script(line[-1]).post(f"/api/v1/staff/tokens/{key_id}/revoke/")  # it was stolen after all
        assert len(late.json()["also_revoked"]) == 2
        assert [script(text).get(LOOK).status_code for text in line] == [401, 401, 401, 200]

    @pytest.mark.usefixtures("static_files")
    def test_the_page_says_what_ends_and_can_leave_it(self, malee: User, line: list[str]) -> None:
        _first, stolen, second, _third, another = ApiToken.objects.order_by("pk")
        page = browser(malee)
        assert "Made with" in page.get("/admin/staff/apitoken/").content.decode()
        asked = page.get(f"/admin/staff/apitoken/{stolen.pk}/revoke/").content.decode()
        assert f"what was made with it: its own ({second.key_id})," in asked
        assert "keep_made" not in page.get(f"/admin/staff/apitoken/{another.pk}/revoke/").content.decode()
        page.post(f"/admin/staff/apitoken/{stolen.pk}/revoke/", {"keep_made": "on"})
        assert [script(text).get(LOOK).status_code for text in line] == [401, 200, 200, 200]
        told = page.post(f"/admin/staff/apitoken/{second.pk}/revoke/", follow=True).content.decode()
        assert "is revoked. With it: " in told
        assert [script(text).get(LOOK).status_code for text in line] == [401, 401, 401, 200]

    def test_what_was_revoked_this_moment_makes_none(self, malee: User) -> None:
        asking = create_token(user=malee, name="stolen", actor=malee).token
        revoke_token(key_id=asking.key_id, actor=malee)
        with pytest.raises(NotAllowed):
            create_token(user=malee, name="its own", actor=malee, asked_with=asking)
        assert not ApiToken.objects.filter(name="its own").exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["admin"]}, "scopes.0"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"user": 1}, "user"),
        ({"name": " "}, "name"),
    ],
)
def test_an_unfit_token_is_refused_by_its_field(wrong: dict[str, object], field: str) -> None:
    answer = caller(Role.VIEWER).post("/api/v1/staff/tokens/", {"name": "n", "scopes": ["read"], **wrong})
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert ApiToken.objects.count() == 1

"""A download or an upload that is under way when the access of whoever asked for it ends breaks off, and no other."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pytest
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test import Client
from django.utils.timezone import now
from django_otp.plugins.otp_totp.models import TOTPDevice
from PIL import Image
from rest_framework.test import APIClient

from console.audit.services import NewEntry, append
from console.errors import NotAllowed
from console.privacy import services as privacy
from console.registry import uploads
from console.registry.uploads import start_upload
from console.site.roles import Role
from console.staff import services
from console.staff.models import ApiToken, User
from tests.console_events import CLASSES
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import browser, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_checkpoints")]
API: Final = "/api/v1"


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.staff.long_calls.LOOK_EVERY_S", 0.0)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads something long, and how they were let in."""

    person: User
    client: Client
    token: ApiToken | None = None
    maker: ApiToken | None = None  # the token with which `token` was made


def with_token(person: User) -> Reader:
    maker = services.create_token(user=person, name="maker", actor=person).token
    made = services.create_token(user=person, name="reads", actor=person, asked_with=maker)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {made.text}")
    return Reader(person, client, made.token, maker)


def with_session(person: User) -> Reader:
    return Reader(person, browser(person))


WAYS: Final[dict[str, Callable[[User], Reader]]] = {"token": with_token, "session": with_session}


def administrator() -> User:
    return member(Role.ADMINISTRATOR, "another")


def revoke(token: ApiToken | None) -> None:
    assert token is not None
    services.revoke_token(key_id=token.key_id, actor=token.user)


def expire(token: ApiToken | None) -> None:
    assert token is not None
    ApiToken.objects.filter(pk=token.pk).update(expires_at=now())


def elsewhere(reader: Reader, address: str, **sent: str) -> None:
    """The same person sends this from another browser."""
    assert browser(reader.person).post(address, sent).status_code in (200, 302)


def over(reader: Reader) -> None:
    rows = Session.objects.filter(pk=reader.client.session.session_key)
    assert rows.update(expire_date=now() - timedelta(seconds=1)) == 1


# Way in -> what happens meanwhile -> whether the answer breaks off.
MEANWHILE: Final[dict[str, dict[str, tuple[Callable[[Reader], Any], bool]]]] = {
    "token": {
        "revoked": (lambda reader: revoke(reader.token), True),
        "the one that made it revoked": (lambda reader: revoke(reader.maker), True),
        "expired": (lambda reader: expire(reader.token), True),
        "another one revoked": (lambda reader: revoke(with_token(reader.person).token), False),
        "sessions ended": (lambda reader: services.end_sessions(actor=reader.person, user_id=reader.person.pk), False),
    },
    "session": {
        "sessions ended": (lambda reader: services.end_sessions(actor=reader.person, user_id=reader.person.pk), True),
        "another password": (lambda reader: services.change_password(user=reader.person, password="a" * 20), True),
        "signed out": (lambda reader: reader.client.post("/admin/logout/"), True),
        "time over": (over, True),
        "second factor taken away": (lambda reader: TOTPDevice.objects.filter(user=reader.person).delete(), True),
        "signed out elsewhere": (lambda reader: elsewhere(reader, "/admin/logout/"), False),
        "a token revoked": (lambda reader: revoke(with_token(reader.person).token), False),
    },
}
FOR_BOTH: Final[dict[str, tuple[Callable[[Reader], Any], bool]]] = {
    "nothing": (lambda _reader: None, False),
    "disabled": (
        lambda reader: services.set_active(actor=administrator(), user_id=reader.person.pk, active=False),
        True,
    ),
    "another role": (
        lambda reader: services.set_role(actor=administrator(), user_id=reader.person.pk, role="viewer"),
        True,
    ),
    "access reset": (lambda reader: services.reset_access(actor=administrator(), user_id=reader.person.pk), True),
    "somebody else disabled": (
        lambda _reader: services.set_active(
            actor=administrator(), user_id=member(Role.AUDITOR, "not-they").pk, active=False
        ),
        False,
    ),
}


def audit_trail(reader: Reader) -> Any:
    with transaction.atomic():
        append([NewEntry("prediction.made", "prediction", f"p{n}") for n in range(1200)], actor="gateway")
    return reader.client.get(f"{API}/audit/export/")


def audit_trail_on_its_page(reader: Reader) -> Any:
    with transaction.atomic():
        append([NewEntry("prediction.made", "prediction", f"p{n}") for n in range(1200)], actor="gateway")
    return reader.client.get("/admin/audit/entry/export/")


def photographed(person: str) -> None:
    """Their photograph is kept, and takes several chunks: it is of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    photo = io.BytesIO()
    Image.fromarray(noise).save(photo, format="PNG")
    consenting(member(Role.PRIVACY_OFFICER), person)
    labelled(member(Role.REVIEWER), person, is_a(CLASSES[0]), photo=photo.getvalue())


def data_set(reader: Reader) -> Any:
    photographed("a")
    return reader.client.post(f"{API}/datasets/", {"model": MODEL}, content_type="application/json")


def persons_data(reader: Reader) -> Any:
    photographed("a")
    officer = member(Role.PRIVACY_OFFICER, "begins")
    request = privacy.receive(actor=officer, pseudonym="a", kind="access", laws="both", channel="web")
    privacy.check_identity(actor=officer, request_id=request.pk, method="card")
    privacy.start(actor=officer, request_id=request.pk)
    return reader.client.post(f"{API}/privacy/requests/{request.pk}/export/", content_type="application/json")


def parts(answer: Any) -> Iterator[bytes]:
    assert answer.status_code == 200
    assert answer.streaming
    return iter(answer.streaming_content)


@pytest.mark.parametrize(
    ("way", "what"), [(way, what) for way, acts in MEANWHILE.items() for what in [*acts, *FOR_BOTH]]
)
def test_what_ends_access_ends_what_is_read_with_it(way: str, what: str, static_files: None) -> None:
    """And the same ends what is asked next."""
    reader = WAYS[way](member(Role.AUDITOR))
    happens, ends = {**MEANWHILE[way], **FOR_BOTH}[what]
    left = parts(audit_trail(reader))
    begun = [next(left), next(left)]
    happens(reader)
    if ends:
        with pytest.raises(NotAllowed):
            next(left)
    else:
        begun += left
    newest = json.loads(b"".join(begun).splitlines()[-1])
    assert (newest["type"] == "audit.exported") is not ends  # a whole log ends with its own export
    assert (reader.client.get(f"{API}/staff/tokens/").status_code != 200) is ends  # the door says the same


@pytest.mark.parametrize(
    ("read", "role", "way"),
    [
        (audit_trail_on_its_page, Role.AUDITOR, "session"),
        *((data_set, Role.MODEL_ENGINEER, way) for way in WAYS),
        *((persons_data, Role.PRIVACY_OFFICER, way) for way in WAYS),
    ],
)
@pytest.mark.parametrize("ends", [True, False])
def test_whatever_is_long_is_read_so(read: Callable[[Reader], Any], role: Role, way: str, ends: bool) -> None:
    reader = WAYS[way](member(role, "reads"))
    answer = read(reader)
    assert getattr(answer, "file_to_stream", None) is None  # which a server sends without asking us again
    left = parts(answer)
    next(left)
    if ends:
        services.set_active(actor=administrator(), user_id=reader.person.pk, active=False)
        with pytest.raises(NotAllowed):
            next(left)
    else:
        assert b"".join(left)


def test_who_loses_access_before_a_long_answer_begins_reads_none_of_it() -> None:
    """What takes minutes to make was asked for by somebody who may be gone by then."""
    reader = with_token(member(Role.AUDITOR))
    answer = audit_trail(reader)
    revoke(reader.token)
    with pytest.raises(NotAllowed):
        next(parts(answer))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ends", [True, False])
def test_an_archive_is_received_no_longer_than_its_sender_is_let_in(
    monkeypatch: pytest.MonkeyPatch, way: str, ends: bool
) -> None:
    """The first piece was on its way when the access ended, the second comes after it."""
    reader = WAYS[way](member(Role.MODEL_ENGINEER))
    upload = start_upload(actor=reader.person, filename="a.mar", size_bytes=8, sha256="0" * 64)
    monkeypatch.setattr("console.registry.api.PIECE_BYTES", 4)
    written = uploads._write

    def write(file: Any, piece: bytes) -> None:
        written(file, piece)
        if ends and file.tell() == 4:
            services.set_active(actor=administrator(), user_id=reader.person.pk, active=False)

    monkeypatch.setattr(uploads, "_write", write)
    answer = reader.client.patch(
        f"{API}/uploads/{upload.pk}/",
        b"12345678",
        content_type="application/offset+octet-stream",
        headers={"Upload-Offset": "0"},
    )
    upload.refresh_from_db()
    assert (answer.status_code, upload.offset_bytes) == ((403, 4) if ends else (204, 8))

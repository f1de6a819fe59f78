"""A listener behind real TLS: believed with a good certificate, told of in a sentence without, never waited for."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import trustme
from django.db import transaction
from django.utils.timezone import now
from django.utils.translation import override
from pytest_django import Settings

from console.audit.services import record
from console.site.roles import Role
from console.webhooks import sending, services
from console.webhooks.models import Delivery, State
from tests.unit.console.people import member

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parents[4]
OPENED = "drift.alert_opened"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Listener(ThreadingHTTPServer):
    """Hears messages over TLS; answers with the statuses it was given, then with 204. 0: byte after byte, no end."""

    daemon_threads = True

    def __init__(self, certificate: trustme.LeafCert, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Hearing)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.over = Event()

    def handle_error(self, *_: Any) -> None: ...  # a refused handshake is what some tests want


class _Hearing(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        if status == 0:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while not self.server.over.wait(0.05):
                self.wfile.write(b"x")
            return
        self.send_response(status)
        self.send_header("location", f"https://localhost:{self.server.server_port}/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def listening(certificate: trustme.LeafCert, port: int = 0) -> Iterator[Listener]:
    with Listener(certificate, port) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path, settings: Settings) -> Path:
    """The operator's own authority is trusted, and listeners on this machine allowed."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    settings.AMULET = settings.AMULET.model_copy(update={"webhook_private": True, "webhook_ca": file})
    return file


def subscribed(listener: Listener, host: str = "localhost") -> str:
    """A webhook for this listener; its secret."""
    url = f"https://{host}:{listener.server_port}/hook"
    return services.create_endpoint(actor=member(Role.ADMINISTRATOR), url=url, events=[OPENED]).secret


def happen() -> None:
    with transaction.atomic():
        record(actor=None, action=OPENED, subject_type="model_version", subject_id="v1", details={})
    services.enqueue()


def documented() -> Any:
    """The function that docs/operators/webhooks.md gives to whoever hears."""
    page = (ROOT / "docs" / "operators" / "webhooks.md").read_text()
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], names)
    return names["checked"]


@pytest.mark.usefixtures("trusting")
def test_a_message_arrives_and_the_documented_code_believes_it_and_no_forgery(authority: trustme.CA) -> None:
    checked = documented()
    with listening(authority.issue_cert("localhost")) as listener:
        secret = subscribed(listener)
        happen()
        assert services.deliver(at=now()) == 1
        ((headers, body),) = listener.heard
    assert headers["host"] == f"localhost:{listener.server_port}"
    assert checked(secret, headers, body) == Delivery.objects.get().message_id
    old = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
    for forged in ((secret, headers, body + b" "), (secret, old, body), ("whsec_AAAA", headers, body)):
        with pytest.raises(ValueError, match=r"older|not signed"):
            checked(*forged)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize(
    ("kind", "why"),
    [("unknown", "unable to get local issuer"), ("name", "Hostname mismatch"), ("expired", "certificate has expired")],
)
def test_a_certificate_that_is_not_accepted_is_told_in_a_sentence_and_nothing_is_sent(
    kind: str, why: str, authority: trustme.CA
) -> None:
    certificate = {
        "unknown": lambda: trustme.CA().issue_cert("localhost"),
        "name": lambda: authority.issue_cert("other.example"),
        "expired": lambda: authority.issue_cert("localhost", not_before=LONG_AGO, not_after=LONG_AGO + timedelta(1)),
    }[kind]()
    with listening(certificate) as listener:
        subscribed(listener)
        happen()
        assert services.deliver(at=now()) == 0
        assert listener.heard == []
    waiting = Delivery.objects.get()
    assert waiting.state == State.WAITING
    assert waiting.answer.startswith("The certificate of localhost is not accepted: ")
    assert why in waiting.answer


def test_without_the_setting_the_own_authority_is_a_stranger(authority: trustme.CA, settings: Settings) -> None:
    settings.AMULET = settings.AMULET.model_copy(update={"webhook_private": True})
    with listening(authority.issue_cert("localhost")) as listener:
        subscribed(listener)
        happen()
        assert services.deliver(at=now()) == 0
        assert listener.heard == []


def test_a_file_without_certificates_is_named(trusting: Path, authority: trustme.CA) -> None:
    trusting.write_text("nothing")
    with listening(authority.issue_cert("localhost")) as listener, override("th"):
        subscribed(listener)
        happen()
        assert services.deliver(at=now()) == 0
    assert Delivery.objects.get().answer == f"AMULET_WEBHOOK_CA names {trusting}, which holds no certificates."[:200]


@pytest.mark.usefixtures("trusting")
def test_a_redirect_is_not_followed_and_a_fault_is_tried_later_and_later(authority: trustme.CA) -> None:
    moment = now() + timedelta(seconds=1)
    with listening(authority.issue_cert("localhost")) as listener:
        subscribed(listener)
        happen()
        listener.statuses = [307, 500]
        due = []
        for _ in range(3):
            services.deliver(at=moment)
            delivery = Delivery.objects.get()
            due.append((delivery.next_try_at - moment, delivery.answer))
            moment = delivery.next_try_at
        assert len(listener.heard) == 3
    assert due[:2] == [(services.TRIES_AFTER[0], "307"), (services.TRIES_AFTER[1], "500")]
    assert Delivery.objects.get().state == State.DELIVERED
    assert len({headers["webhook-id"] for headers, _body in listener.heard}) == 1


@pytest.mark.usefixtures("trusting")
def test_a_listener_that_answers_byte_by_byte_is_left_in_time(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SECONDS_MAX", 0.5)
    with listening(authority.issue_cert("localhost")) as listener:
        subscribed(listener)
        happen()
        listener.statuses = [0]
        assert services.deliver(at=now()) == 0
        assert not listener.over.is_set()  # it would have gone on
    assert Delivery.objects.get().answer == "localhost did not answer within 0.5 seconds."


@pytest.mark.usefixtures("trusting")
def test_a_try_from_before_the_clock_was_set_back_is_not_waited_for(authority: trustme.CA) -> None:
    certificate = authority.issue_cert("localhost")
    with listening(certificate) as away:
        subscribed(away)
        port = away.server_port
    happen()
    assert services.deliver(at=now() + timedelta(hours=1)) == 0
    with listening(certificate, port):
        assert services.deliver(at=now()) == 1


@pytest.mark.usefixtures("trusting")
def test_what_happened_while_a_listener_was_away_arrives_once_for_each_id(authority: trustme.CA) -> None:
    certificate = authority.issue_cert("localhost")
    with listening(certificate) as away:
        subscribed(away)
        port = away.server_port
    moment = now() + timedelta(seconds=1)
    for _ in range(3):
        happen()
        assert services.deliver(at=moment) == 0
    with listening(certificate, port) as back:
        later = moment + timedelta(days=1)
        assert services.deliver(at=later) == 3
        assert services.deliver(at=later + timedelta(days=1)) == 0
    names = [headers["webhook-id"] for headers, _body in back.heard]
    assert len(names) == len(set(names)) == 3

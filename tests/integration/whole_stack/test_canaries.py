"""Canaries in a whole stack: no key, photograph, token, password or subject's id where it does not belong.

Everything is asked that a stack answers, well and badly; then every byte that its programs wrote, and every error
that they answered with, is looked through.
"""

from __future__ import annotations

import json
import re
import sqlite3
from base64 import b32decode, b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import grpc
import httpx
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from PIL import Image

from amulet_client import AmuletError, Client, View
from amulet_client.answers import request_of
from protos.torchserve import management_pb2, management_pb2_grpc
from tests import tiny_archive
from tests.canaries import files_below, forms, found_in
from tests.fault.processes import metric
from tests.integration.whole_stack.conftest import Traced
from tests.integration.whole_stack.signing_in import sign_in
from tests.stack import until
from tests.unit.gateway.test_privacy import CANARY, with_metadata

pytestmark = pytest.mark.stack

SUBJECT: Final = "khun somchai+0815@the-mine"  # what a form or an address writes in another way than a log
STRANGER: Final = "khun nobody+4711@the-mine"  # of whom only a console heard that cannot write
TOO_LONG: Final = "khun too-long+" + "9" * 200
PASSWORD: Final = "wrong but close, 1234"  # nobody's
TYPED: Final = "a password typed as a name"
CONSENT: Final = "consent-of-the-mine"
CHUNK: Final = 32  # bytes of a photograph that no other photograph has in a row

# Where each may be, and has to be found by this search; nothing else is let through. A subject's id travels in the
# event, which stays in the journal until it is delivered and old; the console keeps a keyed hash of it.
ALLOWED: Final = {
    ("torchserve/key_file.json", "TorchServe's management token"),
    ("torchserve/key_file.json", "TorchServe's inference token"),
    ("torchserve/key_file.json", "TorchServe's API key"),
    ("gateway/journal/*.journal", "the subject"),
    ("secrets/control_token", "the control token"),
    ("console/db.sqlite3", "a second factor's key"),  # to know a code its key must be known
    # Failures are counted by name, and the form shows again what was typed into it.
    ("console/db.sqlite3", "a password typed as a name"),
    ("the form after a name that nobody has", "a password typed as a name"),
}


@dataclass
class Heard:
    """What the stack said to those who asked: errors, and pages for machines."""

    said: dict[str, bytes] = field(default_factory=dict)

    @contextmanager
    def error(self, what: str) -> Iterator[None]:
        """One call of the gateway that must be refused."""
        try:
            yield
        except AmuletError as error:
            self.said[what] = repr(error).encode() + str(vars(error)).encode() + _trailers(error)
        else:
            raise AssertionError(f"{what}: answered")

    def refusal(self, what: str, answer: httpx.Response, *status: int) -> None:
        assert answer.status_code in status, f"{what}: {answer.status_code} {answer.text[:300]}"
        self.said[what] = answer.content + str(answer.headers).encode()


def _trailers(error: AmuletError) -> bytes:
    """All that came back over the wire with it."""
    cause: Any = error.__cause__
    if not isinstance(cause, grpc.RpcError):
        return b""
    return b"\n".join(
        each if isinstance(each, bytes) else str(each).encode()
        for of in (cause.initial_metadata() or (), cause.trailing_metadata() or ())  # type: ignore[attr-defined]
        for pair in of
        for each in pair
    )


def photograph(seed: int, *, side_px: int = 256) -> bytes:
    """A JPEG like no other, with the canary in each of its pockets."""
    plain = np.asarray(Image.open(BytesIO(tiny_archive.photo_of("red", side_px=side_px))).convert("RGB"))
    noise = np.random.default_rng(seed).integers(-20, 21, plain.shape)
    return with_metadata("JPEG", Image.fromarray((plain + noise).clip(0, 255).astype(np.uint8)))


def secret_of(key: str) -> bytes:
    """What of a key or token nobody else may know; what stands before it only names it."""
    _, _, secret = key.split("_", 2)
    return secret.encode()


def chunk_of(encoded: bytes) -> bytes:
    """Bytes out of its middle, where nothing but its own pixels is written."""
    return encoded[len(encoded) // 2 :][:CHUNK]


def ask_the_gateway(traced: Traced, key: str, heard: Heard, canaries: dict[str, bytes]) -> str:
    """Every call that there is, well and badly; a prediction of which the photograph is kept."""
    layout, tracer = traced.stack.layout, trace.get_tracer("a shop", tracer_provider=TracerProvider())
    near = key[:-1] + ("A" if key[-1] != "A" else "B")
    canaries |= {"the API key": secret_of(key), "a key that is nearly one": secret_of(near)}
    good, cut = photograph(1), photograph(2)
    bad = {
        "cut off": cut[: len(cut) * 2 // 3] + CANARY.encode(),
        "no photograph": f"no photograph: {CANARY}".encode() * 20,
        "too small": photograph(3, side_px=16),
        "empty": b"",
    }
    canaries |= {"a photograph": chunk_of(good), "a photograph that is cut off": chunk_of(cut)}
    kept: dict[str, Any] = {"subject": SUBJECT, "consent": CONSENT, "keep": True}
    with (
        Client(layout.gateway_address, api_key=key, ca_file=layout.tls / "ca.pem") as client,
        tracer.start_as_current_span("what is this?"),
    ):
        answer = client.predict([View(good)], request_id="r-1", explain=True, overlay=True, **kept)
        client.feedback(answer.prediction_id, kind="wrong", true_class_id="green")
        for what, photo in bad.items():
            with heard.error(what):
                client.predict([View(photo)], **kept)
        with heard.error("a subject of too many letters"):
            client.predict([View(good)], subject=TOO_LONG)
        with heard.error("a subject that is none"):
            client.predict([View(good)], subject=f"{SUBJECT}\n")
        with heard.error("feedback on nothing"):
            client.feedback("00000000-0000-0000-0000-000000000000", kind="wrong", true_class_id=SUBJECT)
        requests = [request_of([View(photo)], **kept) for photo in (good, bad["cut off"])]
        for outcome in client.predict_stream(requests):
            if isinstance(outcome, AmuletError):
                heard.said["a stream's one bad photograph"] = repr(outcome).encode()
    for what, wrong in (("a near miss", near), ("a subject's id as a key", SUBJECT)):
        with (
            tracer.start_as_current_span(what),
            Client(layout.gateway_address, api_key=wrong, ca_file=layout.tls / "ca.pem") as client,
            heard.error(what),
        ):
            client.predict([View(good)], **kept)
    assert answer.heat_maps
    canaries["an overlay"] = chunk_of(answer.heat_maps[0].overlay_png)
    return answer.prediction_id


def ask_torchserve(traced: Traced, heard: Heard, canaries: dict[str, bytes]) -> None:
    """As strangers ask it, and with a token that is not for this."""
    layout = traced.stack.layout
    tokens = json.loads((layout.torchserve / "key_file.json").read_bytes())
    canaries |= {
        "TorchServe's management token": tokens["management"]["key"].encode(),
        "TorchServe's inference token": tokens["inference"]["key"].encode(),
        "TorchServe's API key": tokens["API"]["key"].encode(),
    }
    with grpc.insecure_channel(f"127.0.0.1:{layout.ports.torchserve_grpc_management}") as channel:
        manage = management_pb2_grpc.ManagementAPIsServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            manage.ListModels(
                management_pb2.ListModelsRequest(),
                metadata=(("authorization", f"Bearer {tokens['inference']['key']}"),),
                timeout=20,
            )
    heard.said["TorchServe to a wrong token"] = str(refused.value).encode()
    url = f"http://127.0.0.1:{layout.ports.torchserve_management}"
    for path in ("models", "metrics", "token?type=management"):
        answer = httpx.get(
            f"{url}/{path}", headers={"Authorization": f"Bearer {tokens['inference']['key']}"}, timeout=20
        )
        heard.refusal(f"TorchServe's /{path}", answer, 400, 401, 403, 404, 405)


def ask_the_console(traced: Traced, heard: Heard, canaries: dict[str, bytes]) -> None:
    """A person signs in, well and badly, looks for somebody by name, and meets an error that is the console's own."""
    stack, url = traced.stack, traced.stack.layout.console_url
    officer = json.loads(stack.amulet("users", "create", "wipa", "--role", "privacy-officer", "--json"))
    canaries |= {
        "the password": officer["password"].encode(),
        "a wrong password": PASSWORD.encode(),
        "a password typed as a name": TYPED.encode(),
        "a person's token": secret_of(officer["token"]),
        "a second factor's seed": officer["totp_seed"].encode(),
    }
    consent = {"purpose": "keep_photograph", "text_version": "1", "channel": "web", "reference": CONSENT}
    script = {"Authorization": f"Token {officer['token']}"}
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        given = client.post("/api/v1/consents/", json={"subject": SUBJECT, **consent}, headers=script)
        assert given.status_code == 201, given.text
        again = client.post("/api/v1/consents/", json={"subject": SUBJECT, **consent}, headers=script)
        heard.refusal("a consent given twice", again, 409)
        nonsense = client.post("/api/v1/consents/", json={"subject": TOO_LONG, **consent}, headers=script)
        heard.refusal("a consent of too long a name", nonsense, 400)
        near = {"Authorization": f"Token {officer['token'][:-1]}"}
        heard.refusal("a token that is nearly one", client.get("/api/v1/consents/", headers=near), 401)
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as browser:
        for name, what in (("wipa", "a wrong password"), (TYPED, "a name that nobody has")):
            heard.refusal(f"the form after {what}", sign_in(browser, name, PASSWORD, officer["totp_seed"]), 200)
        assert sign_in(browser, "wipa", officer["password"], officer["totp_seed"]).status_code == 302
        for page in ("/admin/vault/subject/", "/admin/vault/consent/"):
            assert browser.get(page, params={"q": SUBJECT}).status_code == 200
        heard.refusal("a page that is none", browser.get(f"/admin/nothing/{SUBJECT}/"), 404)
        with console_broken(traced):
            headers = {"Authorization": f"Token {officer['token']}"}
            answer = browser.get("/admin/vault/consent/", params={"q": STRANGER})
            heard.refusal("a page that breaks", answer, 500)
            answer = httpx.post(
                f"{url}/api/v1/consents/", json={"subject": STRANGER, **consent}, headers=headers, timeout=60
            )
            heard.refusal("an address that breaks", answer, 500)
    canaries |= {"a stranger": STRANGER.encode(), "a name that is too long": TOO_LONG.encode()}
    canaries["a second factor's key"] = b32decode(officer["totp_seed"])


@contextmanager
def console_broken(traced: Traced) -> Iterator[None]:
    """A table is away: what needs it ends in an error that nobody foresaw."""
    database = traced.stack.layout.console / "db.sqlite3"
    for old, new in (("vault_consent", "aside"), ("aside", "vault_consent")):
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        if new == "aside":
            yield


def everything(traced: Traced, heard: Heard) -> dict[str, bytes]:
    """Every place that a stack writes to, by its name."""
    layout = traced.stack.layout
    places = dict(files_below(layout.state))
    if layout.pixels is not None:
        places |= {f"pixels in memory {name}": content for name, content in files_below(layout.pixels)}
    pages = {
        "the gateway's metrics": f"{layout.gateway_ops_url}/metrics",
        "the gateway's readiness": f"{layout.gateway_ops_url}/readyz",
        "the console's metrics": f"{layout.console_url}/metrics",
        "the console's readiness": f"{layout.console_url}/readyz",
    }
    shown = {name: httpx.get(url, timeout=20).content for name, url in pages.items()}
    assert all(shown.values())
    return {**places, **shown, "the traces": traced.collector.sent, **heard.said}


def kind_of(place: str) -> str:
    """The place, whichever segment of the journal and file of the database it is."""
    return re.sub(r"db\.sqlite3-(wal|shm)$", "db.sqlite3", re.sub(r"\d+\.journal$", "*.journal", place))


def test_nothing_entrusted_to_the_stack_stands_where_it_does_not_belong(traced: Traced) -> None:
    heard = Heard()
    canaries = {"what a photograph carries": CANARY.encode(), "the subject": SUBJECT.encode()}
    canaries["the control token"] = (traced.stack.layout.secrets / "control_token").read_bytes().strip()
    ask_the_console(traced, heard, canaries)
    key = traced.stack.new_key("canaries")
    prediction_id = ask_the_gateway(traced, key, heard, canaries)
    ask_torchserve(traced, heard, canaries)
    kept_photograph = f"{traced.stack.layout.console_url}/api/v1/predictions/{prediction_id}/photographs/0/"

    def kept() -> bytes:
        answer = httpx.get(
            kept_photograph, headers={"Authorization": f"Token {traced.stack.token('reviewer')}"}, timeout=20
        )
        return answer.content if answer.status_code == 200 else b""

    canaries["the kept photograph"] = chunk_of(until(kept))
    until(lambda: metric(traced.stack, "amulet_backlog_events") == 0)
    until(lambda: {"amulet-gateway", "amulet-torchserve", "amulet-console"} <= traced.collector.spans_of.keys())

    places = everything(traced, heard)
    print(f"{len(places)} places, {sum(map(len, places.values())) / 2**20:.1f} MiB, {len(canaries)} canaries")
    found = {(kind_of(place), name) for place, name in found_in(places, canaries)}
    assert found == ALLOWED, f"told: {found - ALLOWED}, not found: {ALLOWED - found}"

    # The control: what somebody writes into a log, in whatever form, is found there by the same search.
    log = (traced.stack.layout.logs / "gateway.log").read_bytes()
    for name, canary in canaries.items():
        encoded = [b64encode(b"x" * before + canary + b"after") for before in range(3)]
        for form in (*forms(canary), *encoded):
            careless = {"the log": log + b'{"event": "careless", "said": "' + form + b'"}\n'}
            assert found_in(careless, {name: canary}) == {("the log", name)}

"""Tokens against a server that renews them as TorchServe does: over HTTP, into the file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from console.torchserve.errors import BackendAway
from console.torchserve.tokens import Purpose, Tokens


class Renewer:
    """TorchServe's side: a key file, and `/token`."""

    def __init__(self, key_file: Path) -> None:
        self.key_file = key_file
        self.renewals: list[str] = []
        self.keys = {"management": "m0", "inference": "i0"}
        self.life = timedelta(hours=1)
        self.write()

    def write(self) -> None:
        expires = (datetime.now(UTC) + self.life).isoformat().replace("+00:00", "Z")
        entries = {purpose: {"key": key, "expiration time": expires} for purpose, key in self.keys.items()}
        self.key_file.write_text(json.dumps({**entries, "API": {"key": "api"}}))

    def renew(self, purpose: str, bearer: str | None) -> int:
        if bearer != "Bearer api":
            return 400
        self.renewals.append(purpose)
        self.keys[purpose] = f"{purpose[0]}{len(self.renewals)}"
        self.life = timedelta(hours=1)
        self.write()
        return 200


@pytest.fixture
def renewer(tmp_path: Path) -> Renewer:
    return Renewer(tmp_path / "key_file.json")


@pytest.fixture
def tokens(renewer: Renewer) -> Iterator[Tokens]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            status = renewer.renew(parse_qs(url.query)["type"][0], self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Tokens(key_file=renewer.key_file, management_url=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_token_far_from_its_end_is_read_and_not_renewed(tokens: Tokens, renewer: Renewer) -> None:
    assert tokens.current(Purpose.MANAGEMENT).text == "m0"
    assert tokens.current(Purpose.INFERENCE).text == "i0"
    assert renewer.renewals == []


def test_a_management_token_near_its_end_is_renewed_once(tokens: Tokens, renewer: Renewer) -> None:
    renewer.life = timedelta(minutes=5)
    renewer.write()
    assert tokens.current(Purpose.MANAGEMENT).text == "m1"
    assert tokens.current(Purpose.MANAGEMENT).text == "m1"
    assert renewer.renewals == ["management"]


def test_the_gateways_token_is_left_to_the_gateway_until_it_is_spent(tokens: Tokens, renewer: Renewer) -> None:
    renewer.life = timedelta(minutes=5)
    renewer.write()
    assert tokens.current(Purpose.INFERENCE).text == "i0"
    renewer.life = timedelta(seconds=-1)
    renewer.write()
    assert tokens.current(Purpose.INFERENCE).text == "i1"


def test_a_refused_token_that_the_file_has_replaced_is_only_read_again(tokens: Tokens, renewer: Renewer) -> None:
    old = tokens.current(Purpose.MANAGEMENT)
    renewer.keys["management"] = "after-a-restart"
    renewer.write()
    assert tokens.refused(Purpose.MANAGEMENT, old).text == "after-a-restart"
    assert renewer.renewals == []


def test_a_refused_token_that_the_file_still_names_is_renewed(tokens: Tokens, renewer: Renewer) -> None:
    old = tokens.current(Purpose.MANAGEMENT)
    assert tokens.refused(Purpose.MANAGEMENT, old).text == "m1"


@pytest.mark.parametrize("content", ["", "{", '{"management": {}}', "[]"])
def test_a_half_written_key_file_means_away_and_is_read_again(tokens: Tokens, renewer: Renewer, content: str) -> None:
    renewer.key_file.write_text(content)
    with pytest.raises(BackendAway):
        tokens.current(Purpose.MANAGEMENT)
    renewer.write()
    assert tokens.current(Purpose.MANAGEMENT).text == "m0"


def test_no_token_shows_in_a_repr(tokens: Tokens) -> None:
    assert "m0" not in repr(tokens.current(Purpose.MANAGEMENT))


def test_a_renewal_that_is_refused_means_away(tokens: Tokens, renewer: Renewer) -> None:
    document = json.loads(renewer.key_file.read_text())
    document["API"]["key"] = "another"
    renewer.key_file.write_text(json.dumps(document))
    with pytest.raises(BackendAway, match="did not renew"):
        tokens.refused(Purpose.MANAGEMENT, tokens.current(Purpose.MANAGEMENT))

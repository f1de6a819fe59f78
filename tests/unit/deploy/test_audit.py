"""An audit of the locks is green when every pin was asked about and nothing is known of any; never otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.pages import ROOT

PROGRAM: Final = ROOT / "deploy/supply/audit.py"
PIP_AUDIT: Final = ROOT / ".venv/audit/bin/pip-audit"
HASH: Final = "--hash=sha256:" + 64 * "0"
CLEAN: Final = f"alpha==1.0 {HASH}\nbeta-gamma==2.5.1 {HASH}\n"
BAD: Final = {("jinja2", "2.11.2"): "PYSEC-2021-66", ("delta", "3.0"): "PYSEC-2026-1"}

pytestmark = pytest.mark.skipif(
    not PIP_AUDIT.exists(), reason="pip-audit is in an environment of its own: make auditor"
)


class Advisories:
    """Answers as OSV does. It stands for a service that cannot be asked from everywhere."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str]] = set()
        self.known = dict(BAD)
        self.status = 200
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                pin = (query["package"]["name"], query["version"])
                service.asked.add(pin)
                content = json.dumps(service.answer(*pin)).encode()
                self.send_response(service.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *said: Any) -> None:
                """Nothing on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/query"

    def answer(self, name: str, version: str) -> dict[str, Any]:
        if (name, version) not in self.known:
            return {}
        fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [fixed]}]
        advisory = {"id": self.known[name, version], "summary": "It is bad.", "affected": affected}
        return {"vulns": [{**advisory, "published": "2021-02-01T00:00:00Z", "schema_version": "1.6.0"}]}


@pytest.fixture
def service() -> Iterator[Advisories]:
    service = Advisories()
    thread = threading.Thread(target=service.server.serve_forever, daemon=True)
    thread.start()
    yield service
    service.server.shutdown()
    service.server.server_close()
    thread.join()


Audit = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def audit(service: Advisories, tmp_path: Path) -> Audit:
    def run(lock: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "requirements.lock"
        file.write_text("# A comment.\n" + lock)
        command = [sys.executable, PROGRAM, "--service", "osv", "--url", service.url, file]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)

    return run


def bare(service: Advisories, tmp_path: Path, *options: str) -> int:
    """What pip-audit by itself says of the same lock."""
    asking = ("--vulnerability-service", "osv", "--osv-url", service.url)
    command = [PIP_AUDIT, *options, "--disable-pip", "--require-hashes", *asking, "-r", tmp_path / "requirements.lock"]
    return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode


def test_a_lock_of_which_nothing_is_known_is_green_and_every_pin_was_asked_about(
    audit: Audit, service: Advisories
) -> None:
    done = audit(CLEAN)

    assert done.returncode == 0, done.stderr
    assert "2 packages, 0 advisories" in done.stdout
    assert {("alpha", "1.0"), ("beta-gamma", "2.5.1")} <= service.asked


def test_a_pin_that_is_known_to_be_bad_turns_it_red(audit: Audit) -> None:
    done = audit(CLEAN + f"delta==3.0 {HASH}\n")

    assert done.returncode == 1, done.stderr
    assert "delta 3.0: PYSEC-2026-1, mended in 9.9" in done.stdout


def test_a_package_that_is_skipped_turns_it_red(audit: Audit, service: Advisories, tmp_path: Path) -> None:
    done = audit(CLEAN + f"https://example.org/delta-3.0.tar.gz {HASH}\n")

    assert done.returncode == 2
    assert "could not deduce package version" in done.stderr
    assert "This is no clean bill" in done.stderr
    assert bare(service, tmp_path) == 0  # the control: this is why it is strict


def test_a_pin_that_strictness_does_not_see_turns_it_red(audit: Audit, service: Advisories, tmp_path: Path) -> None:
    done = audit(CLEAN + f'delta==3.0 ; python_version < "3" {HASH}\n')

    assert done.returncode == 2
    assert "passed over delta 3.0" in done.stderr
    assert bare(service, tmp_path, "--strict") == 0  # the control: this is why pins are counted


def test_a_service_that_cannot_be_asked_or_knows_nothing_is_no_success(audit: Audit, service: Advisories) -> None:
    service.status = 503
    away = audit(CLEAN)
    service.status = 200
    service.known = {}
    empty = audit(CLEAN)
    service.server.server_close()
    closed = audit(CLEAN)

    assert [away.returncode, empty.returncode, closed.returncode] == [2, 2, 2]
    assert "could not be asked about jinja2==2.11.2" in away.stderr
    assert "knows nothing of jinja2==2.11.2" in empty.stderr
    assert "could not be asked about jinja2==2.11.2" in closed.stderr

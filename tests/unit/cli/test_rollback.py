"""`amulet models rollback` before a person at a terminal, with a console that answers as the real one does."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cli.remote import outcome, told, what_would_end

ROOT = Path(__file__).parents[3]
CANARY = {"id": 12, "version": "v2", "mode": "canary", "weight_ratio": 0.25}
WOULD = {"ends": CANARY, "serves": "v1", "serves_id": 1}
FIGURE = {"name": "macro_f1", "value": 0.9, "low": 0.8, "high": 1.0, "data": "120 photographs"}
NOW = {"model": "tiny", "version": "v1", "state": "approved", "weight_ratio": 1.0, "metrics": [FIGURE]}
SAID = "The canary v2 (25% of the calls) ends; v1 answers all of them."


class Console:
    """Says what a rollback would end, and keeps what it was asked to do."""

    def __init__(self) -> None:
        asked: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(WOULD)

            def do_POST(self) -> None:
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer(NOW)

            def answer(self, document: object) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.asked = asked
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def console() -> Iterator[Console]:
    made = Console()
    yield made
    made.server.shutdown()
    made.server.server_close()


def roll_back(console: Console, *options: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command as it runs at a terminal on which this is typed; None: as it runs in a script."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMULET_")}
    environment |= {"AMULET_CONSOLE_URL": console.url, "AMULET_CONSOLE_TOKEN": "amt_0_x"}
    command = [sys.executable, "-m", "cli.main", "models", "rollback", "tiny", "--reason", "worse", *options]
    ours, theirs = pty.openpty()
    try:
        if typed is not None:
            os.write(ours, typed.encode())
        return subprocess.run(
            command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL if typed is None else theirs,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)


def test_it_ends_what_it_said_when_the_answer_is_yes(console: Console) -> None:
    done = roll_back(console, "--json", typed="y\n")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(SAID)
    assert json.loads(done.stdout)["version"] == "v1"  # nothing but the answer
    assert console.asked == [{"reason": "worse", "ends": CANARY["id"]}]


@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_it_changes_nothing_otherwise(console: Console, typed: str) -> None:
    done = roll_back(console, typed=typed)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("Nothing was changed.\n")
    assert console.asked == []


def test_a_script_says_yes_beforehand(console: Console) -> None:
    refused = roll_back(console)
    assert refused.returncode == 2
    assert "nobody can be asked here: --yes rolls back without" in refused.stderr
    assert console.asked == []
    done = roll_back(console, "--yes")
    assert (done.returncode, done.stderr) == (0, f"{SAID}\n")
    assert done.stdout.split() == ["tiny", "v1", "approved", "100%", "of", "traffic"]  # and not its card once more
    assert console.asked == [{"reason": "worse", "ends": CANARY["id"]}]


def test_figures_stand_under_what_they_were_measured_on_once() -> None:
    second = {**FIGURE, "name": "accuracy"}
    refused = {
        **NOW,
        "rules": [{"rule": "members", "state": "failed", "message": "too many"}],
        "metrics": [FIGURE, second],
    }
    _, why, measured_on, *figures = told(refused)
    assert (why, measured_on) == ("  refused by members: too many", "  on 120 photographs")
    assert [figure.split() for figure in figures] == [
        [name, "0.900", "[0.800,", "1.000]"] for name in ("macro_f1", "accuracy")
    ]
    assert list(outcome(refused)) == list(told(refused))[:2]


def test_production_is_said_to_leave() -> None:
    would = {**WOULD, "ends": {**CANARY, "mode": "production"}}
    assert what_would_end(would) == "v2 leaves production; v1 answers all calls."

"""A migrated database of its own, and processes that work on it at the same moment."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from cli import supervision
from cli.layout import Layout, Ports
from tests import migrated
from tests.console_ready import new_state

ROOT = Path(__file__).parents[3]
Job = tuple[str, dict[str, Any]]


class Crew:
    """A console's database and folders, without a web process, and children that use them."""

    def __init__(self, state: Path, variables: Mapping[str, str]) -> None:
        self.layout = Layout(new_state(state), Ports(0))
        self.environment = {
            **supervision.environment(self.layout, {**os.environ, **variables}),
            "DJANGO_SETTINGS_MODULE": "console.site.settings",
        }
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.console_events.worker"],
            env=self.environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    @classmethod
    @contextmanager
    def on(cls, state: Path, variables: Mapping[str, str]) -> Iterator[Crew]:
        """A migrated console on the database that the variables name."""
        crew = cls(state, variables)
        try:
            migrated.give_tables(crew.layout, crew.environment)
            yield crew
        finally:
            crew._parent.communicate(timeout=120)

    def begin(self, jobs: Sequence[Job]) -> list[int]:
        """Give jobs to a child each and let all begin at the same moment; their pids."""
        children: list[int] = self._ask({"jobs": jobs})
        self._tell("go")
        return children

    def results(self) -> list[Any]:
        """What those who began returned, when all have ended; None for whoever was killed. Fails for who failed."""
        found = []
        for status, result in self._ask("results"):
            assert status in (0, -signal.SIGKILL), "a child failed; its trace is above"
            found.append(result)
        return found

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        """Do jobs in a child each, all at the same moment; their results in order."""
        self.begin(jobs)
        return self.results()

    def shell(self, code: str) -> Any:
        """What `answer` is after this code ran in the console."""
        return self.run([("shell", {"code": code})])[0]

    def manage(self, *arguments: str) -> str:
        """Run one of Django's commands; what it printed. Fails the test when it fails."""
        told = self.attempt(*arguments)
        assert not told["error"], told
        return told["out"]

    def attempt(self, *arguments: str) -> dict[str, str]:
        """Run one of Django's commands: what it printed, and its error."""
        told: dict[str, str] = self.run([("manage", {"arguments": arguments})])[0]
        return told

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of one SELECT, straight from the database."""
        url = self.environment.get("AMULET_DATABASE_URL", "")
        database: Any = psycopg2.connect(url) if url else sqlite3.connect(self.layout.console / "db.sqlite3", 20)
        with closing(database), closing(database.cursor()) as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def count(self, rest: str) -> int:
        """SELECT COUNT(*) FROM `rest`."""
        return int(self.query(f"SELECT COUNT(*) FROM {rest}")[0][0])

    def _ask(self, question: Any) -> Any:
        self._tell(question)
        assert self._parent.stdout is not None
        answer = self._parent.stdout.readline()
        assert answer, "the parent of all children has ended"
        return json.loads(answer)

    def _tell(self, word: Any) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(word) + "\n")
        self._parent.stdin.flush()

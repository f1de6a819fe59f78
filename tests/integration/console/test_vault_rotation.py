"""The vault's master key is rotated under several processes that work with it, by one that is killed at it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from cli import supervision
from cli.layout import Layout
from tests import migrated
from tests.console_ready import new_state
from tests.integration.console.running import ROOT, until

PROCESSES = 2
PEOPLE = 600  # several times as many as are wrapped anew at once


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def vault_keys(environment: Mapping[str, str], *arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        program("console.manage", "vault_keys", *arguments),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1])["keys"])


def killed_at_it(environment: Mapping[str, str], key: str) -> None:
    """`use`, killed when it has wrapped some hundred anew."""
    with subprocess.Popen(
        program("console.manage", "vault_keys", "use", key), cwd=ROOT, env=environment, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert b"rewrapped" in running.stdout.readline()
        running.send_signal(signal.SIGKILL)


def killed_at_each_point_of_removing(environment: Mapping[str, str], key: str) -> dict[str, Any]:
    done = subprocess.run(
        program("tests.integration.console.rotated_vault", "remove", key),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def working(environment: Mapping[str, str], folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Processes that have each begun; what they say in the end."""
    said: list[dict[str, Any]] = []
    running = [
        subprocess.Popen(
            program("tests.integration.console.rotated_vault", "work", str(folder)),
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _number in range(PROCESSES)
    ]  # fmt: skip
    try:
        _further(folder, 5)
        yield said
        _further(folder, 5)
    finally:
        (folder / "stop").touch()
        for process in running:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err[-3000:]
            said.append(json.loads(out.splitlines()[-1]))


def _further(folder: Path, by: int) -> None:
    """Each process has done more since this began."""
    before = _done(folder)

    def done() -> bool:
        now = _done(folder)
        return len(now) == PROCESSES and all(now[name] >= before.get(name, 0) + by for name in now)

    until(done, within_s=120, what=lambda: str(_done(folder)))


def _done(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_text() or 0) for path in folder.iterdir() if path.name.isdecimal()}


@pytest.mark.parametrize("server", ["sqlite", "postgresql"])
def test_two_rotations_under_those_who_work_with_it(server: str, tmp_path: Path) -> None:
    with migrated.database() if server == "postgresql" else nullcontext("") as url:
        layout, folder = Layout.of(new_state(tmp_path / "state")), tmp_path / "told"
        folder.mkdir()
        outer = {**os.environ, **({"AMULET_DATABASE_URL": url} if url else {})}
        environment = {
            **supervision.environment(layout, outer),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "DJANGO_SETTINGS_MODULE": "console.site.settings",
        }
        migrated.give_tables(layout, environment)
        subprocess.run(
            program("tests.integration.console.rotated_vault", "fill", str(PEOPLE)),
            cwd=ROOT, env=environment, check=True,
        )  # fmt: skip
        with working(environment, folder) as said:
            for turn in range(2):
                (old,) = (each["id"] for each in vault_keys(environment, "show"))
                new = vault_keys(environment, "add")[-1]["id"]
                _further(folder, 2)
                killed_at_it(environment, new)
                left = {each["id"]: each["people"] for each in vault_keys(environment, "show")}
                assert left[old] > 0 < left[new]
                left = {each["id"]: each["people"] for each in vault_keys(environment, "rewrap")}
                assert left[old] == 0
                if turn:
                    vault_keys(environment, "remove", old)
                    continue
                removed = killed_at_each_point_of_removing(environment, old)
                assert removed["wrong"] == []
                assert removed["killed"] > 2 <= removed["went"]  # before the file was changed, and after
        (only,) = vault_keys(environment, "show")
        assert [each["wrong"] for each in said] == [[], []]
        assert [each["back"] for each in said] == [0, 0]
        assert only["people"] == PEOPLE + sum(each["made"] - each["erased"] for each in said)
        assert all(each["erased"] for each in said)

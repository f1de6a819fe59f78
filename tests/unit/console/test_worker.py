"""The worker, with the clock in it and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAILING_CLOCK = """
from threading import Event, Thread
from console import worker

class Clock:
    def run(self):
        raise RuntimeError("the broker never came back")

Thread(target=worker._run_or_end, args=(Clock(),), daemon=True).start()
Event().wait(60)  # what a worker does that takes tasks
"""


def test_a_clock_that_fails_takes_the_worker_along() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILING_CLOCK], capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode == 1
    assert "the broker never came back" in ended.stderr


WORKERS = {
    "with the clock": ("console.worker", "--schedule", os.devnull),
    "Celery's own": ("celery", "-A", "console.celery_app", "worker", "--pool", "solo"),
    "trainer": ("console.manage", "train"),
    "replay": ("console.manage", "replay_erasures"),
}

BEAT = ("celery", "-A", "console.celery_app", "beat")


def start(folder: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A process of a console whose secrets are there, and its vault's key is none; settings: without the prefix."""
    (folder / "secrets").mkdir()
    for name in ("control_token", "key_secret", "django_secret", "photo_seal.key", "vault.key"):
        (folder / "secrets" / name).write_text(("secret" * 6)[: 32 if name == "photo_seal.key" else 31])
    environment = {"AMULET_STATE_DIR": str(folder), "PATH": "", **{f"AMULET_{name}": v for name, v in settings.items()}}
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=environment, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", WORKERS.values(), ids=WORKERS)
def test_whoever_uses_the_vaults_key_does_not_start_without_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    ended = start(tmp_path, *command)

    assert ended.returncode != 0
    key = tmp_path / "secrets" / "vault.key"
    said = f"AMULET_VAULT_KEY_FILE: {key} must hold exactly 32 random bytes, and holds 31"
    assert ended.stderr.splitlines()[-1].removeprefix("CommandError: ") == said
    assert "Traceback" not in ended.stderr


def test_a_worker_names_a_secret_that_is_missing(tmp_path: Path) -> None:
    ended = start(tmp_path, *WORKERS["with the clock"], PHOTO_SEAL_KEY_FILE=str(tmp_path / "none"))

    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(
        f"AMULET_PHOTO_SEAL_KEY_FILE names {tmp_path}/none, which is not there"
    )


@pytest.mark.parametrize("command", [WORKERS["with the clock"], WORKERS["Celery's own"], BEAT])
def test_a_worker_tells_a_wrong_setting_in_one_sentence(tmp_path: Path, command: tuple[str, ...]) -> None:
    ended = start(tmp_path, *command, LOG_FORMAT="xml")

    assert ended.returncode == 2
    assert ended.stderr.startswith("AMULET_LOG_FORMAT is 'xml': ")
    assert ended.stderr.count("\n") == 1


def test_nor_does_the_web_process(tmp_path: Path) -> None:
    ended = start(tmp_path, "console.serve", CONSOLE_LISTEN="127.0.0.1:0")

    key = tmp_path / "secrets" / "vault.key"
    assert ended.returncode != 0
    assert f"AMULET_VAULT_KEY_FILE: {key} must hold exactly 32 random bytes, and holds 31" in ended.stderr.splitlines()
    assert "Traceback" not in ended.stderr

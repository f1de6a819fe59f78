"""Programs of a job: what they get, what they may take, and that they end with whoever started them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pytest_django import Settings

from console.retraining import folders
from console.retraining.programs import Limits, Progress, Stopped, run

LIMITS = Limits(seconds_max=60, memory_mib_max=2048)
WAIT_S_MAX = 30.0


@pytest.fixture(autouse=True)
def _own_folder(settings: Settings, tmp_path: Path) -> None:
    settings.AMULET = settings.AMULET.model_copy(update={"training_dir": tmp_path / "training"})


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_ended(pid: int) -> None:
    ends_at_s = time.monotonic() + WAIT_S_MAX
    while not has_ended(pid):
        assert time.monotonic() < ends_at_s, f"process {pid} still runs"
        time.sleep(0.05)


def test_a_program_gets_no_secret_and_may_not_fill_memory_or_leave_an_image_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_DATABASE_URL", "postgresql://user:password@host/db")
    script = (
        "import json, os, resource as r; print(json.dumps([dict(os.environ), os.nice(0), os.getcwd(),"
        "r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_DATA)]))"
    )
    status, said = run((sys.executable, "-c", script), folder=tmp_path, limits=LIMITS, heard=lambda _: True)
    environment, niceness, place, core, memory = json.loads(said)
    assert status == 0
    assert "password" not in said
    assert not [name for name in environment if name.startswith(("AMULET_", "DJANGO_"))]
    assert (niceness, place, core, memory[0]) == (10, str(tmp_path), [0, 0], 2048 * 2**20)
    status, said = run(
        (sys.executable, "-c", "bytearray(3 << 30)"), folder=tmp_path, limits=LIMITS, heard=lambda _: True
    )
    assert (status, "MemoryError" in said) == (1, True)


def test_a_stopped_program_takes_what_it_started_along(tmp_path: Path) -> None:
    script = f"echo 'Looking\t3\t9' >&2; sleep 600 & echo $! > {tmp_path}/below; wait"
    heard: list[Progress] = []

    def until_it_looks(progress: Progress) -> bool:
        heard.append(progress)
        return progress.step != "Looking"

    with pytest.raises(Stopped):
        run(("/bin/sh", "-c", script), folder=tmp_path, limits=LIMITS, heard=until_it_looks)
    assert heard[-1] == Progress("Looking", 3, 9)
    wait_until_ended(int((tmp_path / "below").read_text()))


def test_a_killed_worker_takes_its_program_along_and_its_photographs_are_swept(tmp_path: Path) -> None:
    script = f"""
from tests.console_ready import ready
ready()
from pathlib import Path
from django.conf import settings
from console.retraining import folders, programs
settings.AMULET = settings.AMULET.model_copy(update={{"training_dir": Path({str(tmp_path / "training")!r})}})
with folders.work_folder(12) as folder:
    photograph = folder / folders.PHOTOGRAPHS / "job12" / "somdej" / "front.png"
    photograph.parent.mkdir(parents=True)
    photograph.write_bytes(b"a photograph")
    shell = ("/bin/sh", "-c", "echo $$ > program; exec sleep 600")
    programs.run(shell, folder=folder, limits=programs.Limits(600, 2048), heard=lambda _: True)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMULET_")}
    worker = subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=Path(__file__).parents[4])
    try:
        said = tmp_path / "training" / "job-12" / "program"
        ends_at_s = time.monotonic() + WAIT_S_MAX
        while not said.is_file() or not said.read_text().strip():
            assert worker.poll() is None
            assert time.monotonic() < ends_at_s
            time.sleep(0.05)
        program = int(said.read_text())
        assert folders.sweep() == 0  # somebody works there
        assert said.is_file()
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    wait_until_ended(program)
    assert folders.sweep() == 1
    assert list((tmp_path / "training").iterdir()) == []


def test_a_worker_of_the_number_of_one_that_died_at_the_start_has_a_folder_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "training" / f"new-{os.getpid()}-12").mkdir(parents=True)
    with folders.work_folder(12) as folder:
        assert folder == tmp_path / "training" / "job-12"
        assert folder.stat().st_mode & 0o777 == 0o700

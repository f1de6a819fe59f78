"""Jobs side by side: results in order, bounded, and the first error is the caller's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np  # noqa: F401 - brings a BLAS
import pytest
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]  # it has no stubs

from training.side_by_side import side_by_side

ROOT: Final = Path(__file__).parents[3]
# What a process of the pool needs, and imports for longer than any test waits.
SLOW: Final = """
import time
from multiprocessing import parent_process

def work():
    pass

if parent_process() is not None:
    print("importing", flush=True)
    time.sleep(3600)
"""
COMMAND: Final = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from multiprocessing.connection import wait

from training.side_by_side import begin_by, starting

if __name__ == "__main__":
    import slow

    begin, arguments = begin_by(slow.work)
    pool = ProcessPoolExecutor(2, get_context("spawn"), initializer=begin, initargs=arguments)
    try:
        print("starting", flush=True)
        with starting():
            running = [pool.submit(slow.work) for _ in range(2)]
        print("started", flush=True)
        running[0].result()
    except KeyboardInterrupt:
        wait([process.sentinel for process in active_children()], 1.0)  # one that heard of it says so, and ends
        for process in active_children():
            process.terminate()
        pool.shutdown(cancel_futures=True)
        sys.exit("interrupted")
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_jobs(threads: int) -> None:
    later = threading.Event()

    def work(number: int) -> int:
        if threads > 1 and number == 0:
            assert later.wait(30)  # the first ends after the second
        if number == 1:
            later.set()
        return number * number

    assert list(side_by_side(work, range(20), threads=threads)) == [number * number for number in range(20)]


@pytest.mark.parametrize("threads", [1, 3])
def test_jobs_are_taken_as_they_are_begun(threads: int) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = side_by_side(lambda number: number, jobs(), threads=threads)
    assert next(results) == 0
    assert len(taken) <= 2 * threads + 1
    results.close()  # type: ignore[attr-defined]  # a generator


def test_the_first_error_ends_the_work() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("the third job is wrong")
        return number

    with pytest.raises(ValueError, match="third job"):
        list(side_by_side(work, range(1000), threads=2))
    assert len(begun) < 20


def test_each_job_has_a_core_of_its_own() -> None:
    def widest(_: int) -> int:
        return max(found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas")

    with threadpool_limits(2):
        assert widest(0) == 2
        assert set(side_by_side(widest, range(4), threads=2)) == {1}
        assert widest(0) == 2


@pytest.mark.parametrize("moment", ["starting", "started", "importing"])
def test_ctrl_c_while_processes_start_is_for_whoever_starts_them(moment: str, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "command.py").write_text(COMMAND)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, tmp_path)))}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "command.py")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as command:  # fmt: skip
        try:
            assert command.stdout is not None
            assert any(line.strip() == moment for line in command.stdout)
            os.killpg(command.pid, signal.SIGINT)
            _, error = command.communicate(timeout=120)  # and nobody holds its output any more
        finally:
            command.kill()

    assert (command.returncode, error) == (1, "interrupted\n")

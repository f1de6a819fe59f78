"""The worker with the clock in it."""

from __future__ import annotations

import subprocess
import sys

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

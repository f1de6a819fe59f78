"""In which order files are handed to processes side by side."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from tests import chance

HERE: Final = Path(__file__).parent
BEGAN_S: Final = time.monotonic()
# What takes longest comes first: begun last, it would keep one process busy alone while the other has nothing left.
# pytest-xdist's own order is by the number of a file's tests, and the longest have few.
LONGEST: Final = (
    "training/fitting/test_devices.py",
    "training/export/test_tuned_run.py",
    "training/experiments/test_search.py",
    "console/retraining/test_real_training.py",
    "training/experiments/test_compare.py",
    "training/experiments/test_ablate.py",
    "training/served/test_learnt.py",
    "training/test_reproduction.py",
    "cli/test_leftovers.py",
    "cli/test_other_answers.py",
    "cli/test_demand.py",
    "training/explanation/test_methods.py",
    "client/test_command.py",
    "training/explanation/test_batch.py",
    "training/statistics/test_intervals.py",
    "training/experiments/test_tracking.py",
)


@pytest.hookimpl(trylast=True)  # pytest-django has an order, too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {HERE / name: place for place, name in enumerate(LONGEST)}
    gone = [str(path) for path in places if not path.exists()]
    if gone:
        raise pytest.UsageError(f"{__file__} puts first what is not there: {', '.join(gone)}")
    if chance.ORDER:
        drawn = sorted({item.path for item in items})
        Random(chance.ORDER).shuffle(drawn)
        places = {path: place for place, path in enumerate(drawn)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Say when each of the processes side by side had nothing left: far apart, a long file was begun too late."""
    print(f"\n{node.gateway.id} ended after {time.monotonic() - BEGAN_S:.0f} s")

"""What holds for every test, however it is started."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests import chance

# No bound on an example's time, or on the time that it takes to draw them, which a busy machine would break. What is
# drawn depends on tests/chance.py alone: hypothesis would draw something new where the variable `CI` is not set.
settings.register_profile(
    "amulet",
    deadline=None,
    derandomize=not chance.NEW,
    max_examples=chance.EXAMPLES,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("amulet")

# A shell starts what it puts in the background with Ctrl-C ignored, and every child inherits that.
# Tests that press Ctrl-C mean a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The working directory is the repository: what a test trains is noted only where it names a folder.
os.environ["AMULET_RUNS"] = "none"
os.environ["AMULET_EXPORTS"] = "none"
os.environ["AMULET_FEATURES"] = "none"
os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Processes side by side set Django up themselves, each with a state folder of its own: with the name of the
    settings in their environment they would read it before, and with it this process's folder."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)

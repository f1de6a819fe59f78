"""What holds for every test, however it is started."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# The same examples everywhere, and no bound on their time or on the time that it takes to draw them: what hypothesis
# would take on its own depends on a variable of the environment, `CI`, and a busy machine would break the bounds.
ALWAYS = settings(
    deadline=None, derandomize=True, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("same", ALWAYS)
# `make properties` looks for others.
settings.register_profile(
    "new", ALWAYS, derandomize=False, max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "100"))
)
settings.load_profile("new" if "PROPERTY_EXAMPLES" in os.environ else "same")

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

"""Makes Django usable in a test process: a state folder of its own, its secrets, Django set up.

The `conftest.py` files of console tests call `ready()` while they are imported, before any
test module imports a model. With AMULET_DATABASE_URL set the same tests run on that server.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from cli.layout import Layout
from cli.provision import provision


def new_state(folder: Path) -> Path:
    """Set a state folder up as `amulet up` does: folders, secrets, certificates."""
    provision(Layout.of(folder))
    return folder


@cache
def ready() -> None:
    """Set Django up, once in this process. A state folder that the environment names already is another's:
    a test process may be the child of one.
    """
    state_dir = new_state(Path(tempfile.mkdtemp(prefix="amulet-test-")))
    atexit.register(shutil.rmtree, state_dir, ignore_errors=True)
    (state_dir / "console" / "static").mkdir()
    os.environ["AMULET_STATE_DIR"] = str(state_dir)
    # Tests that are about blind and double reviews say so.
    os.environ.update(AMULET_REVIEW_BLIND_RATIO="0", AMULET_REVIEW_DOUBLE_RATIO="0")
    os.environ["DJANGO_SETTINGS_MODULE"] = "console.site.settings"
    import django

    django.setup()

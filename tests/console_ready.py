"""Makes Django usable in a test process: a state folder of its own, its secrets, Django set up.

The `conftest.py` files of console tests call `ready()` while they are imported, before any
test module imports a model. With AMULET_DATABASE_URL set the same tests run on that server.

Which files of tests share a process, and in which order, is another in each run. So what one of them
leaves in the state folder must not meet the next: `State.renew`.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cli.layout import Layout
from cli.provision import provision


def new_state(folder: Path) -> Path:
    """Set a state folder up as `amulet up` does: folders, secrets, certificates."""
    provision(Layout.of(folder))
    return folder


@dataclass(frozen=True, slots=True)
class State:
    """The state folder of this process, and a copy of it from before the first test."""

    folder: Path
    copy: Path

    def renew(self) -> None:
        """What tests left there goes; what they changed or took away is back. Static files stay: they are made once."""
        for path in (*self.folder.iterdir(), *(self.folder / "console").iterdir()):
            if path in (self.folder / "console", self.folder / "console" / "static"):
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.copy, self.folder, dirs_exist_ok=True)


@cache
def ready() -> State:
    """Set Django up, once in this process. A state folder that the environment names already is another's:
    a test process may be the child of one.
    """
    folder = Path(tempfile.mkdtemp(prefix="amulet-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    state = State(new_state(folder / "state"), folder / "copy")
    (state.folder / "console" / "static").mkdir()
    shutil.copytree(state.folder, state.copy)
    os.environ["AMULET_STATE_DIR"] = str(state.folder)
    # Tests that are about blind and double reviews say so.
    os.environ.update(AMULET_REVIEW_BLIND_RATIO="0", AMULET_REVIEW_DOUBLE_RATIO="0")
    os.environ["DJANGO_SETTINGS_MODULE"] = "console.site.settings"
    import django

    django.setup()
    return state

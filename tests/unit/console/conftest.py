from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import _lru_cache_wrapper
from typing import TYPE_CHECKING, Final

import pytest
from django.conf import settings
from django.utils import translation

from console import steady
from tests.console_ready import ready

if TYPE_CHECKING:
    from console.staff.models import User
    from console.vault.models import Consent

STATE: Final = ready()


@pytest.fixture(scope="module", autouse=True)
def _state_folder_is_as_new() -> None:
    """For each file of tests, whichever came before it in this process; what functions remember of it is forgotten."""
    STATE.renew()
    for module in [each for name, each in sys.modules.items() if name.startswith("console.")]:
        for found in list(vars(module).values()):
            if isinstance(found, _lru_cache_wrapper) and found.__module__ == module.__name__:
                found.cache_clear()


@pytest.fixture(autouse=True)
def _its_own_language() -> Iterator[None]:
    """What a request set stays in its thread: the next test must not find it."""
    yield
    translation.deactivate()


@pytest.fixture(scope="session", autouse=True)
def _static_files_are_looked_for_when_asked_for() -> None:
    """And not all hundreds of them by each test's client, before its first page."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def consent(db: None) -> Consent:
    """The shop's, an hour old."""
    from tests.unit.console.shop import agreed

    return agreed()


@pytest.fixture
def officer(db: None) -> User:
    """Who answers for people's data."""
    from console.site.roles import Role
    from tests.unit.console.people import member

    return member(Role.PRIVACY_OFFICER)


@pytest.fixture
def clock_was_set(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """The wall clock is so much further on than it was left to itself since this process began."""

    def by(ahead: timedelta) -> None:
        monkeypatch.setattr(steady, "_BEGAN_AT", (datetime.now(UTC) - ahead, time.monotonic()))

    return by


@pytest.fixture(scope="session")
def static_files() -> None:
    """Pages name their style sheets by content, so a page test needs them collected."""
    from django.core.management import call_command

    call_command("collectstatic", interactive=False, verbosity=0)


@pytest.fixture
def fresh_checkpoints() -> None:
    """The log of each test is a new one; its signatures and published checkpoints must be too.

    What an earlier test of the same process signed is in the same folder.
    """
    folder = settings.AMULET.checkpoint_dir
    (folder / "signed.json").unlink(missing_ok=True)
    for published in folder.glob("*.txt"):
        published.unlink()

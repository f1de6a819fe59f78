from __future__ import annotations

import pytest

from tests.console_ready import ready

ready()


@pytest.fixture(scope="session")
def static_files() -> None:
    """Pages name their style sheets by content, so a page test needs them collected."""
    from django.core.management import call_command

    call_command("collectstatic", interactive=False, verbosity=0)

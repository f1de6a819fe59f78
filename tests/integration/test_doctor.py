"""`amulet doctor` with the real servers: a wrong password or name is told from a server that does not run."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from cli.checks.servers import servers
from tests.integration.console.running import servers as started


@pytest.mark.servers
@pytest.mark.parametrize("name", ["postgresql+redis", "postgresql+rabbitmq"])
def test_servers_that_run_are_right(name: str) -> None:
    with started(name) as variables:
        findings = list(servers(variables))

    assert len(findings) == len(variables)
    assert all(finding.ok for finding in findings), findings


@pytest.mark.servers
@pytest.mark.parametrize(
    ("name", "setting", "wrong", "said"),
    [
        ("postgresql+redis", "AMULET_DATABASE_URL", "postgresql://nobody:hidden-word@{place}/amulet", "nobody"),
        ("postgresql+redis", "AMULET_DATABASE_URL", "postgresql://postgres@{place}/amulet_no_such", "amulet_no_such"),
        ("postgresql+redis", "AMULET_DATABASE_URL", "postgresql://nobody:a@hidden-word@{place}/amulet", "nobody"),
        ("postgresql+redis", "AMULET_CACHE_URL", "redis://nobody:hidden-word@{place}/0", "invalid username-password"),
        ("postgresql+rabbitmq", "AMULET_BROKER_URL", "amqp://guest:hidden-word@{place}/", "ACCESS_REFUSED"),
        ("postgresql+rabbitmq", "AMULET_BROKER_URL", "amqp://guest:guest@{place}/no-such-host", "no-such-host"),
    ],
)
def test_a_server_that_refuses_says_why_and_no_password_shows(name: str, setting: str, wrong: str, said: str) -> None:
    with started(name) as variables:
        url = urlsplit(variables[setting])
        (finding,) = servers({setting: wrong.format(place=f"{url.hostname}:{url.port}")})

    assert not finding.ok
    assert "refuses" in finding.found
    assert said in finding.found
    assert setting in finding.mend
    assert "hidden-word" not in f"{finding}"

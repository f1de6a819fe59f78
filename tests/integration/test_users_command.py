"""`amulet users` beside a console's own database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import supervision
from cli.layout import Layout
from cli.main import main
from tests import migrated
from tests.console_ready import new_state


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folder of a stack that ran before."""
    found = Layout.of(new_state(tmp_path / "state"))
    migrated.give_tables(found, supervision.environment(found, {}))
    found.record.write_text(json.dumps(found.document()))
    return found


def test_a_token_that_cannot_be_kept_takes_no_password_with_it(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    unkept = layout.state.with_name("t" * 250)  # while it is written its name is longer, and too long
    arguments = ("users", "create", "somchai", "--role", "approver", "--state", str(layout.state), "--json")

    assert main([*arguments, "--token-file", str(unkept)]) == 1

    printed = capsys.readouterr()
    assert json.loads(printed.out).keys() == {"name", "role", "password", "totp_seed", "otpauth_url"}
    assert f"somchai was created, and the token is lost, since {unkept} cannot be written" in printed.err
    assert "Tokens for scripts" in printed.err

"""What the demonstration leaves a person with."""

from __future__ import annotations

import shlex
from pathlib import Path

from cli.demo import what_next
from cli.layout import Layout
from cli.predict import predict

ADMIN = {"password": "opensesame", "otpauth_url": "otpauth://totp/Amulet:admin?secret=X"}


def test_who_has_seen_it_work_is_told_how_to_ask_about_a_photograph_of_their_own(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path / "my demo")

    console, factor, _, line = what_next(layout, ADMIN)

    assert (layout.console_url in console, ADMIN["password"] in console, ADMIN["otpauth_url"] in factor) == (True,) * 3
    variable, program, verb, *arguments = shlex.split(line)
    assert (program, verb) == ("amulet", predict.name)
    assert variable == f"AMULET_API_KEY_FILE={layout.secrets / 'demo_api_key'}"
    typed = predict.make_context("predict", arguments).params
    assert (typed["state"], typed["photos"]) == (layout.state, (Path("PHOTO.jpg"),))

"""Options of commands that ask about photographs: `amulet-client predict` and the platform's own `amulet predict`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_Command = Callable[..., Any]

language_option = click.option(
    "--language", type=click.Choice(["en", "th"]), default="en", show_default=True, help="Of names and advice."
)
_ASKING = (
    click.option(
        "--one-object", is_flag=True, help="All photographs show the same object: one answer for all of them."
    ),
    click.option("--model", default="", help="The model, where the key may use several."),
    click.option("--version", default="", help="A version; otherwise the route gives one."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line, one for each answer."),
    click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write the JSON lines into this file. What it has an answer for is not asked again.",
    ),
    click.option(
        "--shrink", is_flag=True, help="Send no more pixels than the model can use (needs the client's photos extra)."
    ),
)


def asking_options(command: _Command) -> _Command:
    """What to ask about, and what to do with the answers: one_object, model, version, as_json, out, shrink."""
    for option in reversed(_ASKING):
        command = option(command)
    return command

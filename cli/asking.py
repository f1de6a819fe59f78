"""What commands that ask share: of the console options, whole lists and a version by its name; of people, their yes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.connection import ConsoleConnection, RemoteError, console_connection
from cli.layout import Layout
from cli.stack import state_option_for


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--json", "as_json", is_flag=True, help="Print the console's answer as JSON.")(command)
    return state_option_for("The folder of a local stack; AMULET_CONSOLE_URL names another console.")(command)


def reason_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--reason", required=True, help="Kept in the audit log.")(command)


def agreed(question: str, *, otherwise: str) -> bool:
    """What somebody at the terminal answers, who is told where it is no. Raises click.UsageError where nobody is there.

    otherwise: what the option does that answers in advance.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody can be asked here: --yes {otherwise}")
    if click.confirm(question, err=True):
        return True
    click.echo("Nothing was changed.", err=True)
    return False


def console_of(state: Path) -> ConsoleConnection:
    """Raises RemoteError when no token is to be found."""
    return console_connection(Layout.of(state))


def find_version(console: ConsoleConnection, name: str) -> dict[str, Any]:
    """The newest version of that name, and no refused copy where there is another. Raises RemoteError for none.

    An archive that is pushed once more is refused, because its name is taken, and is the newest with that name.
    """
    found = every(console, "versions/", {"version": name})
    if not found:
        raise RemoteError(f"there is no version {name}: `amulet models list` shows those there are")
    return next((version for version in found if version["state"] != "refused"), found[0])


def every(console: ConsoleConnection, path: str, parameters: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """All pages of a list."""
    answer = console.call("GET", path, params=parameters)
    results = _rows(console, answer)
    while isinstance(answer, dict) and answer.get("next"):
        _, found, further = str(answer["next"]).partition("/api/v1/")
        if not found:
            raise console.no_console()
        answer = console.call("GET", further)
        results += _rows(console, answer)
    return results


def _rows(console: ConsoleConnection, answer: Any) -> list[dict[str, Any]]:
    """Raises RemoteError for what is no page of a list."""
    rows = answer["results"] if isinstance(answer, dict) else answer
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise console.no_console()
    return list(rows)


def print_json(answer: Any) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False))

"""How the command line finds a gateway, a console and the key or token for each.

In this order: the option, the environment variable, what the stack in the state folder
offers. A secret comes from a file or the environment, never from an option: options show
in the list of processes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

from cli.layout import Layout

ANSWER_S_MAX = 60.0


class RemoteError(click.ClickException):
    """The console or the gateway refused, or could not be reached; worded for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class ConsoleConnection:
    """The console's REST interface, as one member of staff."""

    url: str
    token: str

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One call; the parsed JSON, or None for an empty answer. Raises RemoteError."""
        response = self.send(method, path, **options)
        return response.json() if response.content else None

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = httpx.request(
                method,
                f"{self.url}/api/v1/{path}",
                headers={"Authorization": f"Token {self.token}", **options.pop("headers", {})},
                timeout=ANSWER_S_MAX,
                **options,
            )
        except httpx.HTTPError as error:
            raise RemoteError(
                f"the console at {self.url} cannot be reached: {error}; `amulet status` may say why"
            ) from error
        if response.is_error:
            raise RemoteError(_worded(response))
        return response


def console_connection(layout: Layout) -> ConsoleConnection:
    """Raises RemoteError when no token is to be found."""
    token = secret("CONSOLE_TOKEN")
    if token is None:
        raise RemoteError(
            "no token for the console: set AMULET_CONSOLE_TOKEN or AMULET_CONSOLE_TOKEN_FILE "
            "(`amulet users create NAME --role ROLE --json` prints one)"
        )
    return ConsoleConnection(os.environ.get("AMULET_CONSOLE_URL", layout.console_url).rstrip("/"), token)


def secret(name: str) -> str | None:
    """AMULET_{name}, or what stands in the file that AMULET_{name}_FILE names; None when neither is set.

    Raises RemoteError on an unreadable file.
    """
    if value := os.environ.get(f"AMULET_{name}"):
        return value.strip()
    file = os.environ.get(f"AMULET_{name}_FILE")
    if not file:
        return None
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise RemoteError(f"AMULET_{name}_FILE: {file} cannot be read: {error.strerror}") from error


def _worded(response: httpx.Response) -> str:
    try:
        problem = response.json()
        detail = problem.get("detail") or problem.get("title") or ""
        field = f" ({problem['field']})" if problem.get("field") else ""
    except (ValueError, AttributeError):
        return f"the console answered {response.status_code} {response.reason_phrase}"
    return f"the console refused{field}: {detail}"

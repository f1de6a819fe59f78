"""How the command line finds a gateway, a console and the key or token for each.

In this order: the option, the environment variable, what the stack in the state folder
offers. A secret comes from a file or the environment, never from an option: options show
in the list of processes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

from cli.layout import Layout

ANSWER_S_MAX = 60.0
_ON_THIS_MACHINE = ("http://127.0.0.1:", "http://localhost:", "http://[::1]:")


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
        try:
            answer = response.json(object_hook=_Answer) if response.content else None
        except ValueError:
            raise self.no_console() from None
        if response.content and not isinstance(answer, dict | list):
            raise self.no_console()
        return _Answers(answer) if isinstance(answer, list) else answer

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One call; the answer, which says that it is done. Raises RemoteError."""
        with self._reached():
            response = httpx.request(
                method,
                f"{self.url}/api/v1/{path}",
                headers={**self._headers(), **options.pop("headers", {})},
                timeout=ANSWER_S_MAX,
                trust_env=not self._inside(),
                **options,
            )
        self._check(response)
        return response

    def pieces(
        self, path: str, *, method: str = "GET", wait_s: float = ANSWER_S_MAX, **options: Any
    ) -> Iterator[bytes]:
        """The bytes of a long answer as they come. Raises RemoteError, also when it breaks off."""
        url = f"{self.url}/api/v1/{path}"
        with (
            self._reached(),
            httpx.stream(
                method, url, headers=self._headers(), timeout=wait_s, trust_env=not self._inside(), **options
            ) as response,
        ):
            if not response.is_success:
                response.read()
            self._check(response)
            if "html" in response.headers.get("Content-Type", ""):
                raise self.no_console()
            yield from response.iter_bytes()

    def _headers(self) -> dict[str, str]:
        """A console behind TLS sends plain HTTP on to HTTPS; what does not leave this machine needs none."""
        inside = {"X-Forwarded-Proto": "https"} if self._inside() else {}
        return {"Authorization": f"Token {self.token}", **inside}

    def _inside(self) -> bool:
        """Whether the console is asked without leaving this machine, and so without a proxy of the environment."""
        return self.url.startswith(_ON_THIS_MACHINE)

    def _check(self, response: httpx.Response) -> None:
        """Raises RemoteError for everything but success: what was sent on elsewhere has not been done."""
        if response.has_redirect_location:
            raise RemoteError(
                f"the console at {self.url} sends on to {response.headers['Location']}, and nothing was done: set "
                "AMULET_CONSOLE_URL to the address at which it answers itself"
            )
        if not response.is_success:
            raise RemoteError(_worded(response))

    def no_console(self) -> RemoteError:
        return RemoteError(f"what answers at {self.url} is no Amulet console: AMULET_CONSOLE_URL says where that is")

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise RemoteError(
                f"AMULET_CONSOLE_URL is {self.url}, which is no address: it has the form http://HOST:PORT"
            ) from error
        except (ImportError, ValueError) as error:  # before anything is sent httpx makes a way by each proxy
            if "proxy" not in str(error):
                raise
            raise RemoteError(
                f"the console at {self.url} cannot be reached by the proxy that the environment names (all_proxy, "
                "https_proxy or http_proxy), which is none for HTTP: name one as http://HOST:PORT, or the console's "
                "host in no_proxy"
            ) from error
        except httpx.HTTPError as error:
            why = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
            raise RemoteError(
                f"the console at {self.url} cannot be reached ({why}): `amulet status` says what runs"
            ) from error


class _Answer(dict[str, Any]):
    """A JSON object as a console gives it: another server's lacks what is looked up in it."""

    def __missing__(self, key: str) -> Any:
        raise RemoteError(
            f"what answers says nothing of {key!r}: it is no Amulet console, or one of another version "
            "(AMULET_CONSOLE_URL says where that is)"
        )


class _Answers(list[Any]):
    """A JSON list, which is no answer where an object is looked for."""

    def __getitem__(self, key: Any) -> Any:
        return _Answer()[key] if isinstance(key, str) else super().__getitem__(key)


def console_connection(layout: Layout) -> ConsoleConnection:
    """Raises RemoteError when no token is to be found."""
    token = secret("CONSOLE_TOKEN")
    if token is None:
        raise RemoteError(
            "no token for the console: set AMULET_CONSOLE_TOKEN or AMULET_CONSOLE_TOKEN_FILE "
            "(`amulet users create NAME --role ROLE --json` prints one)"
        )
    return ConsoleConnection((os.environ.get("AMULET_CONSOLE_URL") or layout.console_url).rstrip("/"), token)


def secret(name: str) -> str | None:
    """AMULET_{name}, or what stands in the file that AMULET_{name}_FILE names; None when neither is set.

    Raises RemoteError on an unreadable file, and on what cannot be a key or a token.
    """
    variable, file = f"AMULET_{name}", os.environ.get(f"AMULET_{name}_FILE")
    value = os.environ.get(variable, "").strip()
    if not value and file:
        variable = f"AMULET_{name}_FILE ({file})"
        try:
            value = Path(file).read_text("utf-8", errors="replace").strip()
        except OSError as error:
            raise RemoteError(f"{variable} cannot be read: {error.strerror}") from error
    elif not value:
        return None
    if not value:
        raise RemoteError(f"{variable} is empty: it should hold one line, as it was shown when it was made")
    if not (value.isascii() and value.isprintable()) or " " in value:
        # What was set may be a secret with something beside it: it is not repeated.
        raise RemoteError(
            f"{variable} holds no key or token: it should be the one line that was shown when it was made"
        )
    return value


def _worded(response: httpx.Response) -> str:
    try:
        problem = response.json()
        detail = problem.get("detail") or problem.get("title") or ""
        field = f" ({problem['field']})" if problem.get("field") else ""
    except (ValueError, AttributeError):
        return f"the console answered {response.status_code} {response.reason_phrase}"
    return f"the console refused{field}: {detail}"

"""The servers that the settings name instead of the embedded defaults: asked as a process will ask them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from cli.checks.finding import Finding, right, wrong
from cli.layout import HOST

CONNECT_S_MAX: Final = 3.0
PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {"postgresql": 5432, "postgres": 5432, "redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
)
NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"postgresql": "PostgreSQL", "postgres": "PostgreSQL", "redis": "Redis", "rediss": "Redis"}
)


def servers(environment: Mapping[str, str]) -> Iterator[Finding]:
    for name in ("DATABASE_URL", "BROKER_URL", "CACHE_URL"):
        text = environment.get(f"AMULET_{name}", "")
        try:
            url = urlsplit(text)
            host, port = url.hostname or HOST, url.port
        except ValueError as error:
            yield wrong(
                f"AMULET_{name}", f"is no URL: {error}", "it has the form SCHEME://USER:PASSWORD@HOST:PORT/NAME"
            )
            continue
        if url.scheme not in PORTS:
            continue  # embedded: needs no server
        yield server(f"AMULET_{name}", text, url.scheme, host, port or PORTS[url.scheme])


def server(check: str, url: str, scheme: str, host: str, port: int) -> Finding:
    """Never says the URL itself: it may hold a password."""
    kind = NAMES.get(scheme, "RabbitMQ")
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S_MAX):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        mend = f"start {kind} there, name another in {check}, or unset it for the embedded default"
        return wrong(check, f"{host}:{port} does not answer ({why})", mend)
    refusal = _refusal(scheme, url)
    if refusal:
        return wrong(
            check, f"{kind} at {host}:{port} refuses: {refusal}", f"look at user, password and name in {check}"
        )
    return right(check, f"{kind} at {host}:{port} answers")


def _refusal(scheme: str, url: str) -> str:
    """Why the server does not let this user in; empty when it does."""
    asked = {"postgresql": _postgresql, "postgres": _postgresql, "redis": _redis, "rediss": _redis}
    return _worded(asked.get(scheme, _rabbitmq)(url), url)


def _postgresql(url: str) -> str:
    import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own

    try:
        psycopg2.connect(url, connect_timeout=int(CONNECT_S_MAX)).close()
    except psycopg2.Error as error:
        return str(error)
    return ""


def _redis(url: str) -> str:
    import redis

    try:
        redis.Redis.from_url(url, socket_timeout=CONNECT_S_MAX, socket_connect_timeout=CONNECT_S_MAX).ping()
    except (redis.RedisError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""


def _rabbitmq(url: str) -> str:
    import kombu
    from amqp.exceptions import AMQPError  # type: ignore[import-untyped]

    untyped: Any = kombu
    connection = untyped.Connection(url, connect_timeout=CONNECT_S_MAX)
    try:
        connection.connect()
    except (AMQPError, OSError) as error:
        return str(error) or type(error).__name__
    finally:
        connection.release()
    return ""


def _worded(text: str, url: str) -> str:
    """One line, without the password."""
    line = " ".join(text.split())
    password = urlsplit(url).password
    for secret in {password, unquote(password)} if password else ():
        line = line.replace(secret, "***")
    return line

"""The servers that the settings name instead of the embedded defaults: asked as a process will ask them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from cli.checks.finding import Finding, misset, right, wrong
from cli.layout import HOST
from protos.addresses import BROKERS, CACHES, DATABASES, address

CONNECT_S_MAX: Final = 3.0
PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {"postgresql": 5432, "redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
)
NAMES: Final[Mapping[str, str]] = MappingProxyType({"postgresql": "PostgreSQL", "redis": "Redis", "rediss": "Redis"})
SCHEMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"DATABASE_URL": DATABASES, "BROKER_URL": BROKERS, "CACHE_URL": CACHES}
)


def servers(environment: Mapping[str, str]) -> Iterator[Finding]:
    for name, schemes in SCHEMES.items():
        text = environment.get(f"AMULET_{name}", "")
        # Of several brokers Celery asks the next where one is away.
        for each in text.split(";") if name == "BROKER_URL" else (text,):
            if each:
                yield from _named(f"AMULET_{name}", each, schemes)


def _named(check: str, text: str, schemes: tuple[str, ...]) -> Iterator[Finding]:
    try:
        url = address(text, schemes)
    except ValueError as error:
        yield misset(
            check, f"is no URL that Amulet takes: {error}", "it has the form SCHEME://USER:PASSWORD@HOST:PORT/NAME"
        )
        return
    if url.scheme in PORTS:  # the others are embedded and need no server
        yield server(check, text, url.scheme, url.hostname or HOST, url.port or PORTS[url.scheme])


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
    asked = {"postgresql": _postgresql, "redis": _redis, "rediss": _redis}
    return _worded(asked.get(scheme, _rabbitmq)(url), url)


def postgresql(url: str) -> Any:
    """A connection as the console makes one. Raises psycopg2.Error."""
    import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own

    # By its parts, as the console does: libpq ends a password at its first @ and calls the rest a host.
    parts = urlsplit(url)
    named = {
        "host": parts.hostname,
        "port": parts.port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "dbname": unquote(parts.path.lstrip("/")),
    }
    further = {"connect_timeout": int(CONNECT_S_MAX), **dict(parse_qsl(parts.query))}
    return psycopg2.connect(**{**further, **{name: value for name, value in named.items() if value}})


def _postgresql(url: str) -> str:
    import psycopg2

    try:
        postgresql(url).close()
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

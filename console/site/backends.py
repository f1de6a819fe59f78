"""Which database, broker and cache the settings name, as Django and Celery want them described."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from console.site.configuration import ConsoleSettings


def database(settings: ConsoleSettings) -> dict[str, Any]:
    """Django's description of the database."""
    url = urlsplit(settings.database_url)
    if url.scheme in ("", "sqlite"):
        path = Path(unquote(url.path).removeprefix("/")) if url.scheme else settings.data_dir / "db.sqlite3"
        if url.scheme and url.path.startswith("//"):
            path = Path(unquote(url.path)[1:])
        return _sqlite(path)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path.lstrip("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": url.hostname or "",
        "PORT": str(url.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, **dict(parse_qsl(url.query))},
    }


def broker(settings: ConsoleSettings) -> tuple[str, dict[str, Any]]:
    """Celery's broker address and the options of its transport."""
    url = urlsplit(settings.broker_url)
    if url.scheme not in ("", "filesystem"):
        return settings.broker_url, {"visibility_timeout": 3600} if url.scheme.startswith("redis") else {}
    folder = Path(unquote(url.path)) if url.scheme else settings.data_dir / "broker"
    queue, control = folder / "queue", folder / "control"
    return "filesystem://", {
        "data_folder_in": str(queue),
        "data_folder_out": str(queue),
        "control_folder": str(control),
        "polling_interval": 0.5,
    }


def cache(settings: ConsoleSettings) -> dict[str, Any]:
    """Django's description of the default cache."""
    if settings.cache_url.startswith("memory"):
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": settings.cache_url}


def _sqlite(path: Path) -> dict[str, Any]:
    # FULL, not NORMAL: an event is acknowledged to the gateway once it is committed here, so a
    # commit must survive a power cut. IMMEDIATE takes the write lock at BEGIN, where waiting
    # for it is possible; a read transaction that becomes a write one fails at once instead.
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16000; "
            # What is deleted is overwritten: an erasure must leave no bytes in free pages.
            "PRAGMA secure_delete=ON;",
        },
    }

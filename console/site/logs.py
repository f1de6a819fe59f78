"""How the console's processes log: one line an event, on standard error."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from django.http import HttpRequest

FAULT_ID: Final = "fault_id"  # of a request that ended in our own fault: what its page and its line in the log share


def configuration(*, level: str, form: str) -> dict[str, Any]:
    """A `logging` configuration: form "json" for machines, "text" for people."""
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _of_its_request,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "logger", "event"])
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django.request": {"level": "ERROR"},  # a 4xx is the caller's news, not ours
            "axes": {"level": "WARNING"},
            "fontTools": {"level": "WARNING"},  # every glyph of a PDF
            "httpx": {"level": "WARNING"},
            "botocore": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
        },
    }


def _of_its_request(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: what a line says of the request that it tells of.

    The id that the page of a fault shows, method and path. Never the query: people are looked for in it by name.
    """
    request = line.get("request")
    if isinstance(request, HttpRequest):
        line["request"] = f"{request.method} {request.path}"
        fault_id = getattr(request, FAULT_ID, None)
        if fault_id is not None:
            line[FAULT_ID] = fault_id
    return line

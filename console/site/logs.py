"""How the console's processes log: one line an event, on standard error."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

import structlog

FAULT_ID: Final = "fault_id"  # of a request that ended in our own fault: what its page and its line in the log share


def configuration(*, level: str, form: str) -> dict[str, Any]:
    """A `logging` configuration: form "json" for machines, "text" for people."""
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _with_fault_id,
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


def _with_fault_id(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: the id that the page of a fault shows, on the line that tells of it."""
    fault_id = getattr(line.get("request"), FAULT_ID, None)
    if fault_id is not None:
        line[FAULT_ID] = fault_id
    return line

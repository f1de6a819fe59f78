"""The header in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from console.idempotency.middleware import HEADER
from console.idempotency.services import KEY_MAX, KEY_MIN

_PARAMETER: Final = {
    "in": "header",
    "name": HEADER,
    "schema": {"type": "string", "minLength": KEY_MIN, "maxLength": KEY_MAX, "pattern": "^[ -~]+$"},
    "description": "Names this call: sent again within a day with the same body, it is answered as the first time.",
}


def add_header(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: every POST takes the header."""
    for path in result["paths"].values():
        if "post" in path:
            path["post"].setdefault("parameters", []).append(_PARAMETER)
    return result

"""What the OpenAPI document says of every operation alike: its refusals, its bounds, the scope that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from console.preconditions import HEADER
from console.site.problem import CONTENT_TYPE, TITLE_OF
from console.staff.scopes import PREFIX, needed, shape_of

_METHODS: Final = ("get", "post", "put", "patch", "delete")
# Reading that another process makes possible: the one that signs the audit log. `*` stands for a parameter.
_MAY_BE_AWAY: Final = frozenset(
    {
        "audit/export/",
        "audit/verification/",
        "audit/entries/*/receipt/",
        "privacy/requests/*/certificate/",
        "privacy/requests/*/certificate/pdf/",
    }
)
_SOMETHING: Final = r"^[^\x00]*\S[^\x00]*$"
_PROBLEM: Final = {
    "type": "object",
    "description": "Why a call was refused (RFC 9457).",
    "required": ["type", "title", "status", "detail", "reason", "field"],
    "properties": {
        "type": {"type": "string", "description": "urn:amulet:problem: and the reason."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence for a person."},
        "reason": {"type": "string", "description": "One word for a program."},
        "field": {"type": "string", "description": 'What is wrong in the call; "" for the whole.'},
    },
    "additionalProperties": False,
}


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: each operation with the refusals that it may answer with."""
    result["components"]["schemas"]["Problem"] = _PROBLEM
    for address, path in result["paths"].items():
        for method in path.keys() & set(_METHODS):
            for status in _refusals(method, path[method], address.removeprefix(f"/{PREFIX}")):
                path[method]["responses"].setdefault(str(status), _response(status))
    return result


def close_requests(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: what `console.staff.rest.read` and `console.filtering` refuse, said beforehand."""
    schemas = result["components"]["schemas"]
    for operation in _operations(result):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            named = content["schema"].get("$ref", "").rpartition("/")[2]
            if named:
                schemas[named]["additionalProperties"] = False
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and parameter["schema"] == {"type": "string"}:
                parameter["schema"] = {"type": "string", "pattern": _SOMETHING}
    return result


def add_scopes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: the scope that a token needs, which OpenAPI 3.0 knows for OAuth alone."""
    for path, methods in result["paths"].items():
        for method in methods.keys() & set(_METHODS):
            methods[method]["x-scope"] = needed(method.upper(), path.removeprefix(f"/{PREFIX}")).value
    return result


def _operations(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (path[method] for path in result["paths"].values() for method in _METHODS if method in path)


def _refusals(method: str, operation: Mapping[str, Any], route: str) -> Iterator[int]:
    parameters = operation.get("parameters", ())
    if parameters or "requestBody" in operation:
        yield 400
    yield from (401, 403)
    if any(parameter.get("required") for parameter in parameters):  # it names something
        yield 404
    if method != "get":
        yield 409
    if any(parameter["name"] == HEADER for parameter in parameters):
        yield 412
    if method != "get" or shape_of(route) in _MAY_BE_AWAY:
        yield 503
    if "requestBody" in operation:
        yield from (413, 415)


def _response(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": TITLE_OF[status], "content": {CONTENT_TYPE: {"schema": schema}}}

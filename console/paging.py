"""How lists are cut into pages: along an order, from where the page before ended.

A cursor names the last row's place in the order, all of it, so a page deep in the past costs what the
first one does, and rows that come in meanwhile move nothing: none is shown twice, none is left out.
DRF's own cursor knows the first column of an order alone and counts rows within it; entries of one
batch have one time, and a batch may have thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from django.core import signing
from django.db.models import Model, Q
from django.http import QueryDict
from django.utils.translation import gettext as _
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from console.errors import Invalid

NEWEST_FIRST: Final = ("-pk",)
CURSOR: Final = "cursor"
SIZE: Final = "page_size"
SIZE_DEFAULT: Final = 50
SIZE_MAX: Final = 500
CURSOR_CHARACTERS_MAX: Final = 1000
_AFTER, _BEFORE = "after", "before"


class Pages(BasePagination):
    """`?cursor=…&page_size=100`, newest first.

    A view may say another `page_order`: columns without nulls, the last one unique.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """The rows of one page. Raises Invalid for a cursor that no list of this order gave, or a size out of range."""
        order: tuple[str, ...] = getattr(view, "page_order", NEWEST_FIRST)
        size = _size(request.query_params.get(SIZE))
        direction, place = _read(request.query_params.get(CURSOR), order)
        walked = order if direction == _AFTER else tuple(map(_turned, order))
        rows = queryset.order_by(*walked)
        if place is not None:
            rows = rows.filter(_beyond(walked, place))
        found = list(rows[: size + 1])
        more, page = len(found) > size, found[:size]
        if direction == _BEFORE:
            page.reverse()
        goes_on = more if direction == _AFTER else True
        came_from = place is not None if direction == _AFTER else more
        address = request.build_absolute_uri()
        self._next = _link(address, _AFTER, order, page[-1]) if page and goes_on else None
        self._previous = _link(address, _BEFORE, order, page[0]) if page and came_from else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._next, "previous": self._previous, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": {**link, "description": "The address of the page after this one; null on the last one."},
                "previous": {**link, "description": "The address of the page before this one; null on the first one."},
                "results": {**schema, "maxItems": SIZE_MAX},
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "maximum": SIZE_MAX, "default": SIZE_DEFAULT}
        return [
            {
                "name": CURSOR,
                "in": "query",
                "required": False,
                "description": "Out of the address of another page; left out, the list begins.",
                "schema": {"type": "string", "maxLength": CURSOR_CHARACTERS_MAX},
            },
            {"name": SIZE, "in": "query", "required": False, "description": "Rows a page.", "schema": size},
        ]


def _size(text: str | None) -> int:
    if text is None:
        return SIZE_DEFAULT
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= SIZE_MAX:
        raise Invalid(_("a page has 1 to {most} rows").format(most=SIZE_MAX), field=SIZE)
    return int(text)


def _turned(name: str) -> str:
    return name.removeprefix("-") if name.startswith("-") else f"-{name}"


def _beyond(order: Sequence[str], place: Sequence[Any]) -> Q:
    """Rows behind a place. The first column is bounded by itself as well, which an index can follow."""
    behind, same = Q(), Q()
    for name, value in zip(order, place, strict=True):
        column, direction = name.removeprefix("-"), "lt" if name.startswith("-") else "gt"
        behind |= same & Q(**{f"{column}__{direction}": value})
        same &= Q(**{column: value})
    first, direction = order[0].removeprefix("-"), "lte" if order[0].startswith("-") else "gte"
    return behind if len(order) == 1 else Q(**{f"{first}__{direction}": place[0]}) & behind


def _link(address: str, direction: str, order: Sequence[str], row: Model) -> str:
    # Signed, so that what comes back is a place that we gave, of the kind that the columns have.
    place = [_told(getattr(row, name.removeprefix("-"))) for name in order]
    text = signing.dumps([direction, place], salt=_salt(order), compress=False)
    parts = urlsplit(address)
    query = QueryDict(parts.query, mutable=True)
    query[CURSOR] = text
    return urlunsplit(parts._replace(query=query.urlencode()))


def _read(text: str | None, order: Sequence[str]) -> tuple[str, list[Any] | None]:
    if text is None:
        return _AFTER, None
    try:
        direction, place = signing.loads(text[:CURSOR_CHARACTERS_MAX], salt=_salt(order))
    except signing.BadSignature:
        raise Invalid(
            _("this cursor is out of no page of this list: without it the list begins"), field=CURSOR
        ) from None
    return direction, [_heard(kind, value) for kind, value in place]


def _salt(order: Sequence[str]) -> str:
    return f"console.paging {' '.join(order)}"


def _told(value: Any) -> tuple[str, Any]:
    """A value as JSON keeps it to the last microsecond."""
    match value:
        case datetime():
            return "datetime", value.isoformat()
        case UUID():
            return "uuid", str(value)
        case _:
            return "plain", value


def _heard(kind: str, value: Any) -> Any:
    match kind:
        case "datetime":
            return datetime.fromisoformat(value)
        case "uuid":
            return UUID(value)
        case _:
            return value

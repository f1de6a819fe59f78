"""Changes through REST that are meant for what their caller has seen: `ETag` and `If-Match` (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

HEADER: Final = "If-Match"
_ANY: Final = "*"
_OURS: Final = re.compile(r'"(\d{1,18})"')
# For `extend_schema`: what an answer carries, and what a change may say.
ETAG: Final = OpenApiParameter(
    "ETag",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    required=True,
    response=[200],
    description="Another one after each change; for `If-Match`.",
)
IF_MATCH: Final = OpenApiParameter(
    HEADER,
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The `ETag` of what you have seen. Where it was changed since, nothing is done: 412. Without: what "
    "somebody else changed meanwhile is overwritten.",
)


def etag(revision: int) -> str:
    """The strong validator of a resource whose every change raises its revision."""
    return f'"{revision}"'


def seen(request: Request, *, current: Callable[[], int]) -> int | None:
    """The revision that a caller asks for who would change what they have seen; None: they do not say, or do not mind.

    current: reads the resource's revision, which is returned where it is one of several that they name. Of those that
    were never ours -1 is returned, which no revision is.
    """
    given = request.headers.get(HEADER, "")
    if not given or given.strip() == _ANY:
        return None
    named = parse_etags(given)
    if etag(now := current()) in named:
        return now
    # A weak one (W/"…") never matches, and neither does what is no validator at all.
    found = [match for match in map(_OURS.fullmatch, named) if match is not None]
    return max((int(match[1]) for match in found), default=-1)

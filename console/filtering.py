"""What a list may be asked for: the filters that it declares, its page, and nothing else; and the search of a page."""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.forms import IntegerField
from django.utils.translation import gettext as _
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import BooleanFilter, CharFilter, DjangoFilterBackend, Filter, IsoDateTimeFilter
from drf_spectacular.utils import extend_schema_field
from rest_framework.request import Request

from console.errors import Invalid
from console.instants import in_utc
from console.paging import CURSOR, SIZE

_BOOLEANS: Final = ("true", "false")
_NUMBER_MAX: Final = 2**63 - 1  # what a database counts to


class KnownFilters(DjangoFilterBackend):
    """django-filter, and a refusal of what it ignores: other names, and values that are none.

    A mistyped filter would else answer with everything, and whoever asked would not know.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        filters = self.get_filterset_class(view, queryset)
        known: dict[str, Any] = dict(filters.base_filters) if filters else {}
        for name in request.query_params:
            if name in (CURSOR, SIZE):
                continue
            if name not in known:
                names = ", ".join(sorted((CURSOR, SIZE, *known)))
                raise Invalid(_("there is no such filter; there are: {names}").format(names=names), field=name[:100])
            for value in request.query_params.getlist(name):
                _check(known[name], name, value)
        found: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return found


class PartOf(CharFilter):
    """Rows of which each word is a part of one of these columns, in whatever case: the search of an admin page.

    For tables that are small: no index helps.
    """

    def __init__(self, *columns: str) -> None:
        super().__init__(help_text="Words, each a part of one of: " + ", ".join(columns) + ".")
        self._columns = columns

    def filter(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        for word in (value or "").split():
            rows = rows.filter(reduce(or_, (Q(**{f"{column}__icontains": word}) for column in self._columns)))
        return rows


class _InstantField(IsoDateTimeField):
    def to_python(self, value: Any) -> datetime | None:
        moment: datetime | None = super().to_python(value)
        try:
            return None if moment is None else in_utc(moment)
        except ValueError:
            raise ValidationError(_("There is no such day.")) from None


class Instant(IsoDateTimeFilter):
    """A moment, with whatever offset; without one it is the console's own time."""

    field_class = _InstantField


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": _NUMBER_MAX})
class RowNumber(Filter):
    """The number of a row, as addresses have it. `NumberFilter` takes any decimal, and refuses those beyond 1e50."""

    field_class = IntegerField

    def __init__(self, column: str, *, help_text: str) -> None:
        super().__init__(column, help_text=help_text, min_value=1, max_value=_NUMBER_MAX)


def _check(known: Any, name: str, value: str) -> None:
    if not value.strip():
        raise Invalid(_("{field} has no value: leave it out, or say which").format(field=name), field=name)
    if isinstance(known, BooleanFilter) and value not in _BOOLEANS:
        raise Invalid(_("{field} is one of: {names}").format(field=name, names=", ".join(_BOOLEANS)), field=name)

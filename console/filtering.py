"""What a list may be asked for: the filters that it declares, its page, and nothing else."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters.rest_framework import BooleanFilter, DjangoFilterBackend
from rest_framework.request import Request

from console.errors import Invalid
from console.paging import CURSOR, SIZE

_BOOLEANS: Final = ("true", "false")


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


def _check(known: Any, name: str, value: str) -> None:
    if not value.strip():
        raise Invalid(_("{field} has no value: leave it out, or say which").format(field=name), field=name)
    if isinstance(known, BooleanFilter) and value not in _BOOLEANS:
        raise Invalid(_("{field} is one of: {names}").format(field=name, names=", ".join(_BOOLEANS)), field=name)

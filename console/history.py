"""Lists over tables that grow for ever: what a page costs must not depend on how long the history is."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.admin import ModelAdmin, ShowFacets
from django.core.paginator import Page
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import DropdownFilter
from unfold.paginator import InfinitePaginator
from unfold.views import ChangeList

from console.pages import ReadOnlyAdmin

VALUES_MAX: Final = 200


def distinct_values(model: type[Model], column: str) -> list[str]:
    """The different values of an indexed text column, in order; at most VALUES_MAX.

    Jumps along the index from each value to the next one, where DISTINCT would read the whole table.
    """
    table, name = model._meta.db_table, connection.ops.quote_name(column)
    first, rest = f"SELECT MIN({name})", f"FROM {table}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE jump(value) AS ({first} {rest} UNION ALL "  # noqa: S608 - names of ours
            f"SELECT ({first} {rest} WHERE {name} > jump.value) FROM jump WHERE jump.value IS NOT NULL) "
            "SELECT value FROM jump WHERE value IS NOT NULL AND value <> '' LIMIT %s",
            [VALUES_MAX],
        )
        return [row[0] for row in cursor.fetchall()]


class DistinctFilter(DropdownFilter):
    """A drop-down of the values that an indexed column has. Say `title`, `parameter_name` and `column`."""

    column: str

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(value, self.text_of(value)) for value in distinct_values(model_admin.model, self.column)]

    def text_of(self, value: str) -> str:
        """What the person reads for a value."""
        return value

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class _PreparedList(ChangeList):
    """Gives the admin the rows of a page before they are shown, and leads to all of them."""

    result_list: Any
    clear_all_filters_qs: Any

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        if self.clear_all_filters_qs == "?":
            self.clear_all_filters_qs = self.model_admin.everything
        self.nothing_waits = self.model_admin.nothing_waits(request)
        return found

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # A list that is never counted has no number of rows for its heading; the theme leaves it out where both agree.
        self.full_result_count = self.result_count
        rows: list[Any] = list(self.result_list)
        self.model_admin.prepare(request, rows)
        self.result_list = rows


class DeepPaginator(InfinitePaginator):
    """Pages that are never counted, of which those far down pass over keys and not over whole rows.

    What a row is joined with is read for the page alone: an offset reads all that it leaves out.
    """

    object_list: QuerySet[Any]

    def page(self, number: int | str) -> Page[Any]:
        """Raises InvalidPage for what is no number of a page."""
        place: int = self.validate_number(number)
        rows = self.object_list
        if place > 1:
            passed = (place - 1) * self.per_page
            rows = rows.filter(pk__in=list(rows.values_list("pk", flat=True)[passed : passed + self.per_page]))
        found: Page[Any] = self._get_page(rows[: self.per_page], place, self)
        return found


class HistoryAdmin(ReadOnlyAdmin):
    """A list that is never counted."""

    in_order: str | Promise = gettext_lazy("The newest first.")
    paginator = DeepPaginator
    show_full_result_count = False
    list_per_page = 50
    list_filter_submit = True
    show_facets = ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **named: Any) -> type[ChangeList]:
        return _PreparedList

    def nothing_waits(self, request: HttpRequest) -> str:
        """The heading of an empty list that was asked for what waits to be done and for nothing else; else ""."""
        return ""

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        """Put onto the rows of a page what their columns show and the table does not hold: one query, not one each."""

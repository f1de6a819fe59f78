"""Days and times as people type them: in the order of their language, in either era, and refused with what is right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, time
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.formats import get_format
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.contrib.filters.forms import RangeDateTimeForm
from unfold.widgets import UnfoldAdminSplitDateTimeWidget

from console.instants import clock, gregorian, in_utc, parted


class MomentWidget(UnfoldAdminSplitDateTimeWidget):
    """The theme's two boxes; each says how it is written."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self.widgets[0].attrs["placeholder"] = gettext_lazy("Day, as 2026-12-31")
        self.widgets[1].attrs["placeholder"] = gettext_lazy("Time, as 09:30")


class MomentField(forms.SplitDateTimeField):
    """A day and a time."""

    widget = MomentWidget
    default_error_messages: ClassVar = {
        "invalid_date": gettext_lazy("Write the day as 2026-12-31."),
        "invalid_time": gettext_lazy("Write the time as 09:30."),
        "no_such_day": gettext_lazy("There is no such day."),
    }

    def clean(self, value: Any) -> datetime | None:
        day, time_of_day = _typed(value)
        day = gregorian(day)
        if _is_in_no_calendar(day):
            raise ValidationError(self.error_messages["no_such_day"], code="no_such_day")
        found: datetime | None = super().clean([day, clock(time_of_day)])
        return found


def _is_in_no_calendar(day: str) -> bool:
    """Whether a day is written as it should be, and is none: 31 February."""
    if not any(_shape(form).fullmatch(day.strip()) for form in get_format("DATE_INPUT_FORMATS")):
        return False
    try:
        forms.DateField().to_python(day)
    except ValidationError:
        return True
    return False


def _shape(form: str) -> re.Pattern[str]:
    """Of a form in numbers; of one with the names of months, a pattern that nothing fits."""
    shape = re.escape(form).replace("%Y", r"\d{4}").replace("%m", r"\d{1,2}").replace("%d", r"\d{1,2}")
    return re.compile(shape if "%" not in shape else "(?!)")


def _typed(value: Any) -> tuple[str, str]:
    """What stands in the two boxes. A page writes a day and its time in one line, which is taken over whole."""
    day, time_of_day = value or ("", "")
    return (day or "", time_of_day) if time_of_day else parted(day or "")


class _EndField(MomentField):
    """One end of a range. `at`: when on that day, where the day is typed alone. A day that UTC has not is none."""

    def __init__(self, *, at: time, **named: Any) -> None:
        super().__init__(**named)
        self._at = at

    def clean(self, value: Any) -> datetime | None:
        day, time_of_day = _typed(value)
        found = super().clean([day, time_of_day or (self._at.isoformat() if day else "")])
        try:
            return None if found is None else in_utc(found)
        except ValueError:
            raise ValidationError(self.error_messages["invalid_date"], code="invalid_date") from None


class MomentRangeForm(RangeDateTimeForm):
    """The theme's, whose boxes say how a day is written; one alone is the whole of it."""

    def __init__(self, name: str, *arguments: Any, **named: Any) -> None:
        super().__init__(name, *arguments, **named)
        for end, at, text in (
            ("from", time.min, gettext_lazy("From the day, as 2026-12-31")),
            ("to", time.max, gettext_lazy("To the day, as 2026-12-31")),
        ):
            boxes = self.fields[f"{name}_{end}"].widget
            boxes.widgets[0].attrs["placeholder"] = text
            boxes.widgets[1].attrs["placeholder"] = gettext_lazy("Time, as 09:30")
            self.fields[f"{name}_{end}"] = _EndField(label="", required=False, widget=boxes, at=at)


class MomentRangeFilter(RangeDateTimeFilter):
    """Rows between two moments, each of which may be left out.

    The theme's own passes over a day without a time, and reads every day as an American writes it in English.
    """

    form_class = MomentRangeForm

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """No rows at all, and why, where a day cannot be read: a list that is not narrowed would look as if it were."""
        asked = self._form()
        if not asked.is_valid():
            for problem in dict.fromkeys(text for texts in asked.errors.values() for text in texts):
                messages.error(request, f"{self.title}: {problem}")
            return queryset.none()
        begin, end = (asked.cleaned_data[f"{self.field_path}_{which}"] for which in ("from", "to"))
        if begin is not None:
            queryset = queryset.filter(**{f"{self.field_path}__gte": begin})
        if end is not None:
            queryset = queryset.filter(**{f"{self.field_path}__lte": end})
        return queryset

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        yield {"request": self.request, "parameter_name": self.parameter_name, "form": self._form()}

    def _form(self) -> MomentRangeForm:
        names = [name for name in self.expected_parameters() if name]
        return MomentRangeForm(self.field_path, data={name: self.used_parameters.get(name) for name in names})

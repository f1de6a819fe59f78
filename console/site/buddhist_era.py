"""Years as Thai readers count them: B.E. 2569 is A.D. 2026.

Django's Thai month names come with Gregorian years, and what `{{ value }}` shows passes no hook of
ours: only the class that `django.utils.dateformat` formats with. So that class is replaced by one
that counts in the Buddhist era while the active language is Thai. What machines read is written
elsewhere (isoformat, RFC 5322) and stays Gregorian. What people type is read in either era: `console.moments`.
"""

from __future__ import annotations

from django.utils import dateformat
from django.utils.translation import get_language

from console.instants import ERA_YEARS


class DateFormat(dateformat.DateFormat):
    """Django's, with the year of the reader."""

    def Y(self) -> int:  # noqa: N802  # Django's name: one method a letter
        return int(super().Y()) + _ahead()

    def y(self) -> str:
        return f"{self.Y() % 100:02d}"


def _ahead() -> int:
    return ERA_YEARS if (get_language() or "").split("-")[0] == "th" else 0


def install() -> None:
    """Format every date of this process so."""
    dateformat.DateFormat = DateFormat  # type: ignore[misc]  # the one place that Django looks

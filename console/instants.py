"""Moments as somebody wrote them, into an address or a form, which is anything that a calendar can say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

ERA_YEARS: Final = 543  # B.E. 2569 is A.D. 2026; since 1941 both years begin on 1 January
YEAR_OF_THE_ERA_MIN: Final = 2400  # nobody means the 25th century A.D.
_YEAR_OF_THE_ERA: Final = re.compile(r"(?<!\d)2[4-9]\d\d(?!\d)")
# As pages write them, and in full; strptime reads English ones in every language of the console.
_MONTHS: Final = {
    "Jan": ("ม.ค.", "มกราคม"),
    "Feb": ("ก.พ.", "กุมภาพันธ์"),
    "Mar": ("มี.ค.", "มีนาคม"),
    "Apr": ("เม.ย.", "เมษายน"),
    "May": ("พ.ค.", "พฤษภาคม"),
    "Jun": ("มิ.ย.", "มิถุนายน"),
    "Jul": ("ก.ค.", "กรกฎาคม"),
    "Aug": ("ส.ค.", "สิงหาคม"),
    "Sep": ("ก.ย.", "กันยายน"),
    "Oct": ("ต.ค.", "ตุลาคม"),
    "Nov": ("พ.ย.", "พฤศจิกายน"),
    "Dec": ("ธ.ค.", "ธันวาคม"),
}
# The stops of an abbreviation are left out as often as not.
_MONTH: Final = re.compile(
    "|".join(f"(?P<{month}>{short.replace('.', '[.]?')}|{full})" for month, (short, full) in _MONTHS.items())
)
_ERA: Final = re.compile(r"[พค]\.?ศ\.?")  # what a year is counted in; its number says that, too
_DIGITS: Final = str.maketrans("๐๑๒๓๔๕๖๗๘๙", "0123456789")
_DAY_AND_CLOCK: Final = re.compile(r"(?P<day>.+?)[,\s]\s*(?P<clock>\d?\d[:.]\d\d(?::\d\d)?(?:\s*น\.?)?)")
_CLOCK: Final = re.compile(r"(\d?\d)[:.](\d\d(?::\d\d)?)(?:\s*น\.?)?")


def in_utc(moment: datetime) -> datetime:
    """The same moment as every database takes it: PostgreSQL knows no offset of sixteen hours, and we know some more.

    Raises ValueError for one that UTC has no day for, before the year 1 or after 9999.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such day") from None


def gregorian(text: str) -> str:
    """A day as somebody typed it or took it from a page: its month in English, its year as calendars abroad count it.

    >>> gregorian("31/12/2569"), gregorian("2026-12-31"), gregorian("31 ธ.ค. 2569"), gregorian("๓๑ ธันวาคม พ.ศ. ๒๕๖๙")
    ('31/12/2026', '2026-12-31', '31 Dec 2026', '31 Dec 2026')
    """
    plain = _ERA.sub(" ", text.translate(_DIGITS))
    plain, months = _MONTH.subn(lambda found: f" {found.lastgroup} ", plain)
    if months:
        plain = " ".join(plain.split())
    return _YEAR_OF_THE_ERA.sub(lambda year: str(int(year[0]) - ERA_YEARS), plain)


def parted(text: str) -> tuple[str, str]:
    """A day, and the time that stands behind it as pages write both; "" where there is none.

    >>> parted("31 ธ.ค. 2569, 18:00"), parted("31 ธ.ค. 2569")
    (('31 ธ.ค. 2569', '18:00'), ('31 ธ.ค. 2569', ''))
    """
    found = _DAY_AND_CLOCK.fullmatch(text.strip().translate(_DIGITS))
    return (found["day"].rstrip(" ,"), found["clock"]) if found else (text, "")


def clock(text: str) -> str:
    """A time as somebody typed it, with a colon: Thai writes a stop, and o'clock behind it.

    >>> clock("9.30 น."), clock("09:30"), clock("noon")
    ('9:30', '09:30', 'noon')
    """
    found = _CLOCK.fullmatch(text.strip().translate(_DIGITS))
    return f"{found[1]}:{found[2]}" if found else text

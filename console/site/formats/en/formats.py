"""Dates as they read best in lists of events: unambiguous, in 24 hours."""

DATETIME_FORMAT = "j M Y, H:i"
SHORT_DATETIME_FORMAT = "Y-m-d H:i"
DATE_FORMAT = "j M Y"
# No slashes: 5/4/2027 is a day in April to most readers, and in May to Django.
DATE_INPUT_FORMATS = ["%Y-%m-%d", "%d %b %Y", "%d %B %Y"]

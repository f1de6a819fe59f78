"""What is stored for a reader who is not there yet: English for programs, the reader's language on a page.

A worker has no reader, so what it writes down is English. A page finds the sentence that it was made of,
and says that in another language; whatever a program or another host said stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from django.utils.translation import gettext as _


def for_reader(said: str, sentences: Iterable[str]) -> str:
    """The same sentence in the reader's language; "" where the words are not ours, or are in that language already.

    sentences: in English, with {fields}, as they were written down by `format`.
    """
    for sentence in sentences:
        if found := _pattern(sentence).fullmatch(said):
            text = _(sentence).format(**found.groupdict())
            return "" if text == said else text
    return ""


@cache
def _pattern(sentence: str) -> re.Pattern[str]:
    pattern, known = "", set[str]()
    for part in re.split(r"(\{\w+\})", sentence):
        if not part.startswith("{"):
            pattern += re.escape(part)
        elif (name := part[1:-1]) in known:
            pattern += f"(?P={name})"
        else:
            known.add(name)
            pattern += f"(?P<{name}>.+)"
    return re.compile(pattern)

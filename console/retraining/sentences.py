"""What a job says of why it failed, where the words are ours: English for programs, the reader's language on a page.

A worker has no reader, so what it writes down is English. A page finds the sentence that it was made of,
and says that in another language; whatever a program said stays as it is.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

NO_PROGRAM: Final = gettext_noop(
    "AMULET_TRAINING_COMMAND must name an `amulet` installed with its `training` extra; {path} cannot be run."
)
NO_KEY: Final = gettext_noop(
    "AMULET_TRAINING_KEY_FILE names {path}, which is not there: `amulet signing-key create --out {path}` makes one, "
    "and its .pub belongs among AMULET_TRUSTED_KEYS."
)
NOT_TRUSTED: Final = gettext_noop(
    "{path} is not trusted: put its .pub into {folder}, and take it out of revoked.txt if it stands there."
)
ENDED: Final = gettext_noop("It was ended by signal {number}: AMULET_TRAINING_MIB_MAX may be too low.")
SENTENCES: Final = (NO_PROGRAM, NO_KEY, NOT_TRUSTED, ENDED)


def for_reader(said: str) -> str:
    """The same sentence in the reader's language; "" where the words are not ours, or are in that language already."""
    for sentence in SENTENCES:
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

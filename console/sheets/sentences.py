"""Why a file is no review sheet, as `model_store` says it in English, in the words of whoever imports it.

What a wrong or a broken file is most often; of the rules that only a forger breaks the English stays.
"""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_noop

from console import said

SENTENCES: Final = (
    gettext_noop("it is no zip archive, or its end is missing"),
    gettext_noop("it has no {name}: name a file that `--review-sheet` or `amulet synth sheet` wrote"),
    gettext_noop("{name} is of another schema than {schema}: write the sheet anew with this version"),
    gettext_noop("{name} cannot be read: {why}"),
    gettext_noop("{name} has {size} bytes; at most {most} are accepted"),
    gettext_noop("{name} does not have the checksum (CRC-32) that its header states"),
    gettext_noop("{name} is cut off"),
    gettext_noop("there are bytes, or a comment, after the end of the zip"),
    gettext_noop("every picture of the file belongs to exactly one item"),
    gettext_noop("item {number} names a {picture} that is not in the file"),
)


def for_reader(refusal: str) -> str:
    """The same sentence in the reader's language, where that has it."""
    return said.for_reader(refusal, SENTENCES) or refusal

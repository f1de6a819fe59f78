"""What the console's buttons are called: the words of the console itself, so that a test reads like a day's work.

words = Words("th")
words("Approve")                       # "อนุมัติ"
words("{version} is approved.", version="v1")
"""

from __future__ import annotations

import gettext
from pathlib import Path
from typing import Final

_CATALOGS: Final = Path(__file__).parents[2] / "console"


class Words:
    """The texts of every app in one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._catalogs = (
            [] if language == "en" else [_catalog(path) for path in _CATALOGS.glob(f"*/locale/{language}/**/django.mo")]
        )

    def __call__(self, text: str, **values: object) -> str:
        """In this language. Raises LookupError where no app has it: a test must not pass on a typing error."""
        found = next((each for each in self._said(text) if each != text), text)
        if self._catalogs and found == text:
            raise LookupError(f"no app of the console says {text!r} in {self.language}")
        return found.format(**values)

    def _said(self, text: str) -> list[str]:
        return [catalog.gettext(text) for catalog in self._catalogs]


def _catalog(path: Path) -> gettext.GNUTranslations:
    with path.open("rb") as file:
        return gettext.GNUTranslations(file)

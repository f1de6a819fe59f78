"""Heat maps as people look through them: one page with every photograph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from training.pages import render


@dataclass(frozen=True, slots=True)
class Shown:
    """One photograph on the page."""

    picture: str  # path below the page
    name: str
    verdict: str  # IN_DOMAIN, UNSURE or OUT_OF_DISTRIBUTION
    answer: str
    reasons: str

    @property
    def source(self) -> str:
        """The path as a link may hold it."""
        return quote(self.picture)


def page(shown: Sequence[Shown], document: Mapping[str, Any]) -> str:
    """HTML that needs nothing but the pictures beside it."""
    counts = Counter(each.verdict for each in shown)
    return render("explanation/page.html.j2", photos=shown, counts=counts, **_around(document))


def _around(document: Mapping[str, Any]) -> dict[str, Any]:
    """The lines around the pictures."""
    return {name: document[name] for name in ("model", "data", "means", "disclaimer", "left_out")}

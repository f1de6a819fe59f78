"""Pages for people: one HTML file each that needs no network and no other file, light or dark, on paper too.

What a page says comes from the room whose result it shows; here is how pages look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup, escape

_TEMPLATES: Final = Path(__file__).parents[1]


def render(template: str, **values: Any) -> str:
    """template: its path below training/. Text is escaped; a value that is missing is an error, not a gap."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment.get_template(template).render(**values)


def breakable(name: str) -> Markup:
    """A name that may go over several lines at its underscores; what is copied from the page is the name itself."""
    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))

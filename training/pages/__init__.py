"""Pages for people: one HTML file each that needs no network and no other file, light or dark, on paper too.

What a page says comes from the room whose result it shows; here is how pages look.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup, escape

from training.listing import counted

_TEMPLATES: Final = Path(__file__).parents[1]
_FONT: Final = Path(__file__).parents[2] / "console/site/static/console/fonts/noto-sans-thai.woff2"
_THAI: Final = re.compile("[\u0e00-\u0e7f]")


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
    environment.filters["counted"] = counted
    return with_thai_letters(environment.get_template(template).render(**values))


def with_thai_letters(page: str) -> str:
    """The page, with a font in its first style where it has Thai letters: a machine without one shows empty boxes."""
    return page.replace("</style>", f"{_font_face()}</style>", 1) if _THAI.search(page) else page


@cache
def _font_face() -> str:
    """The console's font: 27 kB, of Thai letters alone.

    Pages name it first: behind system-ui, Chromium leaves boxes for some words. No font of a machine has its name.
    """
    content = base64.b64encode(_FONT.read_bytes()).decode()
    return (
        "/* Noto Sans Thai, copyright 2022 The Noto Project Authors, under the SIL Open Font License 1.1 */\n"
        '@font-face { font-family: "Thai letters"; font-weight: 100 900; '
        "unicode-range: U+02D7, U+0303, U+0331, U+0E01-0E5B, U+200C-200D, U+25CC; "
        f'src: url(data:font/woff2;base64,{content}) format("woff2"); }}\n'
    )


def settings_rows(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """A recipe's fields by their whole names, with values as a recipe in YAML has them."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from settings_rows(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def breakable(name: str) -> Markup:
    """A name that may go over several lines at its underscores; what is copied from the page is the name itself."""
    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))

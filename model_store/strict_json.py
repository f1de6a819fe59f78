"""JSON as everyone reads it: what two parsers could understand differently is refused."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def loads(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError for what is no JSON and for what is only read by some.

    Refused: a key twice in one object, NaN and infinities (also as 1e999), text that is not
    UTF-8, half of a surrogate pair, and nesting too deep to read.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        document = json.loads(decoded, object_pairs_hook=_table, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise ValueError("it is not text in UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return document


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large for a number")
    return number

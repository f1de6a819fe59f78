"""JSON as everyone reads it: what two parsers could understand differently is refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn


def loads(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError for what is no JSON and for what is only read by some.

    Refused: a key twice in one object; NaN, infinities, and numbers that only a few readers
    can hold (1e999, integers beyond 64 bits); text that is not UTF-8 or holds half of a
    surrogate pair; nesting too deep to read.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        document = json.loads(
            decoded, object_pairs_hook=_table, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
        )
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise ValueError("it is not text in UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return document


def is_schema(number: object, known: int) -> bool:
    """Whether a document's schema is the known one. To Python `true` and `1.0` are 1, to other readers they are not."""
    return type(number) is int and number == known


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {name[:80]!r} stands twice in one object")
    return table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _whole(digits: str) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"{digits[:40]} is too large for a number")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large for a number")
    return number

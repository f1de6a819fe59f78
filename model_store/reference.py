"""The distributions a version was trained and measured on: what drift is compared with.

Numbers (confidence, OOD scores, sharpness, ...) are kept as KLL sketches (Karnin, Lang and
Liberty 2016, as Apache DataSketches implements them): a few kilobytes each, mergeable
without loss of their guarantee. Choices (predicted class, verdict, ...) are plain counts.

A sketch of at most `SKETCH_K` values is exact, and its bytes depend on nothing but the
values. Above that, the rank of any quantile is off by at most `Sketch.rank_error_ratio`
(0.0008 at K = 4096, with 99 % confidence) and the bytes vary from run to run, because KLL
chooses at random what to keep.

The text is JSON: `{"schema": 1, "samples": {NAME: BASE64}, "counts": {NAME: {KEY: N}}}`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from model_store import strict_json
from model_store.errors import ReferenceInvalid

SCHEMA_VERSION: Final = 1
SKETCH_K: Final = 4096
# Projections of the embedding: `model_store.projection`.
EMBEDDING: Final = ("embedding_1", "embedding_2", "embedding_3", "embedding_4")
_CONFIDENCE_IN: Final = "confidence."
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


class Sketch:
    """The distribution of one number. Immutable; merging gives a new one."""

    __slots__ = ("_kll",)

    def __init__(self, values: Iterable[float] = (), *, k: int = SKETCH_K) -> None:
        """Raises ValueError for a value that is not finite."""
        import numpy as np  # with datasketches 20 MiB, which a process without sketches has no use for
        from datasketches import kll_doubles_sketch

        self._kll = kll_doubles_sketch(k)
        ordered = np.sort(np.fromiter(values, np.float64)) + 0.0  # -0.0 and 0.0 are one value
        if not np.isfinite(ordered).all():
            unfit = ordered[~np.isfinite(ordered)][0]
            raise ValueError(f"{unfit} is not a number that a distribution can hold")
        self._kll.update(ordered)

    @staticmethod
    def from_bytes(content: bytes) -> Sketch:
        """Raises ValueError when the bytes are not a KLL sketch of doubles.

        The bytes go to a native parser: call it on what was verified, or in a limited process.
        """
        from datasketches import kll_doubles_sketch

        sketch = Sketch.__new__(Sketch)
        try:
            sketch._kll = kll_doubles_sketch.deserialize(content)
        except (RuntimeError, ValueError, IndexError, MemoryError) as error:
            raise ValueError(f"not a sketch: {error}") from None
        return sketch

    def to_bytes(self) -> bytes:
        if not self._kll.is_empty():
            self._kll.get_rank(0.0)  # a question sorts it, and the bytes say whether one was ever asked
        return bytes(self._kll.serialize())

    @property
    def count(self) -> int:
        return int(self._kll.n)

    @property
    def rank_error_ratio(self) -> float:
        """How far a rank may be off, 0 to 1, with 99 % confidence; 0 while the sketch is exact."""
        return float(self._kll.normalized_rank_error(False)) if self._kll.is_estimation_mode() else 0.0

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value, exact. Raises ValueError on an empty sketch."""
        self._need_values()
        return float(self._kll.get_min_value()), float(self._kll.get_max_value())

    def quantiles(self, ranks: Sequence[float]) -> tuple[float, ...]:
        """The values at the ranks (0 to 1). Raises ValueError on an empty sketch or a rank outside."""
        self._need_values()
        if any(not 0.0 <= rank <= 1.0 for rank in ranks):
            raise ValueError("ranks lie between 0 and 1")
        return tuple(float(value) for value in self._kll.get_quantiles(list(ranks)))

    def ranks(self, values: Sequence[float]) -> tuple[float, ...]:
        """The share of the distribution at or below each value, 0 to 1."""
        self._need_values()
        return tuple(float(self._kll.get_rank(value, True)) for value in values)

    def merged(self, other: Sketch) -> Sketch:
        """The distribution of both together, with the coarser of the two error bounds."""
        together = Sketch.from_bytes(self.to_bytes())
        together._kll.merge(other._kll)
        return together

    def _need_values(self) -> None:
        if self._kll.is_empty():
            raise ValueError("an empty distribution has no quantiles")


@dataclass(frozen=True, slots=True)
class Reference:
    """Distributions by name."""

    samples: Mapping[str, Sketch]
    counts: Mapping[str, Mapping[str, int]]

    def merged(self, other: Reference) -> Reference:
        """Both together; a name that only one of them knows is kept as it is."""
        samples = dict(self.samples)
        for name, sketch in other.samples.items():
            samples[name] = samples[name].merged(sketch) if name in samples else sketch
        counts = {name: dict(table) for name, table in self.counts.items()}
        for name, table in other.counts.items():
            mine = counts.setdefault(name, {})
            for key, number in table.items():
                mine[key] = mine.get(key, 0) + number
        return Reference(MappingProxyType(samples), MappingProxyType(counts))

    def render(self) -> str:
        """The JSON text; keys sorted, so that equal distributions give equal text."""
        document = {
            "schema": SCHEMA_VERSION,
            "samples": {
                name: base64.b64encode(sketch.to_bytes()).decode("ascii") for name, sketch in self.samples.items()
            },
            "counts": {name: dict(table) for name, table in self.counts.items()},
        }
        return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def build(samples: Mapping[str, Sequence[float]], counts: Mapping[str, Mapping[str, int]]) -> str:
    """The text of reference.json for these training-time values.

    samples: name -> values, at least one, all finite.  counts: name -> key -> how many.
    Raises ValueError naming what does not fit.
    """
    for name in (*samples, *counts):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name for a distribution: lower case letters, digits, '_', '.', '-'")
    for name, values in samples.items():
        if len(values) == 0:
            raise ValueError(f"{name} has no values")
    for name, table in counts.items():
        for key, number in table.items():
            if number < 0:
                raise ValueError(f"{name} counts {number} of {key!r}")
    sketches = {name: Sketch(float(value) for value in values) for name, values in samples.items()}
    tables = {name: {key: int(number) for key, number in table.items()} for name, table in counts.items()}
    return Reference(sketches, tables).render()


def is_name(text: str) -> bool:
    """Whether a distribution may be called so."""
    return _NAME.fullmatch(text) is not None


def confidence_in(class_id: str) -> str:
    """The name of the distribution of confidence in one class, over the answers that are of it.

    A class is named by itself where that is a name, else by the start of its SHA-256.
    """
    name = f"{_CONFIDENCE_IN}{class_id}"
    return name if _NAME.fullmatch(name) else _CONFIDENCE_IN + hashlib.sha256(class_id.encode()).hexdigest()[:16]


def is_confidence_in_a_class(name: str) -> bool:
    """Whether `confidence_in` made this name."""
    return name.startswith(_CONFIDENCE_IN)


def parse(text: str | bytes) -> Reference:
    """Read a reference.json. Raises ReferenceInvalid naming the place.

    For text that was verified: the sketches go to a native parser.
    """
    try:
        document = strict_json.loads(text)
    except ValueError as error:
        raise ReferenceInvalid(f"reference.json is not JSON: {error}") from None
    if not isinstance(document, dict) or set(document) != {"schema", "samples", "counts"}:
        raise ReferenceInvalid("reference.json has exactly the keys schema, samples and counts")
    if not strict_json.is_schema(document["schema"], SCHEMA_VERSION):
        raise ReferenceInvalid(f"reference.json has schema {document['schema']!r}; this program reads {SCHEMA_VERSION}")
    return Reference(
        samples=MappingProxyType({name: _sketch_of(name, item) for name, item in _items(document, "samples")}),
        counts=MappingProxyType({name: _table_of(name, item) for name, item in _items(document, "counts")}),
    )


def _items(document: Mapping[str, Any], part: str) -> Iterable[tuple[str, Any]]:
    table = document[part]
    if not isinstance(table, dict):
        raise ReferenceInvalid(f"reference.json: {part} is a table of names")
    for name in table:
        if not _NAME.fullmatch(name):
            raise ReferenceInvalid(f"reference.json: {name[:80]!r} is not a name for a distribution")
    return table.items()


def _sketch_of(name: str, item: object) -> Sketch:
    if not isinstance(item, str):
        raise ReferenceInvalid(f"reference.json: samples.{name} is the base64 text of a sketch")
    try:
        sketch = Sketch.from_bytes(base64.b64decode(item, validate=True))
    except ValueError as error:
        raise ReferenceInvalid(f"reference.json: samples.{name}: {error}") from None
    if sketch.count == 0:
        raise ReferenceInvalid(f"reference.json: samples.{name} is empty")
    if not all(map(math.isfinite, sketch.range)):
        raise ReferenceInvalid(f"reference.json: samples.{name} reaches beyond the finite numbers")
    return sketch


def _table_of(name: str, item: object) -> Mapping[str, int]:
    if not isinstance(item, dict) or not all(type(number) is int and number >= 0 for number in item.values()):
        raise ReferenceInvalid(f"reference.json: counts.{name} is a table of numbers, none below 0")
    return MappingProxyType(dict(item))

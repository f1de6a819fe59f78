"""What staff type when they act: an entry of its own behind that of the act, so that it can be erased alone.

The act and what it is about are proved for ever. A reason may name somebody, whatever its form asks for, and goes with
that person: its payload and salt are deleted, as those of a prediction are (decision 0245).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from django.db import transaction

from console.audit.models import Entry, Payload
from console.audit.services import SYSTEM, Actor, NewEntry, append

WORDS: Final = "audit.words"
_AT_ONCE: Final = 500
_T = TypeVar("_T", int, str)


def record_with_words(
    *,
    actor: Actor | None,
    action: str,
    subject_type: str,
    subject_id: str,
    details: Mapping[str, Any],
    words: Mapping[str, str],
) -> int:
    """Append an act, and right behind it what was typed with it, inside the caller's transaction.

    Returns the act's sequence. Raises ValueError as `append` does.
    """
    entries = [NewEntry(action=action, subject_type=subject_type, subject_id=subject_id, details=details)]
    if words:
        key = _key(subject_type, subject_id)
        entries.append(
            NewEntry(action="audit.words", subject_type="words", subject_id=key, details={"act": action, **words})
        )
    return append(entries, actor=SYSTEM if actor is None else str(actor.pseudonym))


def words_with(entry: Entry) -> Entry | None:
    """The entry of what was typed with an act, with its payload where it is still there; None: nothing was. A query."""
    return Entry.objects.select_related("payload").filter(pk=entry.sequence + 1, type=WORDS).first()


def typed_about(subject_type: str, subject_ids: Collection[str], *, fields: Collection[str]) -> list[int]:
    """Numbers of the entries that hold what was typed about these. Two queries for some hundred.

    fields: by which entries are found that were written before words stood apart. Their whole payload holds them.
    """
    found: list[int] = []
    for some in _parts(sorted(set(subject_ids))):
        apart = Payload.objects.filter(subject_type="words", subject_id__in=[_key(subject_type, key) for key in some])
        found += apart.values_list("entry", flat=True)
        within = Payload.objects.filter(subject_type=subject_type, subject_id__in=some).values_list("entry", "text")
        found += [number for number, text in within if _says(text, fields)]
    return found


@transaction.atomic
def erase_typed(subject_type: str, subject_ids: Collection[str], *, fields: Collection[str]) -> int:
    """Delete what was typed about these, salts included; the chain still verifies. Returns of how many entries."""
    numbers = typed_about(subject_type, subject_ids, fields=fields)
    return sum(Payload.objects.filter(entry__in=some).delete()[0] for some in _parts(numbers))


def _key(subject_type: str, subject_id: str) -> str:
    return f"{subject_type}:{subject_id}"


def _says(text: str, fields: Collection[str]) -> bool:
    try:
        return not set(fields).isdisjoint(json.loads(text))
    except (TypeError, ValueError):  # spoilt: the verifier names it
        return False


def _parts(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))

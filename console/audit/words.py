"""What staff type when they act: an entry of its own behind that of the act, so that it can be erased alone.

The act and what it is about are proved for ever. A reason may name somebody, whatever its form asks for, and goes with
that person: its payload and salt are deleted, as those of a prediction are (decision 0245). Whom it names where it is
about nobody's request or prediction only a reader can tell: an officer finds it by what it says (decision 0257).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar

from django.db import transaction
from django.db.models import Q, QuerySet

from console.audit.models import Entry, Payload
from console.audit.services import SYSTEM, Actor, NewEntry, append

WORDS: Final = "audit.words"
# What staff type with an act is one of these, wherever its entry has it.
FIELDS: Final = ("reason", "outcome", "hypothesis")
_ID_MAX: Final = 64  # of `Payload.subject_id`
# Acts whose entries hold it among what else they say: those before words stood apart, and those about a prediction or
# a person, with which the whole of it goes.
_WITHIN: Final = (
    *("privacy.extended", "privacy.paused", "privacy.refused", "privacy.done"),
    *("registry.version_approved", "registry.version_retired"),
    *("rollout.rolled_out", "rollout.rolled_back", "rollout.canary_rolled_back", "rollout.route_ended"),
    *("rollout.experiment_started", "sheets.removed"),
    *("review.gold_made", "review.gold_retired", "vault.restriction_lifted"),
)
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
    return erase_entries(typed_about(subject_type, subject_ids, fields=fields))


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed with one act, where it is still there."""

    sequence: int  # of the entry that holds it
    actor: str  # pseudonym of who typed it
    words: tuple[str, ...]
    alone: bool  # the entry holds nothing else


def typed_in(sequence: int) -> Typed | None:
    """What was typed with the act of this number, or with the one before it; None: nothing, or no more. A query."""
    here = Q(entry=sequence, entry__type__in=(WORDS, *_WITHIN)) | Q(entry=sequence + 1, entry__type=WORDS)
    rows = Payload.objects.filter(here).order_by("entry").values_list("entry", "entry__type", "entry__actor", "text")
    return next((found for row in rows if (found := _typed(*row)) is not None), None)


def typed_that_say(part: str) -> Iterator[Typed]:
    """What was typed that has this in it, newest first, whatever the case of its letters. Two queries along indexes."""
    for payloads in _written_in(part):
        rows = payloads.order_by("-entry").values_list("entry", "entry__type", "entry__actor", "text")
        for row in rows.iterator(chunk_size=_AT_ONCE):
            found = _typed(*row)
            if found is not None and any(part.casefold() in text.casefold() for text in found.words):
                yield found


@transaction.atomic
def erase_entries(numbers: Collection[int]) -> int:
    """Delete what these entries say, salts included; the chain still verifies. Returns of how many."""
    return sum(Payload.objects.filter(entry__in=some).delete()[0] for some in _parts(sorted(set(numbers))))


def _written_in(part: str) -> tuple[QuerySet[Payload], ...]:
    as_json = json.dumps(part, ensure_ascii=False)[1:-1]
    saying = Payload.objects.filter(text__icontains=as_json)
    return saying.filter(subject_type="words"), saying.filter(entry__type__in=_WITHIN)


def _typed(sequence: int, act: str, actor: str, text: str) -> Typed | None:
    try:
        said = json.loads(text)
        words = tuple(said[name] for name in FIELDS if isinstance(said.get(name), str) and said[name])
    except (AttributeError, TypeError, ValueError):  # spoilt: the verifier names it
        return None
    return Typed(sequence, actor, words, alone=act == WORDS) if words else None


def _key(subject_type: str, subject_id: str) -> str:
    """Under which words are filed: of names that are too long for that, their hash."""
    key = f"{subject_type}:{subject_id}"
    if len(key) <= _ID_MAX:
        return key
    return f"{subject_type}:{sha256(subject_id.encode()).hexdigest()}"[:_ID_MAX]


def _says(text: str, fields: Collection[str]) -> bool:
    try:
        return not set(fields).isdisjoint(json.loads(text))
    except (TypeError, ValueError):  # spoilt: the verifier names it
        return False


def _parts(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))

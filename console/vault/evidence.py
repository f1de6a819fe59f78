"""Consents held against the log: a row can be changed by whoever has the database, what the log says of it cannot.

What proves a consent is the entry that tells of it, whose receipt anybody checks offline. The row is what the console
works by, and here the two are compared: who agreed to what, when and how, and whether it was taken back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from console.audit import chain
from console.audit.queries import entries_of
from console.vault.models import Consent

GIVEN: Final = "consent.given"
WITHDRAWN: Final = "consent.withdrawn"
_AT_ONCE: Final = 500


def as_given(consent: Consent) -> dict[str, Any]:
    """What the log says of a consent that was given, beside whose and which it is."""
    return {
        "purpose": str(consent.purpose),
        "text_version": consent.text_version,
        "channel": consent.channel,
        "given_at": chain.time_text(consent.given_at),
        "expires_at": None if consent.expires_at is None else chain.time_text(consent.expires_at),
    }


def unlike_the_log() -> Iterator[tuple[Consent, str]]:
    """Consents of which the log says something else, each with what, as half a sentence. Reads the whole table.

    Whether the log itself is as it was is the verifier's to say.
    """
    after = 0
    while some := list(Consent.objects.filter(pk__gt=after, subject__shut_at=None).order_by("pk")[:_AT_ONCE]):
        after = some[-1].pk
        yield from _unlike(some)


def _unlike(consents: Sequence[Consent]) -> Iterator[tuple[Consent, str]]:
    given: dict[tuple[str, Any], Mapping[str, Any]] = {}
    withdrawn: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for entry in entries_of("subject", (str(consent.subject_id) for consent in consents)):
        by = given if entry.type == GIVEN else withdrawn if entry.type == WITHDRAWN else None
        text = entry.payload.text
        if by is not None and chain.commitment_of(bytes(entry.payload.salt), text) == bytes(entry.commitment):
            said = json.loads(text)
            by[said["about"][1], said.get("consent")] = said
    for consent in consents:
        key = (str(consent.subject_id), consent.pk)
        if key not in given:
            yield consent, "no entry tells that this person gave it"
            continue
        # Entries from before say less.
        other = [name for name, value in as_given(consent).items() if given[key].get(name, value) != value]
        if other:
            yield consent, f"it was given with another {', '.join(other)}"
        if key in withdrawn and consent.withdrawn_at is None:
            yield consent, "it was withdrawn, and counts as valid"
        elif key not in withdrawn and consent.withdrawn_at is not None:
            yield consent, "no entry tells that it was withdrawn"
        elif key in withdrawn and withdrawn[key].get("channel") != consent.withdrawal_channel:
            yield consent, "it was withdrawn through another channel"

"""The photographs that a version is tried on, as people and programs may look at them.

Where a version learnt from a data set of the console they are drawn and nobody's. Versions from before decision 0170
carry photographs that people lent: those are opened as a kept photograph is, with the same right and an entry in the
audit trail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import transaction

from console.audit.services import record
from console.datasets.queries import learnt_from
from console.registry.models import ModelVersion
from console.registry.queries import golden_photographs
from console.staff.models import User
from console.staff.services import require
from model_store.card import ClassCard
from model_store.errors import ArchiveRefused

CONTENT_TYPE: Final = "image/png"
OPENS: Final = "vault.open_storedobject"


@dataclass(frozen=True, slots=True)
class Golden:
    """One of them, with the answer that the card expects."""

    number: int  # from 1, in the card's order
    file: str  # as the report of the smoke test names it
    expected: ClassCard
    probability: float  # of that class, 0 to 1
    png: bytes


def golden_of(version: ModelVersion) -> list[Golden]:
    """In the card's order; empty before the archive is verified, and where the store has lost it. Reads no row.

    What is shown of them goes through `open_golden`, or is asked of `may_open` first.
    """
    if not version.card_document:
        return []
    try:
        pictures = golden_photographs(version.file_name)
    except (ArchiveRefused, OSError):
        return []
    card, found = version.card(), []
    for number, golden in enumerate(card.golden, start=1):
        best = max(range(len(golden.probabilities)), key=golden.probabilities.__getitem__)
        found.append(Golden(number, golden.file, card.classes[best], golden.probabilities[best], pictures[golden.file]))
    return found


def are_lent(version: ModelVersion) -> bool:
    """Whether they are of people who agreed to training, and may take that back. At most two queries."""
    if not version.card_document:
        return False
    card = version.card()
    return not card.golden_are_drawn and learnt_from(card.data.fingerprint) is not None


def may_open(person: User, version: ModelVersion) -> bool:
    """Whether this person may look at them. At most two queries beside those for the person's permissions."""
    return person.has_perm(OPENS) or not are_lent(version)


@transaction.atomic
def open_golden(*, actor: User, version: ModelVersion, number: int = 0) -> list[Golden]:
    """To be looked at: where people lent them an audit entry says that this person saw them. Raises NotAllowed.

    number: the only one that is wanted, which may not be there; 0: all.
    """
    found = [golden for golden in golden_of(version) if number in (0, golden.number)]
    if found and are_lent(version):
        require(actor, OPENS)
        record(
            actor=actor,
            action="registry.golden_opened",
            subject_type="model_version",
            subject_id=str(version.pk),
            details={"photographs": [golden.number for golden in found]},
        )
    return found

"""Receipts made from the log: what `receipt` checks."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from console.audit import chain, queries
from console.audit.merkle import Frontier, inclusion_path
from console.audit.models import Checkpoint
from console.audit.receipt import RECEIPT_FORM
from console.errors import NotAvailable, NotFound


def receipt_of(sequence: int) -> dict[str, Any]:
    """The receipt of one entry. Its cost is that of the entries between two checkpoints.

    Raises NotAvailable while no checkpoint covers the entry; NotFound where its payload was erased.
    """
    covering = queries.covering(sequence)
    if covering is None:
        raise NotAvailable(
            _("No signed checkpoint covers this entry yet: ask again in a minute."), reason="not_signed_yet"
        )
    before = Checkpoint.objects.filter(size__lt=sequence).order_by("-size").first()
    frontier = Frontier() if before is None else Frontier.from_bytes(before.size, bytes(before.frontier))
    wanted: queries.Row | None = None
    after: list[bytes] = []
    for row in queries.rows(frontier.size + 1, covering.size):
        if row.sequence < sequence:
            frontier.append(row.entry_hash)
        elif row.sequence == sequence:
            wanted = row
        else:
            after.append(row.entry_hash)
    if wanted is None or wanted.salt is None or wanted.text is None:
        raise NotFound(_("What this entry said was erased."), reason="erased")
    return {
        "amulet_receipt": RECEIPT_FORM,
        "size": covering.size,
        "path": [step.hex() for step in inclusion_path(frontier, after)],
        "checkpoint": covering.note,
        "entry": {
            "sequence": wanted.sequence,
            "time": chain.time_text(wanted.recorded_at),
            "type": wanted.type,
            "actor": wanted.actor,
            "previous": wanted.previous_hash.hex(),
            "commitment": wanted.commitment.hex(),
            "salt": wanted.salt.hex(),
            "payload": wanted.text,
        },
    }

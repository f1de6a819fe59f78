"""What was erased, without it: a statement that an entry of the audit log commits to.

Whoever has the log's public key and a certificate checks it offline, `amulet audit receipt
FILE`: the statement is the one that was made, when it was made, in a log whose checkpoint
anybody may have kept since. Nothing in it names the person or anything of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from console.audit.receipt import CERTIFICATE_FORM, statement_digest
from console.audit.receipts import receipt_of
from console.audit.services import record
from console.datasets.queries import versions_with_lent_golden
from console.errors import NotFound
from console.privacy import clocks
from console.privacy.models import Erasure, Step
from console.privacy.stores import not_here

FORM: Final = "amulet erasure certificate 1"
# What no search of ours reaches, and what stays because it is nobody's.
LIMITS: Final = (
    gettext_noop(
        "–: no such folder here. Journals on other machines are not searched: an event stays there until it is "
        "delivered, and then 300 seconds or as long as their operator set."
    ),
    gettext_noop(
        "An event that was refused stays with a gateway on another machine until an operator deletes it there, "
        "from the folder rejected of its journal."
    ),
    gettext_noop("Backups are not changed: the ledger of erasures is applied before a restored database is served."),
    gettext_noop(
        "Counts and distributions that name nobody stay, and so do the hashes of audit entries, whose salts are gone."
    ),
    gettext_noop(
        "A version from before golden photographs were drawn carries up to six photographs of its data set until its "
        "archive is deleted; it is named above where its data set held photographs of this person."
    ),
    gettext_noop("For 30 days a keyed hash is kept, so that an event from before the erasure brings nothing back."),
)

# As older certificates have it, for whoever reads one in Thai.
_FORMER: Final = (
    gettext_noop(
        "Journals of gateways on other machines are not searched: "
        "a delivered event is deleted there within 300 seconds."
    ),
)


def statement_of(erasure: Erasure) -> dict[str, Any]:
    """What the certificate of a finished erasure says."""
    request = erasure.request
    received_at, begun_at, key_destroyed_at, searched_at, finished_at = _in_order(
        request.received_at, erasure.begun_at, erasure.key_destroyed_at, erasure.searched_at, erasure.finished_at
    )
    limits = request.limits(received_at)
    return {
        "form": FORM,
        "request": request.pk,
        "laws": request.laws,
        "received_on": clocks.day_of(received_at or request.received_at).isoformat(),
        "due_on": {law.value: day.isoformat() for law, day in limits.by_law.items()},
        "begun_at": _text(begun_at),
        "key_destroyed_at": _text(key_destroyed_at),
        "searched_at": _text(searched_at),
        "finished_at": _text(finished_at),
        "stores": _counts(erasure.before),
        "versions_that_learnt": erasure.learnt,  # each has a plan to be replaced
        "versions_with_photographs": versions_with_lent_golden(erasure.learnt),
        "limits": list(LIMITS),
    }


def _in_order(*moments: datetime | None) -> list[datetime | None]:
    """Each of them, and none later than one behind it: what says so was noted by a clock that was ahead."""
    ordered: list[datetime | None] = []
    following: datetime | None = None
    for moment in reversed(moments):
        if moment is not None:
            following = moment if following is None else min(moment, following)
        ordered.append(moment and following)
    return ordered[::-1]


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _counts(before: Mapping[str, int]) -> dict[str, dict[str, int | None]]:
    """How much was where, and that nothing was found: null where nothing was searched, since no such folder is here."""
    absent = not_here()
    return {
        name: {"before": None, "after": None} if name in absent and not count else {"before": count, "after": 0}
        for name, count in before.items()
    }


def commit(erasure: Erasure) -> int:
    """Let the audit log vouch for the statement, inside the caller's transaction. Returns the entry's sequence."""
    return record(
        actor=None,
        action="erasure.done",
        subject_type="privacy_request",
        subject_id=str(erasure.request_id),
        details={"statement_sha256": statement_digest(erasure.statement)},
    )


def certificate_of(request_id: int) -> dict[str, Any]:
    """The certificate with its receipt.

    Raises NotFound unless the erasure is done; NotAvailable until a checkpoint covers it.
    """
    erasure = Erasure.objects.filter(pk=request_id, step=Step.DONE).first()
    if erasure is None or erasure.entry_sequence is None:
        raise NotFound(_("There is no certificate: this is no erasure, or it is not done."), reason="no_certificate")
    return {
        "amulet_certificate": CERTIFICATE_FORM,
        "statement": erasure.statement,
        "receipt": receipt_of(erasure.entry_sequence),
    }

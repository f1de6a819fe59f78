"""What is asked of the audit log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db.models import QuerySet, Subquery
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from console.audit import chain
from console.audit.commands import PUBLIC_KEY_NAME
from console.audit.models import Checkpoint, Entry, Payload
from console.audit.notes import KeyUnreadable, load_public_key
from console.audit.services import SYSTEM
from console.errors import NotAvailable, NotFound
from console.staff.models import User

ABOUT_MAX: Final = 1000
ALONG_TIME: Final = ("-recorded_at", "-sequence")  # a clock that was put back shows; the chain's own order is sequence
_ROWS_AT_ONCE: Final = 2000
_IDS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Row:
    """An entry with its payload, as it is exported. `salt`, `text` and `about` are None where they were erased."""

    sequence: int
    recorded_at: datetime
    type: str
    actor: str
    previous_hash: bytes
    commitment: bytes
    entry_hash: bytes
    salt: bytes | None
    text: str | None
    about: tuple[str, str] | None  # type and id as the table's columns say, which must be as the text says


def latest_checkpoint() -> str:
    """The newest signed checkpoint, as text; "" while nothing was signed yet."""
    return Checkpoint.objects.order_by("-size").values_list("note", flat=True).first() or ""


def last_sequence() -> int:
    return Entry.objects.order_by("-sequence").values_list("sequence", flat=True).first() or 0


def newest() -> QuerySet[Entry]:
    """The newest entry alone, to be read together with something else."""
    last = Entry.objects.order_by("-sequence").values("sequence")[:1]
    return Entry.objects.filter(sequence=Subquery(last)).order_by()


def entries_with_payloads() -> QuerySet[Entry]:
    """Entries, newest first; joins the payload where there is one."""
    return Entry.objects.select_related("payload").order_by("-sequence")


def find_entry(sequence: int) -> Entry:
    """One entry with its payload where there is one. One query. Raises NotFound."""
    entry = entries_with_payloads().filter(pk=sequence).first()
    if entry is None:
        raise NotFound(_("There is no entry {number}.").format(number=sequence))
    return entry


def covering(sequence: int) -> Checkpoint | None:
    """The first signed checkpoint that covers an entry; None: it is not signed yet."""
    return Checkpoint.objects.filter(size__gte=sequence).order_by("size").first()


def before_all_since(moment: datetime) -> Checkpoint | None:
    """The newest checkpoint that covers no entry of this time or later; None: there is none such.

    Two queries along indexes.
    """
    first = Entry.objects.filter(recorded_at__gte=moment).order_by("recorded_at", "sequence").first()
    signed = Checkpoint.objects.order_by("-size")
    return signed.first() if first is None else signed.filter(size__lt=first.sequence).first()


def entries_about(subject_type: str, subject_id: str) -> QuerySet[Entry]:
    """Entries about one subject, oldest first; joins the payload."""
    return (
        Entry.objects.select_related("payload")
        .filter(payload__subject_id=subject_id, payload__subject_type=subject_type)
        .order_by("sequence")
    )


def entries_of(subject_type: str, subject_ids: Iterable[str]) -> list[Entry]:
    """Entries about several, with their payloads, in no order. A query for some hundred along an index."""
    wanted = sorted(set(subject_ids))
    found: list[Entry] = []
    for start in range(0, len(wanted), _IDS_AT_ONCE):
        about = Entry.objects.select_related("payload").filter(payload__subject_type=subject_type)
        found += about.filter(payload__subject_id__in=wanted[start : start + _IDS_AT_ONCE]).order_by()
    return found


def newest_of(subject_type: str, subject_id: str, types: Collection[str]) -> Entry | None:
    """The newest entry of these types about one subject; None where there is none. Joins the payload."""
    return entries_about(subject_type, subject_id).filter(type__in=types).order_by("-sequence").first()


def erased_by_hand(*entries: Entry | None) -> int | None:
    """Number of the entry that says that what one of these said was erased by hand; None: nothing of it was.

    A query for each whose payload is gone.
    """
    for entry in entries:
        if entry is not None and getattr(entry, "payload", None) is None:
            telling = entries_about("audit_entry", str(entry.sequence)).values_list("sequence", flat=True).last()
            if telling is not None:
                return telling
    return None


def newest_about(subject_id: str) -> list[int]:
    """Numbers of the entries about whatever has this id, the newest ABOUT_MAX. One query along an index."""
    about = Payload.objects.filter(subject_id=subject_id).order_by("-entry")
    return list(about.values_list("entry", flat=True)[:ABOUT_MAX])


def actors_named(name: str) -> list[str]:
    """What the log calls a member of staff of this name; empty where there is none. One query."""
    return [str(pseudonym) for pseudonym in User.objects.filter(username=name).values_list("pseudonym", flat=True)]


def staff_names(actors: Collection[str]) -> dict[str, str]:
    """What the log calls somebody -> what people do, for those who still have a name. One query over a small table."""
    people = User.objects.values_list("pseudonym", "username")
    names = {SYSTEM: _("the system itself")} | {str(pseudonym): name for pseudonym, name in people}
    return {actor: names[actor] for actor in actors if actor in names}


def withheld_from(person: User, entries: Iterable[Entry]) -> frozenset[int]:
    """Numbers of those entries that say what this person must not hear yet. At most one query.

    What is withheld is known above this app: settings.AUDIT_WITHHELD_FROM names who is asked.
    """
    about = {
        entry.sequence: entry.payload.about[1]
        for entry in entries
        if getattr(entry, "payload", None) is not None and entry.payload.about[0] == "prediction"
    }
    withheld = _withheld()(person, set(about.values())) if about else frozenset()
    return frozenset(sequence for sequence, subject_id in about.items() if subject_id in withheld)


def predictions_withheld_from(person: User) -> frozenset[str]:
    """Ids of all predictions about which the log must not tell this person yet."""
    return _withheld()(person, None)


def _withheld() -> Callable[[User, Collection[str] | None], frozenset[str]]:
    asked: Callable[[User, Collection[str] | None], frozenset[str]] = import_string(settings.AUDIT_WITHHELD_FROM)
    return asked


def rows(first: int, last: int, *, without: Collection[str] = ()) -> Iterator[Row]:
    """Entries `first` to `last` in order, a few thousand in memory at a time.

    without: ids of predictions; the payloads of entries about them are left out, as if they were erased.
    """
    columns = ("sequence", "recorded_at", "type", "actor", "previous_hash", "commitment", "entry_hash")
    while first <= last:
        until = min(last, first + _ROWS_AT_ONCE - 1)
        found = Payload.objects.filter(entry__gte=first, entry__lte=until)
        payloads: dict[int, tuple[Any, str, tuple[str, str]]] = {
            entry_id: (salt, text, (subject_type, subject_id))
            for entry_id, salt, text, subject_type, subject_id in found.values_list(
                "entry_id", "salt", "text", "subject_type", "subject_id"
            )
            if not (without and _is_about(text, without))
        }
        links = Entry.objects.filter(sequence__range=(first, until)).order_by("sequence").values_list(*columns)
        for sequence, recorded_at, type_, actor, previous, commitment, entry_hash in links:
            salt, text, about = payloads.get(sequence, (None, None, None))
            yield Row(
                sequence=sequence,
                recorded_at=recorded_at,
                type=type_,
                actor=actor,
                previous_hash=bytes(previous),
                commitment=bytes(commitment),
                entry_hash=bytes(entry_hash),
                salt=None if salt is None else bytes(salt),
                text=text,
                about=about,
            )
        first = until + 1


def _is_about(text: str, ids: Collection[str]) -> bool:
    about = chain.about_of(text)
    return about is not None and about[1] in ids


def public_key() -> Ed25519PublicKey:
    """The key that the log's checkpoints are verified with. Raises NotAvailable while there is none yet."""
    path = settings.AMULET.checkpoint_dir / PUBLIC_KEY_NAME
    try:
        return load_public_key(path)
    except (KeyUnreadable, OSError):
        raise NotAvailable(
            _("The log's public key is not there yet: the process that signs checkpoints writes it.")
        ) from None

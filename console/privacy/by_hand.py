"""Free text is found by what it says, and erased by hand with every copy of it.

An erasure finds what leads to a person. Whom a reason for a rollout or a note names, only a reader can tell: an officer
looks for a name, and erases one text wherever exactly this stands, in rows and in the audit log. Who typed it may not
be the one who erases it: the trail of an act would otherwise be its author's to cut. Each copy has an audit entry, by
number and not by content; why is chosen and not typed, since what is typed may name somebody again (decision 0257).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import models, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.audit.models import Entry
from console.audit.services import SYSTEM, NewEntry, append
from console.audit.words import Typed, erase_entries, typed_in, typed_that_say
from console.errors import Conflict, Invalid, NotAllowed
from console.privacy import erased_texts
from console.privacy.erased_texts import ErasedText
from console.privacy.leftovers import compacted
from console.privacy.models import PrivacyRequest
from console.privacy.places import PLACES
from console.staff.models import User
from console.staff.services import require
from console.vault.cipher import find_by
from console.vault.queries import keys

ERASE: Final = "privacy.erase_typed"
ENTRY: Final = "audit_entry"  # the place that is no row
PART_MIN: Final = 2
PART_MAX: Final = 200
SHOWN: Final = 100


class Ground(models.TextChoices):
    """Why a text is erased."""

    NAMES = "names", gettext_lazy("it names or describes somebody, and need not")
    ASKED = "asked", gettext_lazy("the person whom it names asked for it")
    SECRET = "secret", gettext_lazy("it holds a password, a key or another secret")


@dataclass(frozen=True, slots=True)
class Found:
    """One text, where it stands."""

    place: str  # a name out of PLACES, or ENTRY
    key: str  # of the row; number of the entry
    text: str

    @property
    def place_text(self) -> str:
        return place_text(self.place)


@dataclass(frozen=True, slots=True)
class Copies:
    """Where exactly one text stands."""

    text: str
    entries: tuple[Typed, ...]
    rows: tuple[tuple[str, str], ...]  # name of the place, key

    @property
    def whole(self) -> int:
        """Of how many entries all that they say goes with it: they were written before words stood apart."""
        return sum(not typed.alone for typed in self.entries)


def place_text(name: str) -> str:
    return str(_("audit entry")) if name == ENTRY else str(PLACES[name].text)


def find(*, actor: User, part: str) -> tuple[list[Found], bool]:
    """Texts that have this in them, whatever the case of its letters; whether there are more than SHOWN.

    Raises NotAllowed; Invalid for less than two characters, by which everything would be found.
    """
    require(actor, ERASE)
    part = part.strip()
    if not PART_MIN <= len(part) <= PART_MAX or not part.isprintable():
        raise Invalid(
            _("Look for {least} to {most} printable characters.").format(least=PART_MIN, most=PART_MAX), field="part"
        )
    found = list(islice(_found(part), SHOWN + 1))
    return found[:SHOWN], len(found) > SHOWN


def copies_of(*, actor: User, place: str, key: str) -> Copies:
    """Where the text of this place stands. Raises NotAllowed, Invalid for no place, Conflict where no text is left."""
    require(actor, ERASE)
    return _copies(_text_at(place, key))


def _copies(text: str) -> Copies:
    entries = {typed.sequence: typed for typed in typed_that_say(text) if text in typed.words}
    rows = [(each.name, row) for each in PLACES.values() for row in each.with_text(text)]
    return Copies(text, tuple(entries[number] for number in sorted(entries)), tuple(rows))


@transaction.atomic
def erase(*, actor: User, place: str, key: str, ground: str, request_id: int | None = None) -> Copies:
    """Erase the text of this place, wherever exactly it stands. What was done, by whom and when stays proved.

    request_id: of the privacy request that asked for it; it must be named where that is the ground.
    Returns what was erased where. Raises NotAllowed for who typed it; Invalid, Conflict.
    """
    require(actor, ERASE)
    if ground not in Ground.values:
        raise Invalid(_("{value} is not a reason to erase a text.").format(value=repr(ground)), field="ground")
    if ground == Ground.ASKED and request_id is None:
        raise Invalid(_("Name the privacy request that asked for it."), field="request")
    if request_id is not None and not PrivacyRequest.objects.filter(pk=request_id).exists():
        raise Invalid(_("There is no request {number}.").format(number=request_id), field="request")
    copies = copies_of(actor=actor, place=place, key=key)
    if any(typed.actor == str(actor.pseudonym) for typed in copies.entries):
        raise NotAllowed(
            _("You typed this yourself: somebody else with the permission {permission} erases it.").format(
                permission=ERASE
            ),
            reason="own_words",
        )
    _erase(copies, ground=ground, request_id=request_id, actor=str(actor.pseudonym))
    return copies


def replay() -> int:
    """Erase again what was erased by hand and came back with a restored database. Returns how many texts.

    Before anybody is served: nobody can have typed the same anew. Raises OSError, DatabaseError; ValueError for a file
    beside the ledger that is none.
    """
    lost = {erased.digest: (path, erased) for path, erased in erased_texts.read(_ledger()) if not _tells_of(erased)}
    back = {text for text in _every_text() if _digest(text) in lost} if lost else set()
    for text in sorted(back):
        path, erased = lost[_digest(text)]
        with transaction.atomic():
            _erase(_copies(text), ground=erased.ground, request_id=erased.request_id, actor=SYSTEM)
        path.unlink(missing_ok=True)  # another one names the entry that tells of it now
    return len(back)


def _erase(copies: Copies, *, ground: str, request_id: int | None, actor: str) -> None:
    for each in PLACES.values():
        each.erase(copies.text)
    erase_entries([typed.sequence for typed in copies.entries])
    first = append(list(_told(copies, ground, request_id)), actor=actor)
    commitment = bytes(Entry.objects.values_list("commitment", flat=True).get(pk=first))
    transaction.on_commit(compacted)  # when readers hold that up, SQLite does it by itself later
    # On disk before it is committed, as the ledger's lines are.
    erased_texts.enter(_ledger(), ErasedText(now(), _digest(copies.text), ground, request_id, first, commitment))


def _tells_of(erased: ErasedText) -> bool:
    """Whether this database's log has the entry that tells of it."""
    return Entry.objects.filter(pk=erased.entry, commitment=erased.commitment).exists()


def _every_text() -> Iterator[str]:
    for typed in typed_that_say(""):
        yield from typed.words
    for place in PLACES.values():
        yield from (text for _key, text in place.that_say(""))


def _digest(text: str) -> bytes:
    return find_by(keys(), f"\0typed\0{text}")  # a pseudonym is printable


def _ledger() -> Path:
    return Path(settings.AMULET.erasure_ledger)


def _found(part: str) -> Iterator[Found]:
    for typed in typed_that_say(part):
        for text in typed.words:
            if part.casefold() in text.casefold():
                yield Found(ENTRY, str(typed.sequence), text)
    for place in PLACES.values():
        for key, text in place.that_say(part):
            yield Found(place.name, key, text)


def _text_at(place: str, key: str) -> str:
    if place == ENTRY:
        typed = typed_in(int(key)) if key.isdecimal() and len(key) < 19 else None
        text = "" if typed is None else typed.words[0]
    elif place in PLACES:
        text = PLACES[place].text_of(key)
    else:
        raise Invalid(
            _("There is no place {name}; there are: {names}.").format(
                name=repr(place), names=", ".join([ENTRY, *PLACES])
            ),
            field="place",
        )
    if not text:
        raise Conflict(_("Nothing that somebody typed stands there, or it was erased."), reason="nothing_typed")
    return text


def _told(copies: Copies, ground: str, request_id: int | None) -> Iterator[NewEntry]:
    """One entry for each copy: by its number it is found whether an entry was erased by hand, and on what ground."""
    why = {"ground": str(ground), "request": request_id}
    for typed in copies.entries:
        yield NewEntry(
            action="privacy.typed_erased",
            subject_type="audit_entry",
            subject_id=str(typed.sequence),
            details={**why, "whole": not typed.alone},
        )
    for place, key in copies.rows:
        yield NewEntry(
            action="privacy.typed_erased", subject_type="typed_text", subject_id=f"{place}:{key}", details=why
        )

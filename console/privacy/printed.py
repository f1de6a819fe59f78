"""The words of a certificate on paper, in Thai and in English: what its JSON says. `paper` sets them.

Nothing is looked up but the certificate itself, so that nothing of the person can slip in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import override

from console.audit.receipt import statement_digest
from console.privacy.clocks import Law, date_text
from console.privacy.models import Laws
from console.privacy.stores import STORES

_LEARNT: Final = "versions_that_learnt"
_CARRY: Final = "versions_with_photographs"
LANGUAGES: Final = ("th", "en")


@dataclass(frozen=True, slots=True)
class Sheet:
    """One certificate in one language."""

    language: str
    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    stores_title: str
    stores_head: tuple[str, str, str]
    stores: tuple[tuple[str, str, str], ...]  # where, how much before, how much the second search found
    limits_title: str
    limits: tuple[str, ...]
    proof_title: str
    proof: str
    checkpoint_title: str
    checkpoint: str


def sheets(certificate: Mapping[str, Any]) -> list[Sheet]:
    """The certificate in every language. certificate: as `certificate_of` gives it."""
    found = []
    for language in LANGUAGES:
        with override(language):
            found.append(_sheet(certificate, language))
    return found


def _sheet(certificate: Mapping[str, Any], language: str) -> Sheet:
    statement, receipt = certificate["statement"], certificate["receipt"]
    due = (
        (_("Last day by {law}").format(law=Law(law).name), date_text(date.fromisoformat(day), language))
        for law, day in statement["due_on"].items()
    )
    names = {store.name: str(store.text) for store in STORES}
    return Sheet(
        language=language,
        title=_("Certificate of erasure"),
        lead=_("Everything that was kept about the person who asked is erased, and a second search found nothing."),
        facts=(
            (_("Number of the request"), str(statement["request"])),
            (_("Law"), str(Laws(statement["laws"]).label)),
            (_("Received"), date_text(date.fromisoformat(statement["received_on"]), language)),
            *due,
            (_("Begun"), _moment(statement["begun_at"], language)),
            (_("Key destroyed"), _moment(statement["key_destroyed_at"], language)),
            (_("Second search"), _moment(statement["searched_at"], language)),
            (_("Finished"), _moment(statement["finished_at"], language)),
            # Older certificates do not say it.
            *((_("Learnt from these photographs, to be replaced"), name) for name in statement.get(_LEARNT, ())),
            *((_("Carries up to six photographs of its data set"), name) for name in statement.get(_CARRY, ())),
        ),
        stores_title=_("What was erased"),
        stores_head=(_("Where"), _("Before"), _("Found by the second search")),
        stores=tuple(
            (names.get(name, name), _count(count["before"]), _count(count["after"]))
            for name, count in _stores(statement)
        ),
        limits_title=_("What this does not say"),
        limits=tuple(_(limit) for limit in statement["limits"]),
        proof_title=_("How it is checked"),
        proof=_(
            "Entry {entry} of the audit trail commits to this statement, whose SHA-256 is {digest}. The same "
            "certificate as a file is checked with the public key of the log: "
            "amulet audit receipt FILE --key audit_public.pem"
        ).format(entry=receipt["entry"]["sequence"], digest=statement_digest(statement)),
        checkpoint_title=_("Signed checkpoint"),
        checkpoint=receipt["checkpoint"],
    )


def _count(number: int | None) -> str:
    return "–" if number is None else str(number)


def _stores(statement: Mapping[str, Any]) -> list[tuple[str, Mapping[str, int | None]]]:
    """In the order in which they are emptied; the database's JSON keeps none."""
    order = {store.name: place for place, store in enumerate(STORES)}
    return sorted(statement["stores"].items(), key=lambda item: order.get(item[0], len(order)))


def _moment(text: str | None, language: str) -> str:
    if text is None:
        return "–"
    moment = localtime(datetime.fromisoformat(text))
    return f"{date_text(moment.date(), language)}, {moment:%H:%M:%S %Z}"

"""What came of a try, for people: where the words are ours (`console.said`), and where another said them."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from console import said

NO_ANSWER: Final = gettext_noop("{host} did not answer within {seconds} seconds.")
NO_CERTIFICATES: Final = gettext_noop("AMULET_WEBHOOK_CA names {path}, which holds no certificates.")
NOT_ACCEPTED: Final = gettext_noop("The certificate of {host} is not accepted: {why}.")
NO_ADDRESS: Final = gettext_noop("This is no address: it has signs or a port that none has.")
NOT_FOUND: Final = gettext_noop("{host} has no address.")
PRIVATE: Final = gettext_noop("{host} is an address of a private network; AMULET_WEBHOOK_PRIVATE allows them.")
SENTENCES: Final = (NO_ANSWER, NO_CERTIFICATES, NOT_ACCEPTED, NO_ADDRESS, NOT_FOUND, PRIVATE)
SENT: Final = "sent"  # what is written down of a letter that a mail server took


def for_reader(answer: str) -> str:
    """An answer as it is stored, in the reader's language where the words are ours."""
    return said.for_reader(answer, SENTENCES) or answer


def explained(answer: str) -> str:
    """An answer as a sentence: of a status, of a letter that left, and of the kind of error that a connection ended in.

    "" where there is none.
    """
    if not answer:
        return ""
    if answer.isdecimal():
        return _("It answered {status}.").format(status=answer)
    if answer == SENT:
        return _("The mail server took the letter.")
    if " " in answer:
        return for_reader(answer)
    return _("The connection failed: {kind}.").format(kind=answer)

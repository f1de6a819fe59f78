"""One call of the gateway, with the key of a client that is this page's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from django.utils.translation import gettext as _

from amulet_client import AmuletError, Client, Prediction, Refused
from console.errors import Invalid, NotAvailable, Refusal
from console.site.configuration import ConsoleSettings, read_secret

ANSWER_S_MAX: Final = 30.0
CANDIDATES: Final = 5
SIMILAR: Final = 3
# A refusal with one of these is about the page's own key: whoever asked cannot mend it.
_ABOUT_THE_KEY: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})


def ask(settings: ConsoleSettings, photographs: Sequence[bytes], *, model: str, language: str) -> Prediction:
    """One answer about one object, with its heat maps; texts in the reader's language.

    model: "" where there is no choice. Raises Invalid where other photographs would help, and
    NotAvailable where only time or somebody else does; each with a sentence for the reader.
    """
    key = _key(settings.try_key_file)
    try:
        with Client(
            settings.gateway,
            api_key=key,
            ca_file=None if settings.insecure else settings.tls_ca,
            plaintext=settings.insecure,
            language=language,
            timeout_s=ANSWER_S_MAX,
        ) as client:
            return client.predict(
                list(photographs), model=model, top_k=CANDIDATES, explain=True, nearest_examples=SIMILAR
            )
    except (OSError, ValueError):
        raise NotAvailable(
            _(
                "This page cannot reach the gateway: AMULET_GATEWAY, AMULET_TLS_CA and AMULET_INSECURE do not "
                "fit together."
            ),
            reason="not_set_up",
        ) from None
    except AmuletError as error:
        raise _worded(error) from error


def _key(file: Path) -> str:
    try:
        key = read_secret(file).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        key = ""
    if not key.isprintable() or not key:
        raise NotAvailable(
            _(
                "This page has no API key yet: an administrator makes a client named Try it and a key for it, and "
                "whoever runs the console puts the key into the file that AMULET_TRY_KEY_FILE names."
            ),
            reason="not_set_up",
        )
    return key


def _worded(error: AmuletError) -> Refusal:
    if not isinstance(error, Refused):
        return NotAvailable(
            _("The gateway does not answer just now. Home says which services run; try again in a moment."),
            reason="unreachable",
        )
    if error.code in _ABOUT_THE_KEY:
        return NotAvailable(
            _("The gateway does not accept this page's API key: an administrator has to make a new one."),
            reason=error.reason,
        )
    said = error.localized or _("The gateway could not answer: {why}").format(why=error.message)
    if error.retry_after_s is not None:
        seconds = max(1, round(error.retry_after_s))
        said = " ".join((said, _("It can be asked again in {seconds} s.").format(seconds=seconds)))
    return (
        Invalid(said, reason=error.reason)
        if error.code == "INVALID_ARGUMENT"
        else NotAvailable(said, reason=error.reason)
    )

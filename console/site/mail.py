"""What the settings say of e-mails: who sends them, and where they are handed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from email.headerregistry import HeaderRegistry
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator

_WANTED: Final = "wanted one address, as amulet@example.org or Amulet <amulet@example.org>"


def mailbox(value: str) -> str:
    """The value itself. Raises ValueError: every e-mail would fail over another one, hours after the start."""
    # What is taken apart here is not what is sent: a line break would begin a header of its own.
    if not value.isprintable() or value != value.strip():
        raise ValueError(_WANTED)
    try:
        header: Any = HeaderRegistry()("From", value)  # what is behind it depends on the name
    except IndexError:  # its parser's own, over an address that ends with its @
        raise ValueError(_WANTED) from None
    if header.defects or len(header.addresses) != 1 or header.groups[0].display_name is not None:
        raise ValueError(_WANTED)
    (found,) = header.addresses
    whole = found.username and found.domain and found.username.isascii() and found.addr_spec in value
    if not whole:
        raise ValueError(_WANTED)
    return value


Mailbox = Annotated[str, AfterValidator(mailbox)]


@dataclass(frozen=True, slots=True)
class MailServer:
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: bool  # from the first byte
    starttls: bool


def mail_server(address: str, *, trusted: Callable[[str], bool]) -> MailServer:
    """address: smtp:// or smtps://; empty for none.  trusted: whether the way to a host may be in plain text."""
    url = urlsplit(address)
    tls, host = url.scheme == "smtps", url.hostname or ""
    return MailServer(
        host=host,
        port=url.port or (465 if tls else 587),
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        tls=tls,
        starttls=bool(host) and not tls and not trusted(host),
    )

"""One message to one address, once. Nothing that it addresses may be inside our own network.

The name is resolved here, every address that it has must be public, and the connection goes to the
address that was looked at: a name that changes in between (DNS rebinding) reaches nothing. No
redirect is followed and no proxy used.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from email.utils import parseaddr
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.translation import gettext as _

from console.errors import Invalid

SECONDS_MAX: Final = 10.0
_PORTS: Final = {"https": 443, "http": 80}


class NotDelivered(Exception):
    """Why a message did not arrive, in a few words."""


def check_address(url: str) -> None:
    """Raises Invalid unless messages may go there. Asks the name service."""
    parts = urlsplit(url)
    if parts.scheme == "mailto":
        if not settings.AMULET.smtp_url:
            raise Invalid(_("No mail server is set: AMULET_SMTP_URL names it."), field="url")
        if parseaddr(parts.path)[1] != parts.path or "@" not in parts.path or parts.query:
            raise Invalid(_("An e-mail address reads mailto:name@example.org."), field="url")
        return
    private = settings.AMULET.webhook_private
    if parts.scheme not in (_PORTS if private else ("https",)) or not parts.hostname or parts.username is not None:
        raise Invalid(
            _("An address begins with https:// or mailto:, and names a host without user or password."), field="url"
        )
    try:
        _resolved(parts.hostname, parts.port or _PORTS[parts.scheme])
    except (NotDelivered, ValueError) as error:
        raise Invalid(str(error), field="url") from None


def post(url: str, body: bytes, headers: Mapping[str, str]) -> str:
    """Send, and return what was answered, "204". Raises NotDelivered."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    address = _resolved(parts.hostname, port := parts.port or _PORTS[parts.scheme])
    target = urlunsplit((parts.scheme, f"{_bracketed(address)}:{port}", parts.path or "/", parts.query, ""))
    try:
        with (
            httpx.Client(timeout=SECONDS_MAX, trust_env=False, follow_redirects=False) as client,
            client.stream(
                "POST",
                target,
                content=body,
                headers={**headers, "host": parts.netloc},
                extensions={"sni_hostname": parts.hostname},  # the certificate is the name's, not the address's
            ) as answer,
        ):
            status = answer.status_code
    except httpx.HTTPError as error:
        raise NotDelivered(type(error).__name__) from None
    if not 200 <= status < 300:
        raise NotDelivered(str(status))
    return str(status)


def mail(url: str, subject: str, text: str) -> str:
    """Send an e-mail. Raises NotDelivered."""
    message = EmailMessage(subject=subject, body=text, to=[urlsplit(url).path])
    try:
        message.send()
    except OSError as error:  # smtplib's own errors among them
        raise NotDelivered(type(error).__name__) from None
    return "sent"


def _resolved(host: str, port: int) -> str:
    """The address to connect to. Raises NotDelivered when there is none, or one that is not public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotDelivered(_("{host} has no address.").format(host=host)) from None
    addresses = [str(sockaddr[0]) for *_rest, sockaddr in found]
    if not settings.AMULET.webhook_private and not all(map(_is_public, addresses)):
        raise NotDelivered(
            _("{host} is an address of a private network; AMULET_WEBHOOK_PRIVATE allows them.").format(host=host)
        )
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        # An IPv4 address in IPv6's clothes reaches what the IPv4 address reaches.
        address = address.ipv4_mapped or address.sixtofour or address
    return address.is_global and not address.is_multicast


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address

"""One message to one address, once. Nothing that it addresses may be inside our own network.

The name is resolved here, every address that it has must be public, and the connection goes to the
address that was looked at: a name that changes in between (DNS rebinding) reaches nothing. No
redirect is followed and no proxy used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from email.utils import parseaddr
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

import httpx
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.translation import gettext as _

from console.errors import Invalid
from console.webhooks import sentences

SECONDS_MAX: Final = 10.0
_PORTS: Final = {"https": 443, "http": 80}
_PORT_MAX: Final = 65_535
_ROUTED: Final = IPv6Network("2000::/3")  # all that IANA has given out for the whole net


class NotDelivered(Exception):
    """Why a message did not arrive, in a few words: English, or what another said (`sentences`)."""


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
    try:
        whole = _whole(url)
        if whole.scheme not in (_PORTS if private else ("https",)) or not whole.host or whole.userinfo:
            raise Invalid(
                _("An address begins with https:// or mailto:, and names a host without user or password."), field="url"
            )
        _resolved(whole)
    except NotDelivered as error:
        raise Invalid(sentences.for_reader(str(error)), field="url") from None


def post(url: str, body: bytes, headers: Mapping[str, str]) -> str:
    """Send, and return what was answered, "204". Raises NotDelivered."""
    whole = _whole(url)
    target = whole.copy_with(host=_resolved(whole), port=_port(whole), fragment=None)
    try:
        status = asyncio.run(
            _status_of(str(target), body, {**headers, "host": whole.netloc.decode()}, whole.raw_host.decode())
        )
    except TimeoutError:
        raise NotDelivered(sentences.NO_ANSWER.format(host=whole.host, seconds=f"{SECONDS_MAX:g}")) from None
    except httpx.HTTPError as error:
        raise NotDelivered(_why(error, whole.host)) from None
    if not 200 <= status < 300:
        raise NotDelivered(str(status))
    return str(status)


async def _status_of(target: str, body: bytes, headers: Mapping[str, str], host: str) -> int:
    """What a POST is answered. Raises TimeoutError, httpx.HTTPError, NotDelivered.

    A loop of its own, for its bound: httpx counts from byte to byte, and a listener that sends one now and then
    would hold a worker for ever.
    """
    async with (
        asyncio.timeout(SECONDS_MAX),
        httpx.AsyncClient(verify=_trusted(), timeout=None, trust_env=False, follow_redirects=False) as client,  # noqa: S113 - bounded as a whole
        client.stream(
            "POST",
            target,
            content=body,
            headers=dict(headers),
            extensions={"sni_hostname": host},  # the certificate is the name's, not the address's
        ) as answer,
    ):
        return answer.status_code


def _trusted() -> ssl.SSLContext:
    """Whose certificates are believed: the public authorities, and the operator's own. Raises NotDelivered."""
    context = httpx.create_ssl_context(trust_env=False)
    own = settings.AMULET.webhook_ca
    if own is not None:
        try:
            context.load_verify_locations(own)
        except OSError:  # ssl.SSLError among them
            raise NotDelivered(sentences.NO_CERTIFICATES.format(path=own)) from None
    return context


def _why(error: BaseException | None, host: str) -> str:
    """What went wrong with a connection: a sentence where it is something that somebody can mend."""
    kind = type(error).__name__
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return sentences.NOT_ACCEPTED.format(host=host, why=error.verify_message)
        error = error.__cause__ or error.__context__
    return kind


def mail(url: str, subject: str, text: str) -> str:
    """Send an e-mail. Raises NotDelivered."""
    message = EmailMessage(subject=subject, body=text, to=[urlsplit(url).path])
    try:
        message.send()
    except (OSError, ValueError) as error:  # smtplib's own errors among them, and letters that a server cannot take
        raise NotDelivered(type(error).__name__) from None
    return sentences.SENT


def _whole(url: str) -> httpx.URL:
    """An address in its parts, a host of other letters than ASCII's as the name service has it.

    Raises NotDelivered for one that is none.
    """
    try:
        whole = httpx.URL(url)
    except httpx.InvalidURL:
        whole = None
    if whole is None or (whole.port or 0) > _PORT_MAX:
        raise NotDelivered(sentences.NO_ADDRESS)
    return whole


def _port(url: httpx.URL) -> int:
    return url.port or _PORTS[url.scheme]


def _resolved(url: httpx.URL) -> str:
    """The address to connect to. Raises NotDelivered when there is none, or one that is not public."""
    try:
        found = socket.getaddrinfo(url.raw_host.decode(), _port(url), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotDelivered(sentences.NOT_FOUND.format(host=url.host)) from None
    addresses = [str(sockaddr[0]) for *_rest, sockaddr in found]
    if not settings.AMULET.webhook_private and not all(map(_is_public, addresses)):
        raise NotDelivered(sentences.PRIVATE.format(host=url.host))
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        # An IPv4 address in IPv6's clothes reaches what the IPv4 address reaches.
        address = address.ipv4_mapped or address.sixtofour or address
    if isinstance(address, IPv6Address) and address not in _ROUTED:
        return False  # site-local, NAT64 of whatever IPv4 address, and others that is_global does not know
    return address.is_global and not address.is_multicast

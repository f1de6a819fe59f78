"""`amulet predict`: photographs through the gateway, as any client sends them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click
from cryptography import x509

from amulet_client import AmuletError, Client, Prediction, Unreachable, Wishes
from amulet_client.asking import Manner, ask
from amulet_client.asking_options import asking_options, language_option
from amulet_client.bulk import Outcome, photographs
from amulet_client.photos import heat_map_png
from amulet_client.work import name_of
from cli.connection import RemoteError, secret
from cli.layout import Layout
from cli.stack import state_option

# A sign in what gRPC says -> what is the matter.
CAUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Connection refused": "cannot be reached: nothing listens there (`amulet status` says what runs)",
        "lookup failed": "cannot be found: AMULET_GATEWAY has the form HOST:PORT",
        "errors resolving": "cannot be found: AMULET_GATEWAY has the form HOST:PORT",
        "CERTIFICATE_VERIFY_FAILED": "shows a certificate that {authority} has not signed: AMULET_TLS_CA names another",
        "Socket closed": "hung up: it speaks TLS and was asked in plain text, or the other way round (AMULET_INSECURE)",
        "WRONG_VERSION_NUMBER": "speaks plain text and was asked in TLS: is it the right port?",
        "DEADLINE_EXCEEDED": "did not answer in time (`amulet status` says what runs)",
    }
)


@click.command(epilog="Example: AMULET_API_KEY_FILE=shop.key amulet predict front.jpg --explain maps/ --language th")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@asking_options
@click.option("--explain", type=click.Path(path_type=Path, file_okay=False), help="Write heat maps into this folder.")
@click.option(
    "--similar", type=click.IntRange(0, 10), default=0, help="Also name so many reference examples that are alike."
)
@language_option
@state_option
def predict(
    photos: tuple[Path, ...],
    one_object: bool,
    explain: Path | None,
    similar: int,
    model: str,
    version: str,
    language: str,
    as_json: bool,
    out: Path | None,
    shrink: bool,
    state: Path,
) -> int:
    """Ask the gateway about photographs, or all of a folder. "Not sure" and "none of ours" are answers, and exit 0."""
    files = photographs(photos)
    if not files:
        raise RemoteError(f"no photographs in {name_of(photos)}: JPEG, PNG and WebP files are looked for")
    objects = [tuple(files)] if one_object else [(file,) for file in files]
    names, layout = _map_names(tuple(files)), Layout.of(state)

    def maps_of(outcome: Outcome) -> dict[str, Any]:
        assert isinstance(outcome.result, Prediction)
        return {"heat_maps": _write_maps(outcome.result, outcome.photos, explain, names)} if explain else {}

    with _client(layout, language) as client:
        try:
            refused = ask(
                client,
                objects,
                Manner(language, as_json, out, shrink),
                Wishes(model=model, version=version, overlay=explain is not None, nearest_examples=similar),
                further=maps_of,
            )
        except Unreachable as error:
            raise RemoteError(_unreachable(str(error), layout)) from error
        except (AmuletError, ValueError) as error:
            raise RemoteError(str(error)) from error
        except OSError as error:
            if error.filename is None:  # what is printed: `main` has words for that
                raise
            raise RemoteError(f"{error.filename} cannot be written: {error.strerror}") from error
    return 1 if refused else 0


def _client(layout: Layout, language: str) -> Client:
    key = secret("API_KEY")
    if key is None:
        raise RemoteError(
            "no API key: set AMULET_API_KEY or AMULET_API_KEY_FILE (`amulet keys create --name NAME` prints one)"
        )
    plaintext, authority = in_plain_text(), _authority(layout)
    try:
        if not plaintext:
            _check_authority(authority)
        return Client(
            _gateway(layout),
            api_key=key,
            ca_file=None if plaintext else authority,
            plaintext=plaintext,
            language=language,
        )
    except OSError as error:
        raise RemoteError(
            f"the authority {authority} cannot be read ({error.strerror}): set AMULET_TLS_CA, "
            "or --state to the folder of a stack on this machine"
        ) from error
    except ValueError as error:
        raise RemoteError(str(error)) from error


def in_plain_text() -> bool:
    """Whether AMULET_INSECURE says so. Raises RemoteError for what gateway and console refuse.

    Click knows the words that they know; a test holds them together.
    """
    value = os.environ.get("AMULET_INSECURE", "")
    try:
        return bool(value and click.BOOL(value))
    except click.BadParameter:
        raise RemoteError(
            f"AMULET_INSECURE is {value!r}: wanted 1, true, yes or on for plain text, 0, false, no or off for TLS"
        ) from None


def _authority(layout: Layout) -> Path:
    return Path(os.environ.get("AMULET_TLS_CA") or layout.tls_ca)


def _gateway(layout: Layout) -> str:
    return os.environ.get("AMULET_GATEWAY") or layout.gateway_address


def _check_authority(path: Path) -> None:
    """Raises ValueError for what gRPC would only call a failed handshake; OSError where it cannot be read."""
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError:
        raise ValueError(f"{path} holds no certificate (PEM): AMULET_TLS_CA names the authority's") from None
    expires_at = max(certificate.not_valid_after_utc for certificate in certificates)
    if expires_at < datetime.now(UTC):
        raise ValueError(
            f"the authority {path} expired on {expires_at:%Y-%m-%d}: `amulet down` and `amulet up` renew that of a "
            "stack on this machine"
        )


def _unreachable(said: str, layout: Layout) -> str:
    """What gRPC says of a connection that failed, as somebody can act on it."""
    address = _gateway(layout)
    for sign, meaning in CAUSES.items():
        if sign in said:
            return f"the gateway at {address} {meaning.format(authority=_authority(layout))}"
    return said


def _map_names(photos: tuple[Path, ...]) -> dict[Path, str]:
    """A file name for each photograph's heat map; front.jpg of two folders are front.png and front-2.png."""
    names: dict[Path, str] = {}
    for photo in dict.fromkeys(photos):
        number, name = 1, f"{photo.stem}.png"
        while name in names.values():
            number += 1
            name = f"{photo.stem}-{number}.png"
        names[photo] = name
    return names


def _write_maps(answer: Prediction, photos: tuple[Path, ...], folder: Path, names: Mapping[Path, str]) -> list[str]:
    """Write each heat map, over the photograph where the gateway drew it so; the paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for heat_map in answer.heat_maps:
            path = folder / names[photos[heat_map.view]]
            path.write_bytes(heat_map.overlay_png or heat_map_png(heat_map))
            written.append(str(path))
    except OSError as error:
        raise click.ClickException(f"heat maps cannot be written to {folder}: {error.strerror}") from error
    return written

"""`amulet-client`: what callers do from a command line, without the platform. Needs the `cli` extra.

Exit status: 0 done, 1 the work failed or something was refused, 2 wrong use. An error is one
sentence on standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from amulet_client.answers import Wishes
from amulet_client.asking import Manner, ask
from amulet_client.asking_options import asking_options, language_option
from amulet_client.bulk import photographs
from amulet_client.errors import AmuletError, Unreachable
from amulet_client.synchronous import Client

_KINDS = ("confirmed", "wrong", "not_our_kind", "complaint")
# A sign in what gRPC says of a connection that failed -> what is the matter, and what would be right.
CAUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Connection refused": "cannot be reached: nothing listens there; name its HOST:PORT with --gateway",
        "lookup failed": "cannot be found: name its HOST:PORT with --gateway",
        "errors resolving": "cannot be found: name its HOST:PORT with --gateway",
        "CERTIFICATE_VERIFY_FAILED": "shows a certificate for another name, or one without a signature of {authority}: "
        "name its authority's PEM file with --ca, and the name that it is for with --gateway",
        "Socket closed": "hung up: it restarts, or speaks TLS and was asked in plain text (--insecure)",
        "WRONG_VERSION_NUMBER": "speaks plain text and was asked in TLS: is it the right port?",
    }
)


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say where and as whom; the command gets a `client`. Its errors become one sentence."""

    @click.option(
        "--gateway",
        envvar="AMULET_GATEWAY",
        default="127.0.0.1:7443",
        show_default=True,
        help="HOST:PORT of a gateway.",
    )
    @click.option(
        "--key-file",
        envvar="AMULET_API_KEY_FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that holds the API key; or the key itself in the variable AMULET_API_KEY.",
    )
    @click.option(
        "--ca",
        envvar="AMULET_TLS_CA",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Authority (PEM) that signed the gateway's certificate; otherwise those that the system trusts.",
    )
    @click.option("--insecure", envvar="AMULET_INSECURE", is_flag=True, help="Plain text; to loopback only.")
    @language_option
    @wraps(command)
    def with_client(
        gateway: str, key_file: Path | None, ca: Path | None, insecure: bool, language: str, **options: Any
    ) -> Any:
        needs_key = command.__name__ != "health"
        try:
            key = _key(key_file) if needs_key else ""
            with Client(
                gateway, api_key=key, ca_file=ca, plaintext=insecure, language=language, wait_s_max=30
            ) as client:
                if "language" in command.__annotations__:
                    options["language"] = language
                return command(client=client, **options)
        except BrokenPipeError:  # of what we write to: see `main`
            raise
        except OSError as error:
            if error.filename is None:
                raise click.ClickException(f"what is printed cannot be written: {error.strerror}") from error
            raise click.ClickException(f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}") from error
        except Unreachable as error:
            raise click.ClickException(_unreachable(str(error), gateway, ca)) from error
        except (AmuletError, ValueError) as error:
            raise click.ClickException(str(error)) from error

    return with_client


def _unreachable(said: str, gateway: str, ca: Path | None) -> str:
    """What gRPC says of a connection that failed, as somebody can act on it."""
    for sign, meaning in CAUSES.items():
        if sign in said:
            return f"the gateway at {gateway} {meaning.format(authority=ca or 'an authority that this system trusts')}"
    return said


def _key(file: Path | None) -> str:
    try:
        key = file.read_text("utf-8").strip() if file is not None else os.environ.get("AMULET_API_KEY", "").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{file} holds no API key, for it is no text: name the file that holds one") from None
    if not key:
        raise ValueError("no API key: name its file with --key-file, or set AMULET_API_KEY")
    return key


@click.group()
def amulet_client() -> None:
    """Ask an Amulet gateway about photographs."""


@amulet_client.command(epilog="Example: amulet-client predict photos/ --out results.jsonl --shrink")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@asking_options
@connected
def predict(
    client: Client,
    paths: tuple[Path, ...],
    one_object: bool,
    model: str,
    version: str,
    as_json: bool,
    out: Path | None,
    shrink: bool,
    language: str,
) -> int:
    """Ask about photographs, or all of a folder. "Not sure" and "none of ours" are answers, and exit 0."""
    photos = photographs(paths)
    if not photos:
        raise ValueError(f"no photographs in {', '.join(map(str, paths))}: JPEG, PNG and WebP files are looked for")
    objects = [tuple(photos)] if one_object else [(photo,) for photo in photos]
    wishes = Wishes(model=model, version=version)
    return 1 if ask(client, objects, Manner(language, as_json, out, shrink), wishes) else 0


@amulet_client.command(epilog="Example: amulet-client health --service model:amulets")
@click.option("--service", default="", help='Empty: the gateway; "model:NAME" or "model:NAME/VERSION".')
@connected
def health(client: Client, service: str) -> int:
    """Print SERVING and exit 0, or what else it is and exit 1. Needs no key."""
    status = client.health(service)
    click.echo(status)
    return 0 if status == "SERVING" else 1


@amulet_client.command(epilog="Example: amulet-client card amulets | jq .metrics")
@click.argument("model", default="")
@click.option("--version", default="", help="A version; otherwise the one that most of the traffic gets.")
@connected
def card(client: Client, model: str, version: str) -> int:
    """Print the card of a model as JSON: what it knows, how well, and from what. Without MODEL: which there are."""
    if not model:
        for served in client.list_models():
            click.echo(f"{served.name} {served.version} {'ready' if served.ready else 'not ready'}")
        return 0
    found = client.get_model(model, version).card
    if found is None:
        raise ValueError(f"{model} has no card")
    click.echo(json.dumps(asdict(found), ensure_ascii=False, indent=2, default=lambda value: value.isoformat()))
    return 0


@amulet_client.command(epilog="Example: amulet-client feedback 0199… --kind wrong --class sivali")
@click.argument("prediction_id")
@click.option("--kind", type=click.Choice(_KINDS), required=True, help="What it turned out to be.")
@click.option("--class", "true_class_id", default="", help="The class that it is.")
@click.option("--comment", default="", help="For the people who read it; nothing personal.")
@connected
def feedback(client: Client, prediction_id: str, kind: str, true_class_id: str, comment: str) -> int:
    """Tell what the object of a prediction turned out to be; prints the feedback's id."""
    click.echo(client.feedback(prediction_id, kind=kind, true_class_id=true_class_id, comment=comment))
    return 0


def main(arguments: list[str] | None = None) -> int:
    try:
        return int(amulet_client.main(arguments, prog_name="amulet-client", standalone_mode=False) or 0)
    except click.exceptions.Abort:
        click.echo("Error: interrupted", err=True)
        return 1
    except BrokenPipeError:  # whoever reads has read enough; what is left in the buffer is for nobody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code

"""`amulet verify` and `amulet signing-key`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir
from types import MappingProxyType
from typing import Final

import click

from model_store import signing
from model_store.errors import KeyUnusable
from model_store.signing import TrustStore
from model_store.verification import Report, State
from model_store.verification import verify as verify_archive
from protos.amulet.v1 import vocabulary_pb2 as words

_MARKS: Final = {State.PASSED: "ok", State.FAILED: "REFUSED", State.NOT_RUN: "-"}


@click.command(epilog="Example: amulet verify model.mar --trust signing.key.pub")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--trust",
    "trust",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="KEY_OR_DIR",
    help="A public key (PEM), or a folder of them with an optional revoked.txt. May be repeated. "
    "Without it: the keys that the stack on this machine trusts (AMULET_TRUSTED_KEYS).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def verify(ctx: click.Context, file: Path, trust: tuple[Path, ...], as_json: bool) -> None:
    """Check an archive against every rule and say which hold.

    Exit status: 0 when all hold, 1 when one does not, 2 for wrong use.
    """
    try:
        trusted = TrustStore.load(*(trust or _stack_trust(os.environ)))
    except KeyUnusable as error:
        raise click.BadParameter(str(error), ctx, param_hint="--trust" if trust else _named_by(os.environ)) from None
    try:
        report = verify_archive(file, trusted=trusted)
    except OSError as error:
        raise click.ClickException(
            f"the archive could not be unpacked in {gettempdir()} ({error.strerror}): "
            "make room there, or let TMPDIR name another folder"
        ) from None
    click.echo(json.dumps(report.as_document(), ensure_ascii=False, indent=2) if as_json else _shown(report))
    if not as_json and not trusted.keys:
        click.echo("No key is trusted here: name one with --trust.", err=True)
    ctx.exit(0 if report.accepted else 1)


@click.group("signing-key", epilog="Example: amulet signing-key create --out signing.key")
def signing_key() -> None:
    """Keys that sign archives."""


@signing_key.command("create", epilog="Example: amulet signing-key create --out signing.key")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where the private key goes.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def create(out: Path, as_json: bool) -> None:
    """Make a key pair (EC P-256): the private key at OUT, the public one at OUT.pub."""
    try:
        fingerprint = signing.generate_key(out)
    except FileExistsError as error:
        raise click.ClickException(f"{error.filename} exists already, and a key is never replaced") from None
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror}") from None
    public = out.with_name(out.name + ".pub")
    if as_json:
        document = {"private_key": str(out), "public_key": str(public), "fingerprint": fingerprint}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"Private key  {out}  (keep it where only the signer can read it)")
        click.echo(f"Public key   {public}  (give it to whoever checks archives)")
        click.echo(f"Fingerprint  {fingerprint}")


COMMANDS: Final[Mapping[str, click.Command]] = MappingProxyType({"verify": verify, "signing-key": signing_key})


def _stack_trust(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where the console's keys are. A folder that is named and missing is an error; a stack's own need not be there."""
    named = environment.get("AMULET_TRUSTED_KEYS")
    if named:
        return (Path(named),)
    folder = Path(environment.get("AMULET_STATE_DIR") or ".amulet", "console", "trusted")
    try:
        return (folder,) if folder.is_dir() else ()
    except OSError:
        return (folder,)  # whoever reads it says what is wrong with it


def _named_by(environment: Mapping[str, str]) -> str:
    """What the caller set, or would set, to say where those keys are."""
    names = (name for name in ("AMULET_TRUSTED_KEYS", "AMULET_STATE_DIR") if environment.get(name))
    return next(names, "--trust")


def _shown(report: Report) -> str:
    name = f"{report.card.name} {report.card.version}, " if report.card else ""
    lines = [f"{report.file}: {name}SHA-256 {report.sha256 or 'not read'}"]
    lines += [f"  {_MARKS[rule.state]:<8} {rule.rule:<10} {rule.message}" for rule in report.rules]
    refusal = report.refusal
    lines.append("accepted" if refusal is None else f"refused: {words.Reason.Name(refusal.reason)}")
    return "\n".join(lines)

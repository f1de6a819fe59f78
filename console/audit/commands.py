"""`amulet audit verify` and `receipt`: checked with a public key, on a machine that has nothing else of ours."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from console.audit.notes import KeyUnreadable, load_public_key, split_notes
from console.audit.receipt import (
    CERTIFICATE_FORM,
    Proved,
    ReceiptInvalid,
    check,
    require_form,
    require_only,
    statement_digest,
)
from console.audit.verifier import BY_HAND, Report
from console.audit.verifier import verify as check_lines
from model_store.strict_json import loads

PUBLIC_KEY_NAME: Final = "audit_public.pem"
_PDF: Final = b"%PDF-"


@click.command(epilog="Example: amulet audit verify audit.jsonl --key audit_public.pem --checkpoints checkpoints/")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"Public key of the log (PEM). Default: {PUBLIC_KEY_NAME} among this stack's checkpoints.",
)
@click.option(
    "--checkpoints",
    "kept",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Checkpoints that you kept yourself: a file, or a folder of *.txt. The file must reach them all.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def verify(file: Path, key_file: Path | None, kept: tuple[Path, ...], as_json: bool) -> int:
    """Check an exported audit log: every hash, every link, every signed checkpoint.

    Entries after the newest checkpoint are chained but not yet signed; the result says how many.
    """
    try:
        key = load_public_key(key_file or _key_of_this_stack())
        notes = _all_notes(kept)
        with file.open("rb") as lines:
            report = check_lines(_with_progress(lines, file.stat().st_size), key, notes)
    except KeyUnreadable as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError("a file of checkpoints is not text") from None
    click.echo(_as_json(report) if as_json else _as_text(file, report, compared=bool(notes)))
    return 0 if report.whole else 1


# What the file and the key alone cannot tell: who has that key and the database may write another log and sign it.
_NOT_COMPARED: Final = (
    "  It was held against no checkpoint from elsewhere (--checkpoints): only those show entries that are missing"
    " behind the last, and a log that was written anew by whoever has its signing key."
)


@click.command(epilog="Example: amulet audit receipt certificate.json --key audit_public.pem")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"Public key of the log (PEM). Default: {PUBLIC_KEY_NAME} among this stack's checkpoints.",
)
@click.option(
    "--checkpoints",
    "kept",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Checkpoints that you kept yourself: a file, or a folder of *.txt.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def receipt(file: Path, key_file: Path | None, kept: tuple[Path, ...], as_json: bool) -> int:
    """Check a receipt: that a signed checkpoint covers the entry, and what the entry says.

    FILE is a receipt, or a document that carries one under "receipt" and whose "statement" the
    entry commits to, as a certificate of erasure does.
    """
    try:
        key = load_public_key(key_file or _key_of_this_stack())
        notes = _all_notes(kept)
        proved = check_document(_document(file), key, notes)
    except (KeyUnreadable, UnicodeDecodeError) as error:
        raise click.UsageError(str(error)) from None
    except ReceiptInvalid as error:
        click.echo(json.dumps({"proved": False, "why": str(error)}) if as_json else f"{file}: NOT PROVED, {error}")
        return 1
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be read: {error.strerror}") from None
    if as_json:
        click.echo(json.dumps({"proved": True, **asdict(proved)}, ensure_ascii=False))
    else:
        click.echo(
            f"{file}: proved. Entry {proved.sequence:,} of {proved.time}, {proved.type}, is in the log whose first "
            f"{proved.signed_entries:,} entries are signed. It says: {json.dumps(proved.payload, ensure_ascii=False)}"
        )
    return 0


def _document(file: Path) -> Any:
    """Raises ClickException, OSError."""
    content = file.read_bytes()
    if content.startswith(_PDF):
        raise click.ClickException(
            f"{file} is a PDF, by which nothing is proved: check the same certificate as JSON, whose statement has the "
            "SHA-256 that the paper names"
        )
    try:
        return loads(content)
    except ValueError as error:
        raise click.ClickException(f"{file} is no receipt, nor a document that carries one: {error}") from None


def check_document(document: Any, key: Ed25519PublicKey, notes: Sequence[str] = ()) -> Proved:
    """Check a receipt, or a document that carries one for its statement. Raises ReceiptInvalid."""
    if not isinstance(document, dict) or "receipt" not in document:
        return check(document, key, kept=notes)
    require_only(document, ("amulet_certificate", "statement", "receipt"))
    if "amulet_certificate" in document:
        require_form(document["amulet_certificate"], CERTIFICATE_FORM, "certificate")
    proved = check(document["receipt"], key, kept=notes)
    if proved.payload.get("statement_sha256") != statement_digest(document.get("statement")):
        raise ReceiptInvalid("the statement is not the one that the entry commits to")
    return proved


COMMANDS: Final = MappingProxyType({"verify": verify, "receipt": receipt})


def notes_in(path: Path) -> Iterator[str]:
    """The checkpoints of a file, or of every *.txt of a folder. Raises OSError, UnicodeDecodeError."""
    for file in sorted(path.glob("*.txt")) if path.is_dir() else [path]:
        yield from split_notes(file.read_text("utf-8"))


def _all_notes(kept: Sequence[Path]) -> list[str]:
    """Raises OSError, UnicodeDecodeError, and UsageError where somebody named what holds none.

    Whoever is told that a log is whole must know that what they kept was looked at.
    """
    found: list[str] = []
    for path in kept:
        notes = list(notes_in(path))
        if not notes:
            raise click.UsageError(f"--checkpoints {path} holds none: name a file of checkpoints, or a folder of *.txt")
        found += notes
    return found


def _key_of_this_stack() -> Path:
    state = Path(os.environ.get("AMULET_STATE_DIR") or ".amulet")
    folder = Path(os.environ.get("AMULET_CHECKPOINT_DIR") or state / "checkpoints")
    path = folder / PUBLIC_KEY_NAME
    if not path.is_file():
        raise click.UsageError(f"name the log's public key with --key: there is no {path}")
    return path


def _with_progress(lines: Iterable[bytes], total_bytes: int) -> Iterator[bytes]:
    hidden = not sys.stderr.isatty()  # elsewhere its label alone would stand among the sentences
    with click.progressbar(length=total_bytes, label="Verifying", hidden=hidden, file=sys.stderr) as bar:
        waiting = 0
        for line in lines:
            yield line
            waiting += len(line)
            if waiting > 1 << 20:
                bar.update(waiting)
                waiting = 0
        bar.update(waiting)


def _as_json(report: Report) -> str:
    return json.dumps({"whole": report.whole, **asdict(report)}, ensure_ascii=False)


def _as_text(file: Path, report: Report, *, compared: bool) -> str:
    """compared: with checkpoints from elsewhere."""
    entries = f"{report.entries:,} entries ({report.first:,} to {report.last:,})"
    if not report.whole:
        lines = [f"{file}: NOT WHOLE, {entries} read", *(f"  {problem}" for problem in report.problems)]
        if report.problems_left_out:
            lines.append(f"  … and {report.problems_left_out:,} more")
        return "\n".join(lines)
    if not report.entries:
        return f"{file}: whole, and empty"
    unsigned = report.last - report.signed_through
    return (
        f"{file}: whole. {entries}, the last of {report.last_time}; "
        f"{report.checkpoints:,} signed checkpoints fit, through entry {report.signed_through:,}; "
        f"{unsigned:,} newer ones are chained and not signed yet; {report.erased:,} payloads were erased"
        + (
            f", {report.erased_by_hand:,} of them by hand, as entries of the type {BY_HAND} say."
            if report.erased_by_hand
            else "."
        )
        + "".join(f"\n  {remark}" for remark in _remarks(report))
        + ("" if compared else f"\n{_NOT_COMPARED}")
    )


def _remarks(report: Report) -> Iterator[str]:
    """What breaks no hash and may be right: whoever checks the log should know why."""
    if report.untold:
        named = ", ".join(f"{number:,}" for number in report.untold_at)
        more = "" if report.untold == len(report.untold_at) else " and others"
        yield (
            f"What {report.untold:,} entries said is gone, and neither goes with a person nor does an entry tell of "
            f"it: {named}{more}. Somebody deleted it who has the database."
        )
    if report.set_back:
        yield (
            f"{report.set_back:,} entries say an earlier time than entries before them, by up to "
            f"{timedelta(seconds=round(report.set_back_s))}, the first of them entry {report.set_back_at:,}: a clock "
            "was set back or ahead, or somebody made up when it was. Their order is that of their numbers."
        )

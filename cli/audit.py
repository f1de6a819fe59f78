"""`amulet audit`: an export of the log; its verification, and that of receipts, without any server; what the console
works by, held against it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from cli import supervision
from cli.connection import RemoteError, console_connection
from cli.layout import Layout
from cli.stack import reason_of, state_option
from cli.waiting import waiting
from console.audit.commands import PUBLIC_KEY_NAME, receipt, verify
from console.audit.notes import KeyUnreadable, load_public_key, origin_of

_HEADER_BYTES_MAX: Final = 64 << 10


@click.group(epilog="Example: amulet audit export audit.jsonl")
def audit() -> None:
    """Export the audit log, verify an export offline, or hold the console's own rows against it."""


@audit.command(
    epilog="Example: amulet audit export audit.jsonl && amulet audit verify audit.jsonl --key audit_public.pem"
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, writable=True))
@click.option(
    "--since",
    help="A day or moment, 2026-11-01 or 2026-11-01T09:00:00+07:00: leave out what the checkpoint before it covers.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@state_option
def export(file: Path, since: str | None, as_json: bool, state: Path) -> None:
    """Write the log, one JSON entry a line, with its checkpoints: the whole of it, or from a moment on."""
    asked = {} if since is None else {"since": _moment(since)}
    if file.exists() and not file.is_file():  # a device, or /dev/stdout: the log would stand in its place
        raise click.UsageError(f"{file} is no file that could be replaced: name one")
    layout = Layout.of(state)
    console = console_connection(layout)
    temporary = file.with_name(f".{file.name}.part")
    lines = size_bytes = 0
    try:
        with temporary.open("wb") as out, _counter("entries") as count:
            for piece in console.pieces("audit/export/", params=asked):
                out.write(piece)
                lines += piece.count(b"\n")
                size_bytes += len(piece)
                count(piece.count(b"\n"))
        temporary.replace(file)
    except OSError as error:
        raise RemoteError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    if as_json:
        click.echo(json.dumps({"file": str(file), "lines": lines, "bytes": size_bytes}, ensure_ascii=False))
    else:
        click.echo(
            f"{file} holds the log. {_how_to_check(file, layout)}",
            err=True,
        )


@audit.command(epilog="Example: amulet audit compare --state ./demo")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable: how many, and the first hundred.")
@state_option
def compare(as_json: bool, state: Path) -> int:
    """Name consents, people and predictions that are not as the audit log and the ledger of erasures say; exit 1 then.

    Beside the console's own database, which it reads and does not change. The log's hashes say nothing of these rows.
    """
    layout = Layout.of(state)
    if not layout.record.exists():
        raise click.ClickException(f"no stack was ever started in {layout.state}: `amulet up --state {state}` does")
    with waiting("Reading consents, people and predictions"):
        done = subprocess.run(
            [sys.executable, "-m", "console.manage", "compare_rows", *(("--json",) if as_json else ())],
            env=supervision.environment(layout, os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
    if not done.stdout:
        raise click.ClickException(reason_of(done.stderr).removeprefix("CommandError: "))
    click.echo(done.stdout.strip())
    return done.returncode


def _moment(text: str) -> str:
    """As the console takes it; a day begins at midnight here. Raises UsageError."""
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"--since {text!r} is no moment: write 2026-11-01, or 2026-11-01T09:00:00+07:00"
        ) from None


def _how_to_check(file: Path, layout: Layout) -> str:
    """The command as it can be typed here: the log may be another server's, which no key that lies here fits."""
    key = Path(os.environ.get("AMULET_CHECKPOINT_DIR") or layout.checkpoints) / PUBLIC_KEY_NAME
    first = "" if _is_of(file, key) else f", copy {PUBLIC_KEY_NAME} from the server's checkpoints, then"
    if first:
        key = Path(PUBLIC_KEY_NAME)
    with suppress(ValueError):  # it lies elsewhere
        key = key.relative_to(Path.cwd())
    return f"To check it{first}: {shlex.join(('amulet', 'audit', 'verify', str(file), '--key', str(key)))}"


def _is_of(file: Path, key: Path) -> bool:
    """Whether the log names this key as its own."""
    try:
        with file.open("rb") as lines:
            header = json.loads(lines.readline(_HEADER_BYTES_MAX))
        return bool(header["origin"] == origin_of(load_public_key(key)))
    except (OSError, KeyUnreadable, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _counter(what: str) -> Iterator[Callable[[int], None]]:
    """A growing number on a terminal, for work whose end is not known."""
    shown = sys.stderr.isatty()
    total = 0

    def count(more: int) -> None:
        nonlocal total
        total += more
        if shown:
            click.echo(f"\r{total:,} {what}", err=True, nl=False)

    try:
        yield count
    finally:
        if shown:
            click.echo(err=True)


audit.add_command(verify)
audit.add_command(receipt)

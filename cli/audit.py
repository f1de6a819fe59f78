"""`amulet audit`: an export of the log; its verification, and that of receipts, without any server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from cli.connection import RemoteError, console_connection
from cli.layout import Layout
from cli.stack import state_option
from console.audit.commands import receipt, verify


@click.group(epilog="Example: amulet audit export audit.jsonl")
def audit() -> None:
    """Export the audit log, or verify an export offline."""


@audit.command(
    epilog="Example: amulet audit export audit.jsonl && amulet audit verify audit.jsonl --key audit_public.pem"
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, writable=True))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@state_option
def export(file: Path, as_json: bool, state: Path) -> None:
    """Write the whole log, one JSON entry a line, with its checkpoints."""
    if file.exists() and not file.is_file():  # a device, or /dev/stdout: the log would stand in its place
        raise click.UsageError(f"{file} is no file that could be replaced: name one")
    console = console_connection(Layout.of(state))
    temporary = file.with_name(f".{file.name}.part")
    lines = size_bytes = 0
    try:
        with temporary.open("wb") as out, _counter("entries") as count:
            for piece in console.pieces("audit/export/"):
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
        click.echo(f"{file} holds the log: `amulet audit verify {file} --key PUBLIC_KEY` checks it.", err=True)


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

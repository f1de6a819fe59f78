"""`amulet audit`: an export of the log; its verification, and that of receipts, without any server."""

from __future__ import annotations

from pathlib import Path

import click
import httpx

from cli.connection import RemoteError, console_connection
from cli.layout import Layout
from cli.stack import state_option
from console.audit.commands import receipt, verify


@click.group()
def audit() -> None:
    """Export the audit log, or verify an export offline."""


@audit.command(
    epilog="Example: amulet audit export audit.jsonl && amulet audit verify audit.jsonl --key audit_public.pem"
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, writable=True))
@state_option
def export(file: Path, state: Path) -> None:
    """Write the whole log, one JSON entry a line, with its checkpoints."""
    console = console_connection(Layout.of(state))
    temporary = file.with_name(f".{file.name}.part")
    try:
        with (
            httpx.stream(
                "GET",
                f"{console.url}/api/v1/audit/export/",
                headers={"Authorization": f"Token {console.token}"},
                timeout=60.0,
            ) as response,
            temporary.open("wb") as out,
        ):
            if response.is_error:
                raise RemoteError(f"the console answered {response.status_code} {response.reason_phrase}")
            for chunk in response.iter_bytes():
                out.write(chunk)
        temporary.rename(file)
    except httpx.HTTPError as error:
        raise RemoteError(f"the console at {console.url} cannot be reached: {error}") from error
    except OSError as error:
        raise RemoteError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


audit.add_command(verify)
audit.add_command(receipt)

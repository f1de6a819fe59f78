"""`amulet users`: members of staff, created beside the console's own database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import click

from cli import supervision
from cli.layout import Layout
from cli.provision import write_once
from cli.stack import reason_of, state_option
from cli.waiting import waiting

ROLES: Final = ("viewer", "reviewer", "model-engineer", "approver", "privacy-officer", "auditor", "administrator")


@click.group(epilog="Example: amulet users create somchai --role approver --token-file somchai.token")
def users() -> None:
    """Create members of staff."""


@users.command(epilog="Example: amulet users create somchai --role approver --token-file somchai.token")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the API token there instead of printing it: a new file that only you can read.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@state_option
def create(name: str, role: str, token_file: Path | None, as_json: bool, state: Path) -> None:
    """Create a member of staff; print the first password, the second factor's seed and an API token, once."""
    layout = Layout.of(state)
    if not layout.record.exists():
        raise click.ClickException(f"no stack was ever started in {layout.state}: `amulet up --state {state}` does")
    if token_file is not None and token_file.exists():
        raise click.UsageError(f"{token_file} exists already: name a new file")
    if token_file is not None and not os.access(token_file.parent, os.W_OK):
        raise click.UsageError(f"{token_file} cannot be written: there is no folder {token_file.parent} open to you")
    with waiting(f"Creating {name}"):
        done = subprocess.run(
            [sys.executable, "-m", "console.manage", "create_staff", "--role", role, "--json", "--", name],
            env=supervision.environment(layout, os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        reason = reason_of(done.stderr).removeprefix("CommandError: ")
        raise click.ClickException(f"{name} was not created: {reason or f'exit status {done.returncode}'}")
    made: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    unkept = ""
    if token_file is not None:
        token = made.pop("token")
        try:
            write_once(token_file, f"{token}\n".encode())
            made["token_file"] = str(token_file)
        except OSError as error:  # the person is there, and the password is shown this once
            unkept = f"{name} was created, and the token is lost, since {token_file} cannot be written"
            unkept = f"{unkept} ({error.strerror}): {name} makes another in the console, under Tokens for scripts"
    if as_json:
        click.echo(json.dumps(made, ensure_ascii=False))
    else:
        for key, value in made.items():
            click.echo(f"{key:<12} {value}")
        click.echo("Keep this now: it is not shown again.", err=True)
    if unkept:
        raise click.ClickException(unkept)

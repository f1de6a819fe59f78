"""`amulet users`: members of staff, created beside the console's own database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import click

from cli import supervision
from cli.layout import Layout
from cli.stack import state_option

ROLES: Final = ("viewer", "reviewer", "model-engineer", "approver", "privacy-officer", "auditor", "administrator")


@click.group()
def users() -> None:
    """Create members of staff."""


@users.command(epilog="Example: amulet users create somchai --role approver --json")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@state_option
def create(name: str, role: str, as_json: bool, state: Path) -> int:
    """Create a member of staff; print the first password, the second factor's seed and an API token, once."""
    layout = Layout.of(state)
    if not layout.record.exists():
        raise click.ClickException(f"no stack was ever started in {layout.state}: `amulet up --state {state}` does")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "console.manage",
            "create_staff",
            name,
            "--role",
            role,
            *(["--json"] if as_json else []),
        ],
        env=supervision.environment(layout, os.environ),
        check=False,
    )
    return done.returncode

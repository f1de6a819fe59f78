"""`amulet vault`: the vault's master keys, beside the console's own database and key file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli import supervision
from cli.asking import agreed
from cli.layout import Layout
from cli.stack import reason_of, state_option
from console.vault import key_file
from console.vault.cipher import KeyUnreadable, load_master_keys
from console.vault.key_file import KeyRefused

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Change this copy of a vault.key, which a console elsewhere will get, and ask no database.",
)


@click.group(epilog="Example: amulet vault add && amulet vault keys")
def vault() -> None:
    """Rotate the master key under which people's keys are wrapped."""


@vault.command(epilog="Example: amulet vault keys")
@json_option
@state_option
def keys(as_json: bool, state: Path) -> None:
    """List the master keys, and how many people's keys are wrapped under each."""
    _run(state, ["show"], as_json=as_json)


@vault.command(epilog="Example: amulet vault add")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A vault.key of this vault from before, as a backup has it: add its keys instead of a new one.",
)
@file_option
@json_option
@state_option
def add(source: Path | None, file: Path | None, as_json: bool, state: Path) -> None:
    """Put a new master key beside the others: it opens, and wraps nothing yet. Back the file up before `use`."""
    if file is not None:
        _change(file, lambda: key_file.add(file, source=source), as_json=as_json)
        return
    _run(state, ["add", *(() if source is None else ("--from", str(source.resolve())))], as_json=as_json)


@vault.command(epilog="Example: amulet vault use 3f9a1c")
@click.argument("key")
@file_option
@json_option
@state_option
def use(key: str, file: Path | None, as_json: bool, state: Path) -> None:
    """Let a master key wrap, and wrap anew what is under others. If it is stopped, the console goes on by itself."""
    if file is not None:
        _change(file, lambda: key_file.use(file, wanted=key), as_json=as_json)
        return
    _run(state, ["use", key], as_json=as_json)


@vault.command(epilog="Example: amulet vault rewrap")
@json_option
@state_option
def rewrap(as_json: bool, state: Path) -> None:
    """Wrap anew now what is not under the master key that wraps; the console does it by itself within minutes."""
    _run(state, ["rewrap"], as_json=as_json)


@vault.command(epilog="Example: amulet vault remove 07c4e2")
@click.argument("key")
@file_option
@json_option
@state_option
def remove(key: str, file: Path | None, as_json: bool, state: Path) -> None:
    """Take a master key under which nothing is wrapped out of the file. Backups from before still need it.

    With --file nobody looks whether that is so: ask `vault_keys show` where the console runs.
    """
    if file is not None:
        _change(file, lambda: key_file.remove(file, wanted=key), as_json=as_json)
        return
    _run(state, ["remove", key], as_json=as_json)


@vault.command("give-up", epilog="Example: amulet vault give-up 07c4e2")
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@state_option
def give_up(key: str, yes: bool, as_json: bool, state: Path) -> int:
    """Give up a master key that is lost for good: what is kept under it is deleted, for nobody can ever open it.

    The people stay, with consents and predictions, and each gets a new key. `first` is the key from before the first
    rotation. Says first how much goes, and asks.
    """
    found = _asked(state, ["lost", key])["lost"]
    click.echo(
        f"{found['people']:,} people's keys are wrapped under {key}, which is not here: {found['objects']:,} "
        "photographs and heat maps of theirs are deleted for good. If the key is in any backup, put it back instead: "
        "`amulet vault add --from FILE`.",
        err=True,
    )
    if not yes and not agreed("Give it up?", otherwise="gives it up without"):
        return 1
    _run(state, ["give_up", key], as_json=as_json)
    return 0


def _change(file: Path, change: Callable[[], object], *, as_json: bool) -> None:
    """Of a file alone: what it holds then."""
    try:
        change()
        ids = load_master_keys(file).ids
    except (KeyRefused, KeyUnreadable) as error:
        raise click.ClickException(str(error)) from None
    _show([{"id": each, "use": "opens" if place else "wraps"} for place, each in enumerate(ids)], as_json=as_json)


def _show(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"keys": found}))
        return
    for each in found:
        people = f" {each['people']:>9,} people" if "people" in each else ""
        click.echo(f"{each['id'] or 'first':<8} {each['use']:<8}{people}".rstrip())


def _run(state: Path, arguments: list[str], *, as_json: bool) -> None:
    _show(list(_asked(state, arguments)["keys"]), as_json=as_json)


def _asked(state: Path, arguments: list[str]) -> dict[str, Any]:
    """All that the console's own command answers, by name. Raises ClickException with its one sentence."""
    layout = Layout.of(state)
    if not layout.record.exists():
        raise click.ClickException(f"no stack was ever started in {layout.state}: `amulet up --state {state}` does")
    command = [sys.executable, "-m", "console.manage", "vault_keys", *arguments]
    shown = sys.stderr.isatty()
    found: dict[str, Any] = {}
    with subprocess.Popen(
        command,
        env=supervision.environment(layout, os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        for line in running.stdout:
            said = json.loads(line)
            found |= said
            if "rewrapped" in said and shown:
                click.echo(f"\r{said['rewrapped']:,} people's keys wrapped anew", err=True, nl=False)
        if shown and arguments[0] in ("use", "rewrap"):
            click.echo(err=True)
        failed = running.stderr.read()
    if running.returncode != 0:
        reason = reason_of(failed).removeprefix("CommandError: ")
        raise click.ClickException(reason or f"exit status {running.returncode}")
    return found

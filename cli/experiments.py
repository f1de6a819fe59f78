"""`amulet models experiment`: a canary with a question, from a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cli.asking import console_of, every, find_version, print_json, reason_option, remote_options
from cli.connection import ConsoleConnection, RemoteError
from training.numbers import FiniteRange

SHARE = FiniteRange(0.0, 1.0, min_open=True, max_open=True)


@click.group(epilog="Example: amulet models experiment status")
def experiment() -> None:
    """Ask whether a version is better, on a share of the calls."""


@experiment.command(
    epilog="Example: amulet models experiment start VERSION --hypothesis 'experts agree more often' --measure agreed "
    "--baseline 0.85 --effect 0.05 --share 0.2 --reason 'worn pieces'"
)
@click.argument("version")
@click.option("--hypothesis", required=True, help="What you expect, in a sentence, before the first answer.")
@click.option(
    "--measure",
    required=True,
    type=click.Choice(["in_domain", "agreed", "in_time"]),
    help="Share of answers that are so.",
)
@click.option("--baseline", required=True, type=SHARE, help="What production is expected to reach.")
@click.option("--effect", required=True, type=SHARE, help="The smallest improvement that matters.")
@click.option("--share", required=True, type=SHARE, help="Share of the traffic for the new version.")
@click.option("--answers-max", type=click.IntRange(1), help="Start nothing if the question takes more answers.")
@reason_option
@remote_options
def start(
    version: str,
    hypothesis: str,
    measure: str,
    baseline: float,
    effect: float,
    share: float,
    answers_max: int | None,
    reason: str,
    state: Path,
    as_json: bool,
) -> None:
    """Make an approved version a canary with a question, and say how many answers that takes."""
    console = console_of(state)
    found = find_version(console, version)
    body = {
        "hypothesis": hypothesis,
        "measure": measure,
        "baseline_ratio": baseline,
        "effect_ratio": effect,
        "share_ratio": share,
        "answers_max": answers_max,
        "reason": reason,
    }
    _print(console.call("POST", f"versions/{found['id']}/experiment/", json=body), as_json)


@experiment.command(epilog="Example: amulet models experiment status v20261124_tiny_0.979 --json")
@click.argument("version", required=False)
@remote_options
def status(version: str | None, state: Path, as_json: bool) -> None:
    """Say how an experiment stands; without a version, list them all, newest first."""
    console = console_of(state)
    if version is not None:
        _print(_newest_of(console, version), as_json)
        return
    found = every(console, "experiments/")
    if as_json:
        print_json(found)
        return
    for each in found:
        click.echo(_line(each))
    if not found:
        click.echo("No experiments yet: `amulet models experiment start VERSION …` begins one.", err=True)


@experiment.command(epilog="Example: amulet models experiment stop v20261124_tiny_0.979 --reason 'enough seen'")
@click.argument("version")
@reason_option
@remote_options
def stop(version: str, reason: str, state: Path, as_json: bool) -> None:
    """End the newest experiment of a version: it answers nobody any more, and what was seen stays."""
    console = console_of(state)
    found = _newest_of(console, version)
    console.call("POST", f"routes/{found['route_id']}/end/", json={"reason": reason})
    _print(console.call("GET", f"experiments/{found['id']}/"), as_json)


def _newest_of(console: ConsoleConnection, version: str) -> dict[str, Any]:
    found = next((each for each in every(console, "experiments/") if each["version"] == version), None)
    if found is None:
        raise RemoteError(f"there is no experiment with {version}: `amulet models experiment status` lists them")
    return found


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    click.echo("\n".join(told(found)))


def told(found: dict[str, Any]) -> Iterator[str]:
    """An experiment as a person reads it: where it stands, what was asked, what both sides reached."""
    yield _line(found)
    yield f"  {found['hypothesis']}"
    yield (
        f"  {found['measure']}: {found['effect_ratio']:.1%} more than production's {found['baseline_ratio']:.1%}, "
        f"looked at {found['looks_done']} times"
    )
    for side in ("watched", "production"):
        share = found[side]
        yield f"    {side:<12} {share['yes']} of {share['n']}  [{share['low']:.3f}, {share['high']:.3f}]"


def _line(found: dict[str, Any]) -> str:
    return (
        f"{found['model']:<20}{found['version']:<48}{found['outcome']:<14}"
        f"{found['watched']['n']} of {found['size']} answers"
    )

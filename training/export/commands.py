"""`amulet quantize`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from training.commands import stages, worded


@click.command(epilog="Example: amulet quantize run --data photographs --ood photographs/ood --out run-int8")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Labelled photographs: half calibrate, half measure."
)
@click.option(
    "--ood",
    "outside",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Photographs of other things, halved too. May be repeated.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="RUN", help="The folder of the new run.  [default: RUN-int8]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def quantize(run: Path, data: Path, outside: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Make an 8-bit form of a run, measured against it; refused when it decides otherwise."""
    out = out or run.with_name(f"{run.name}-int8")
    with worded(), stages() as say:
        from training.export import quantize as quantizing

        card, figures = quantizing.quantize(run, data, out, outside=outside, progress=say)
    if as_json:
        click.echo(json.dumps({"run": str(out), "version": card.version, **asdict(figures)}, indent=2))
        return
    click.echo(f"{card.name} {card.version} in {out}")
    click.echo(quantizing.shown(figures))

"""`amulet labels`: what experts decided, as a folder that `amulet train` takes."""

from __future__ import annotations

import json
import tempfile
import zipfile
from itertools import chain
from pathlib import Path
from typing import Final

import click

from cli.asking import remote_options
from cli.connection import RemoteError, console_connection
from cli.layout import Layout
from model_store import placed

EXPORT_S_MAX: Final = 600.0  # the console reads every photograph before it sends the first


@click.group(epilog="Example: amulet labels export amulets --out reviewed")
def labels() -> None:
    """Export what experts decided, as photographs to train on."""


@labels.command(epilog="Example: amulet labels export amulets --out reviewed && amulet train reviewed --out run")
@click.argument("model")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder for the photographs.")
@click.option("--note", default="", help="What it is for: shown beside the export.")
@remote_options
def export(model: str, out: Path, note: str, state: Path, as_json: bool) -> None:
    """Fetch every photograph of a model with a settled label whose person agreed to training.

    OUT gets one folder for each class, ood/ for what is none of them, and manifest.json, which says where each
    label comes from. Delete it when it has been trained on: later erasures do not reach your copy.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise click.UsageError(f"{out} is there already: --out names a new or an empty folder")
    console = console_connection(Layout.of(state))
    body = {"model": model, "note": note}
    try:
        pieces = console.pieces("datasets/", method="POST", wait_s=EXPORT_S_MAX, json=body)
        first = next(pieces, b"")  # a console that refuses leaves no folder behind
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent) as file:
            for piece in chain((first,), pieces):
                file.write(piece)
            with placed.folder(out) as folder:
                with zipfile.ZipFile(file) as archive:
                    archive.extractall(folder)
                manifest = json.loads((folder / "manifest.json").read_bytes())
    except zipfile.BadZipFile as error:
        raise RemoteError("the export broke off: run it again") from error
    except OSError as error:
        raise RemoteError(f"{out} cannot be written: {error.strerror}") from error
    summary = {key: manifest[key] for key in ("dataset", "model", "fingerprint")}
    photographs = manifest["photographs"]
    outside = sum(photograph["label"] is None for photograph in photographs)
    if as_json:
        click.echo(json.dumps({**summary, "out": str(out), "photographs": len(photographs), "outside": outside}))
        return
    click.echo(f"{out}: data set {summary['dataset']}, {len(photographs)} photographs, {outside} of them of no class")
    click.echo(f"Next: amulet train {out}{f' --ood {out}/ood' if outside else ''} --out run --name {model}")

"""`amulet package`: a run becomes one archive."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import click

from model_store import leftovers
from training import results
from training.terminal import json_option, others_option, stages, worded


@click.command(epilog="Example: amulet package run --out amulets.mar --sign signing.key")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The archive (.mar).")
@click.option(
    "--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help="A key of `amulet signing-key create`."
)
@click.option(
    "--fastest-on",
    "data",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Labelled photographs: also make the 8-bit form, and pack the one that is faster here.",
)
@others_option("With --fastest-on: photographs of other things. May be repeated.")
@json_option
def package(
    run: Path, out: Path, key: Path | None, data: Path | None, outside: tuple[Path, ...], as_json: bool
) -> None:
    """Pack a run into one archive that TorchServe takes, signed where a key is given.

    With --fastest-on both forms of the graph are measured on this processor, and 8 bits are
    packed where they are faster and decide alike; the card says what was measured.
    """
    if outside and data is None:
        raise click.UsageError("--ood belongs to --fastest-on DATA: without it no form is measured on photographs")
    cannot = _no_archive_there(out, run.name)
    if cannot:
        raise click.UsageError(f"--out {cannot}")
    why = chosen_on = ""
    with worded(), stages() as say, leftovers.held_folder("amulet-package-") as work:
        from training.export.package import package as pack

        if data is not None:
            from training.export.forms import fastest

            form = work / "run"
            choice = fastest(run, data, form, outside=outside, progress=say).graph.choice
            assert choice is not None
            run, why, chosen_on = form, choice.why, choice.processor
        summary = pack(run, out, sign_key=key)
    if as_json:
        document = {
            "archive": str(summary.path),
            "sha256": summary.sha256,
            "bytes": summary.size_bytes,
            "model": summary.name,
            "version": summary.version,
            "members": dict(summary.members),
            "signed_by": summary.signed_by,
            **({"form": why, "processor": chosen_on} if why else {}),
        }
        click.echo(json.dumps(document, indent=2))
        return
    signed = (
        f"signed by {summary.signed_by}" if summary.signed_by else "not signed: no server will take it (--sign KEY)"
    )
    click.echo(f"{summary.path}: {summary.name} {summary.version}, {summary.size_bytes / 2**20:.1f} MiB, {signed}")
    if why:
        click.echo(f"Form {why}; on {chosen_on}")


def _no_archive_there(out: Path, run_name: str) -> str:
    """Why no archive can take its place there, once it is whole; empty where one can."""
    cannot = results.unmakeable(out)
    if not cannot and out.is_dir():
        return f"{out} is a folder: name the archive itself, as in {out / f'{run_name}.mar'}"
    if not cannot and out.exists() and not out.is_file():
        return f"{out} is no file that could be replaced: name the archive itself, as in {run_name}.mar"
    if not cannot and out.is_file() and out.suffix != ".mar" and not zipfile.is_zipfile(out):
        return f"{out} exists and is no archive: name a new file, as in {run_name}.mar"
    return cannot

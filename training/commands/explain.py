"""`amulet explain`: heat maps of a folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from protos.cores import cores
from training.listing import counted
from training.results import ResultFile, ResultFolder
from training.terminal import SEED_MAX, json_option, stages, worded

THREADS_MAX = 8  # beyond, small batches only wait for each other


@click.command(epilog="Example: amulet explain run photographs --out maps --sample 50")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--out", required=True, type=ResultFolder(kept=True), metavar="DIR", help="Pictures, page and JSON.")
@click.option(
    "--sample", type=click.IntRange(1), metavar="N", help="Only N photographs, as evenly from each folder as can be."
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=0, show_default=True, help="Of the sample.")
@click.option("--target", metavar="CLASS", help="Explain this class; by default the best one of each photograph.")
@click.option(
    "--method",
    type=click.Choice(["grad_cam", "grad_cam_plus_plus", "saliency"]),
    default="grad_cam",
    show_default=True,
    help="How maps are made; saliency, by captum, needs a RUN folder.",
)
@click.option(
    "--faithfulness",
    "measured_on",
    type=click.IntRange(0),
    default=16,
    show_default=True,
    metavar="N",
    help="Measure on N of the photographs whether the maps of each method show what the model goes by; 0: do not.",
)
@click.option(
    "--review-sheet",
    type=ResultFile(),
    metavar="FILE.zip",
    help="Also 50 sampled heat maps for experts to judge, as the console imports them.",
)
@json_option
def explain(
    model: Path,
    folder: Path,
    out: Path,
    sample: int | None,
    seed: int,
    target: str | None,
    method: str,
    measured_on: int,
    review_sheet: Path | None,
    as_json: bool,
) -> None:
    """Draw where a model looks, for every photograph below a folder.

    MODEL is a RUN folder, an archive (.mar) or a model.onnx with its model.json beside it.
    A photograph that was explained before, by its content, is not computed again.
    """
    with worded(), stages() as say:
        import numpy as np

        from training.explanation.batch import INDEX, explain_folder, sampled
        from training.explanation.faithfulness import faithfulness, said
        from training.explanation.methods import method_of, methods_of
        from training.explanation.review_sheet import ITEMS, check_free, write_sheet
        from training.served.answers import GraphModel

        if review_sheet is not None:
            check_free(review_sheet)
        opened = GraphModel.open(model, threads=min(cores(), THREADS_MAX))
        explained = method_of(opened, model, method)
        done = explain_folder(
            opened,
            folder,
            out,
            sample=sample,
            seed=seed,
            target=target,
            method=method,
            explain=explained,
            progress=lambda now, total: say("Explaining", now, total),
        )
        faithful = {}
        if measured_on:
            images = [opened.pixels(file) for file in sampled(done.files, folder, measured_on, seed=seed)]
            faithful = faithfulness(
                opened,
                images,
                rng=np.random.default_rng(seed),
                methods=methods_of(opened, model),
                progress=lambda now, total: say("Measuring the maps", now, total),
            )
        if review_sheet is not None:
            write_sheet(opened, folder, sampled(done.files, folder, ITEMS, seed=seed), review_sheet, explain=explained)
    left_out = [{"file": str(error.path), "why": error.why} for error in done.left_out]
    if as_json:
        document = {
            "model": opened.card.version,
            "out": str(done.path),
            "photos": done.photos,
            "from_cache": done.from_cache,
            "verdicts": done.verdicts,
            "method": method,
            "faithfulness": asdict(faithful[method]) if faithful else None,
            "faithfulness_of": {name: asdict(each) for name, each in faithful.items()},
            "review_sheet": None if review_sheet is None else str(review_sheet),
            "left_out": left_out,
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    verdicts = ", ".join(f"{count} {name.replace('_', ' ').lower()}" for name, count in done.verdicts.items())
    click.echo(
        f"{counted(done.photos, 'photograph')} ({done.from_cache} answered before): {verdicts}. Look at {out / INDEX}"
    )
    if faithful:
        click.echo(said(faithful))
    if review_sheet is not None:
        click.echo(f"For experts to judge: {review_sheet}")
    for item in left_out:
        click.echo(f"  left out: {item['file']} {item['why']}")

"""`amulet data`: make a demonstration set, and look through a folder before learning from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training import results
from training.demo.photographs import PER_CLASS_DEFAULT, PER_CLASS_MAX, PER_CLASS_MIN, write_demo
from training.listing import counted
from training.results import ResultFile, ResultFolder
from training.terminal import SEED_MAX, json_option, progress_bar, worded

if TYPE_CHECKING:
    from training.data.check import Embed
    from training.negatives import Source


@click.group(epilog="Example: amulet data check photographs")
def data() -> None:
    """Check a folder of photographs, or make a demonstration one."""


@data.command(epilog="Example: amulet data demo --out photographs --seed 7 --per-class 40")
@click.option("--out", type=ResultFolder(), required=True, help="A new or empty folder to write to.")
@click.option(
    "--seed", type=click.IntRange(0, SEED_MAX), default=0, show_default=True, help="Another seed, other photographs."
)
@click.option(
    "--per-class",
    type=click.IntRange(PER_CLASS_MIN, PER_CLASS_MAX),
    default=PER_CLASS_DEFAULT,
    show_default=True,
    help="Photographs of each class, fronts and backs, and of each set of other things.",
)
@json_option
def demo(out: Path, seed: int, per_class: int, as_json: bool) -> None:
    """Draw a demonstration set: tablets in eight classes, and coins and objects that are none of them.

    Writes CLASS/front_NNN.jpg and CLASS/back_NNN.jpg, ood/coins/, ood/objects/, and the
    classes' Thai and English names in classes.yaml. The same seed draws the same photographs.
    """
    with worded(), progress_bar("Drawing photographs") as progress:
        written = write_demo(out, seed=seed, per_class=per_class, progress=progress)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "path": str(written.path),
                    "seed": written.seed,
                    "photos": written.photos,
                    "classes": dict(written.per_class),
                    "ood": dict(written.outside),
                }
            )
        )
        return
    click.echo(
        f"{written.photos} photographs in {out}: {len(written.per_class)} classes of {per_class}, "
        f"and {per_class} each of {' and '.join(written.outside)} under {out / 'ood'}"
    )


@data.command(
    epilog="Example: amulet data outside --out outside --classes photographs --from coins=my-coins --photos 300"
)
@click.option("--out", type=ResultFolder(), required=True, help="A new or empty folder to write to.")
@click.option(
    "--from",
    "brought",
    multiple=True,
    metavar="NAME=DIR",
    help="A folder of photographs of other things, however deep they lie. May be repeated.",
)
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="The labelled photographs: pieces of table and fragments are cut from them, and copies of them kept out.",
)
@click.option("--drawn/--no-drawn", default=True, show_default=True, help="Also drawn coins and objects.")
@click.option(
    "--photos", type=click.IntRange(2, 5000), default=300, show_default=True, help="How many, from all sources alike."
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def outside(
    out: Path, brought: tuple[str, ...], classes: Path | None, drawn: bool, photos: int, seed: int, as_json: bool
) -> None:
    """Gather photographs of things that are none of the classes, to measure with.

    Writes a folder for each source and manifest.json, which says where each photograph is from.
    200 to 500 photographs tell an AUROC to a hundredth or two.
    """
    from training.negatives import MANIFEST, write_negatives

    sources = [_source(item) for item in brought]
    if classes is not None:
        results.check_apart(out, classes, outside=True)
    with worded(), progress_bar("Gathering photographs") as progress:
        found = write_negatives(
            out, photos=photos, seed=seed, brought=sources, classes=classes, drawn=drawn, progress=progress
        )
    if as_json:
        click.echo(json.dumps(found.document(), ensure_ascii=False, indent=2))
        return
    sets = ", ".join(f"{count} {name}" for name, count in found.per_set.items())
    click.echo(f"{counted(len(found.entries), 'photograph')} in {out}: {sets}. {MANIFEST} says where each is from.")
    if len(found.entries) < photos:
        click.echo(f"  {photos} were asked for: bring more folders with --from", err=True)
    for each in found.left_out:
        click.echo(f"  left out: {each.source}/{each.file}, {each.why}")


def _source(item: str) -> Source:
    from training.negatives import Source

    name, mark, path = item.partition("=")
    if not mark:
        return Source(Path(item).resolve().name, Path(item))
    if not name or not path or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise click.UsageError(f"--from {item} is not of the form NAME=DIR, as in --from coins=my-coins")
    return Source(name, Path(path))


@data.command(epilog="Example: amulet data check photographs --against photographs-2025 --html check.html")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--against", type=click.Path(path_type=Path), help="A folder that should share no photograph with this one."
)
@click.option(
    "--html",
    type=ResultFile(),
    default=Path("data-check.html"),
    show_default=True,
    help="Where to write the report with thumbnails.",
)
@click.option("--quick", is_flag=True, help="Judge labels by simple shapes instead of the backbone's features.")
@click.option(
    "--embedding",
    "second_look",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    metavar="N",
    help="Also list the N pairs most alike by the features that labels are judged by; they are not taken for copies.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit 1 on any finding, not only on what keeps training from starting; that labels cannot be judged is none.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, SEED_MAX),
    default=0,
    show_default=True,
    help="Of the folds that labels are judged on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def check(
    folder: Path,
    against: Path | None,
    html: Path,
    quick: bool,
    second_look: int,
    strict: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Look through a folder of photographs: counts, balance, copies, broken and poor files, doubtful labels.

    Exits 1 where no training would take the folder, else 0. Few photographs of a class are advice: how many are too few
    depends on the folds, and `amulet train` says it.
    """
    # scikit-learn takes seconds to import, and `demo` needs none of it.
    from training.data.check import check_folder
    from training.data.report import page, summary

    with worded(), ExitStack() as stack:
        current = stack.enter_context(ExitStack())

        def stage(name: str) -> Callable[[int, int], None] | None:
            current.close()
            return current.enter_context(progress_bar(name))

        embed, embedded_by = _embedding(stage, quick=quick)
        found = check_folder(
            folder,
            against=against,
            embed=embed,
            embedded_by=embedded_by,
            second_look=second_look,
            seed=seed,
            progress=stage,
        )
        current.close()
        results.write(html, page(found))
    if as_json:
        click.echo(json.dumps({**found.document(), "html": str(html)}, ensure_ascii=False, indent=2))
    else:
        click.echo(f"{summary(found)}\n  Thumbnails: {html}")
    if found.unusable or (strict and found.findings):
        click.get_current_context().exit(1)


def _embedding(stage: Callable[[str], Callable[[int, int], None] | None], *, quick: bool) -> tuple[Embed, str]:
    """What labels are judged by: the backbone that training uses, where its packages are installed and time allows."""
    from training.data.labels import shape_features

    shapes = "edge directions of small pictures"
    if quick:
        return shape_features, shapes
    try:
        from training.fitting.backbone_features import DESCRIPTION, backbone_features
    except ModuleNotFoundError as missing:
        return shape_features, f"{shapes}, as {missing.name} is not installed"
    return lambda photos: backbone_features(photos, progress=stage("Looking at labels")), DESCRIPTION

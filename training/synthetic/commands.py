"""`amulet synth`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from training import results
from training.experiments.commands import cross_validated, reported, to_stdout, write_json
from training.experiments.tracking import Outcome, Photographs, Tracker
from training.listing import counted
from training.numbers import FiniteRange
from training.results import ResultFile, ResultFolder
from training.terminal import SEED_MAX, json_option, settings_of, stages, worded, written_files

_KINDS: Final = ("composite", "relit", "drawn")


_accept_min = click.option(
    "--accept-min",
    type=FiniteRange(0, 1),
    default=0.8,
    show_default=True,
    help="Share of experts' answers that must be plausible for a class's photographs to be kept.",
)


@click.group(epilog="Example: amulet synth make photographs --out synthetic")
def synth() -> None:
    """Make synthetic photographs, and find out whether they are worth keeping."""


@synth.command(epilog="Example: amulet synth make photographs --out synthetic --per-photo 2")
@click.argument("data", type=click.Path(path_type=Path), metavar="DATA")
@click.option("--out", required=True, type=ResultFolder(), metavar="DIR", help="A new or empty folder.")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(_KINDS),
    multiple=True,
    default=("composite", "relit"),
    show_default=True,
    help="composite: the object on another table; relit: the photograph under another light; drawn: by the renderer of "
    "`amulet data demo`, for its classes. May be repeated.",
)
@click.option(
    "--per-photo", type=click.IntRange(1, 100), default=1, show_default=True, help="Of each kind, for each real one."
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=0, show_default=True)
@json_option
def make(data: Path, out: Path, kinds: tuple[str, ...], per_photo: int, seed: int, as_json: bool) -> None:
    """Make synthetic photographs of each class from its real ones.

    DATA holds one folder for each class. origins.json in DIR says what each one is made from.
    """
    results.check_apart(out, data)
    with worded(), stages() as say:
        from training.data.folder import load_folder
        from training.synthetic import make as making

        made = making.make(
            load_folder(data),
            out,
            kinds=kinds,
            per_photo=per_photo,
            seed=seed,
            progress=lambda done, total: say("Making photographs", done, total),
        )
    if as_json:
        document = {
            "path": str(made.path),
            "photos": made.photos,
            "classes": dict(made.per_class),
            "no_backdrop": list(made.no_backdrop),
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    click.echo(
        f"{counted(made.photos, 'synthetic photograph')} of {counted(len(made.per_class), 'class', 'classes')} in {out}"
    )
    if made.no_backdrop:
        click.echo(
            f"  {counted(len(made.no_backdrop), 'real one')} could not be cut out of their backdrop (the first: "
            f"{made.no_backdrop[0]}): there are no composites of them"
        )
    click.echo(f"Next: amulet synth judge {data} {out} --html judgement.html")


@synth.command(epilog="Example: amulet synth judge photographs synthetic --html judgement.html")
@cross_validated
@click.argument("synthetic", type=click.Path(path_type=Path), metavar="SYNTHETIC")
@click.option(
    "--fid-max",
    type=FiniteRange(min=0),
    default=200.0,
    show_default=True,
    help="A class further away is discarded.",
)
@click.option(
    "--copies-max",
    type=FiniteRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share that may be nearer to a real photograph than real ones are to each other.",
)
@click.option(
    "--answers",
    type=click.Path(path_type=Path),
    metavar="ANSWERS",
    help="What experts said of a sheet of them, as the console gives it back: a class that they do not believe goes.",
)
@_accept_min
@click.option("--keep-unsure", is_flag=True, help="Keep a class whose gain could be luck, too.")
@reported
def judge(
    data: Path,
    synthetic: Path,
    recipe: str,
    config: Path | None,
    seeds: int,
    folds: int,
    fid_max: float,
    copies_max: float,
    answers: Path | None,
    accept_min: float,
    keep_unsure: bool,
    json_file: Path | None,
    html: Path | None,
    tracker: Tracker,
) -> None:
    """Judge synthetic photographs class by class: how near, whether copies, whether they help on real ones.

    DATA and SYNTHETIC hold one folder for each class. SYNTHETIC may come from anywhere; with the origins.json of
    `amulet synth make` none is learnt from where its original is measured on.
    """
    with worded(), stages() as say:
        from training.fitting.features import Eye, network_cores
        from training.fitting.lenses import lens_of, starting_backbone
        from training.fitting.recipe import recipe_of, with_settings
        from training.synthetic import decision
        from training.synthetic.page import page, sentences

        base = with_settings(recipe_of(recipe), {**settings_of(config), "tuning": None})
        request = decision.Request(
            data,
            synthetic,
            base,
            decision.Limits(fid_max, copies_max, accept_min, gain_sure=not keep_unsure),
            tuple(range(seeds)),
            folds,
            answers,
        )

        def open_eye() -> Eye:
            return lens_of(starting_backbone(base, seed=0), base, threads=network_cores()).eye

        found = decision.judge(request, open_eye, say=say)
        write_json(found.document(), json_file)
        if html is not None:
            results.write(html, page(found))
        document = found.document()
        tracker.note(
            Outcome(
                Photographs(found.data, found.fingerprint, found.photos),
                figures={name: document[name] for name in ("fidelity", "ab_test")},
                parameters={**base.document(), "limits": document["limits"], "seeds": found.seeds, "folds": folds},
                name=synthetic.resolve().name,
                artefacts=written_files(json_file, html),
            )
        )
    if to_stdout(json_file):
        return
    for label, near in found.fidelity.items():
        copies = "-" if near.copies is None else f"{near.copies:.0%}"
        click.echo(
            f"  {label:<32} FID {near.fid:7.1f}   halves {near.fid_halves:7.1f} (real: {near.fid_floor:.1f})   "
            f"KID {near.kid:8.4f}   copies {copies}"
        )
    for label, verdict in found.verdicts.items():
        click.echo(f"  {label:<32} {'keep' if verdict.keep else 'discard'}: {verdict.why}")
    for sentence in sentences(found):
        click.echo(sentence)


@synth.command(epilog="Example: amulet synth sheet synthetic --real photographs --out sheet.zip")
@click.argument("synthetic", type=click.Path(path_type=Path), metavar="SYNTHETIC")
@click.option("--out", required=True, type=ResultFile(), metavar="FILE", help="The ZIP.")
@click.option(
    "--real",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Real photographs: a fifth of the sheet, as the yardstick.",
)
@click.option(
    "--sample", type=click.IntRange(1, 1000), default=100, show_default=True, help="Photographs in the sheet."
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=0, show_default=True, help="Of the sample.")
@json_option
def sheet(synthetic: Path, out: Path, real: Path | None, sample: int, seed: int, as_json: bool) -> None:
    """Pack photographs for experts to judge in the console: plausible, not, or unsure."""
    if out.exists():  # experts may be at work with it
        raise click.UsageError(f"--out {out} exists: name a new file for the review sheet")
    with worded():
        from training.data.folder import scan_folder
        from training.synthetic.review_sheet import write_sheet

        yardsticks = scan_folder(real).photos if real is not None else ()
        count = write_sheet(scan_folder(synthetic).photos, yardsticks, out, sample=sample, seed=seed)
    if as_json:
        click.echo(json.dumps({"path": str(out), "photos": count}, ensure_ascii=False, indent=2))
        return
    click.echo(
        f"{counted(count, 'photograph')} in {out}: import it in the console, then `amulet synth reviewed ANSWERS`"
    )


@synth.command(epilog="Example: amulet synth reviewed answers.json")
@click.argument("answers", type=click.Path(path_type=Path), metavar="ANSWERS")
@_accept_min
@json_option
def reviewed(answers: Path, accept_min: float, as_json: bool) -> None:
    """Say what experts thought of a sheet: acceptance, by class, and how far they agree (Cohen's kappa)."""
    with worded():
        from training.synthetic import review_sheet

        found = review_sheet.reviewed(review_sheet.read_answers(answers))
    if as_json:
        click.echo(json.dumps(found.document(accept_min=accept_min), ensure_ascii=False, indent=2))
        return
    rows = [("synthetic", found.synthetic), *([("real", found.real)] if found.real else []), *found.per_class.items()]
    for name, each in rows:
        rate = each.rate
        problems = ", ".join(f"{problem} {count}" for problem, count in each.problems.items() if count)
        keep = "" if name in ("synthetic", "real") else ("   keep" if rate.value >= accept_min else "   discard")
        click.echo(
            f"  {name:<32} plausible {rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%}) of "
            f"{counted(each.answers, 'answer')}"
            f"{keep}{f'   ({problems})' if problems else ''}"
        )
    agreement = "no two reviewers judged the same"
    if found.kappa is not None:
        agreement = f"Cohen's kappa {review_sheet.told(found.kappa)}"
    click.echo(f"{counted(found.reviewers, 'reviewer')}: {agreement}")

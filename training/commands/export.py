"""`amulet quantize`, `amulet export` and `amulet card`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from training import results
from training.results import ResultFile, ResultFolder
from training.terminal import json_option, others_option, stages, worded

_FORMS = ("onnx", "torchscript", "int8", "dynamic")


@click.command(epilog="Example: amulet quantize run --data photographs --ood photographs/ood --out run-int8")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Labelled photographs: half calibrate, half measure."
)
@others_option("Photographs of other things, halved too. May be repeated.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="RUN", help="The folder of the new run.  [default: RUN-int8]"
)
@click.option("--html", type=ResultFile(), metavar="FILE", help="A report with plots.")
@json_option
def quantize(
    run: Path, data: Path, outside: tuple[Path, ...], out: Path | None, html: Path | None, as_json: bool
) -> None:
    """Make an 8-bit form of a run, measured against it; refused when it decides otherwise."""
    named = run if run.name not in ("", "..") else run.resolve()  # "." has no name to add to
    out = out or named.with_name(f"{named.name}-int8")
    results.check_apart(out, data)
    if out.resolve() == run.resolve():
        raise click.UsageError(f"--out {out} is the run itself, which the 8-bit form is measured against: name another")
    with worded(), stages() as say:
        from training.export import quantize as quantizing
        from training.export import run_folder

        model = quantizing.opened(run)
        run_folder.check_free(out)
        division = quantizing.Division.of(model, data)
        card, figures = quantizing.quantize(run, data, out, outside=outside, progress=say, division=division)
        if html is not None:
            from training.export import comparison, forms_page

            say("Measuring both forms", 0, 1)
            results.write(html, forms_page.page(comparison.quantised(run, out, data, division=division), beside=""))
    if as_json:
        click.echo(json.dumps({"run": str(out), "version": card.version, **asdict(figures)}, indent=2))
        return
    click.echo(f"{card.name} {card.version} in {out}")
    click.echo(quantizing.shown(figures))


@click.command(epilog="Example: amulet export run --data photographs --format int8 --format torchscript --out forms")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--format",
    "forms",
    type=click.Choice(_FORMS),
    multiple=True,
    default=_FORMS,
    show_default=True,
    help="onnx: fp32, always there to compare with; torchscript: probabilities and embedding alone; int8: calibrated; "
    "dynamic: int8 without calibration, to compare with. May be repeated.",
)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Labelled photographs: half calibrate, half measure.",
)
@others_option("Photographs of other things, for int8's limits. May be repeated.")
@click.option("--out", required=True, type=ResultFolder(), metavar="DIR", help="Files, forms.json and forms.html.")
@json_option
def export(run: Path, forms: tuple[str, ...], data: Path, outside: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Write the deployable forms of a run, each with its measured accuracy, size, latency and memory."""
    results.check_apart(out, data)
    with worded(), stages() as say:
        from training.export import comparison, forms_page

        found = comparison.export(run, data, out, forms=forms, outside=outside, page=forms_page.page, progress=say)
    if as_json:
        click.echo(json.dumps(found.document(), ensure_ascii=False, indent=2))
        return
    seen = f"; {found.trained_on.said}: {forms_page.too_good(found)}" if found.trained_on else ""
    click.echo(f"{found.version} on {found.processor}, {found.photos} photographs that nothing was calibrated on{seen}")
    for form in found.forms:
        against = (
            ""  # it is what the others are measured against
            if form is found.forms[0]
            else f", {form.times_smaller:.1f} times smaller   {0.0 - form.accuracy_lost:+.3f} "
            f"(at most {0.0 - form.accuracy_lost_at_most:+.3f})   same best class {form.same_best:.1%}"
        )
        click.echo(f"  {form.name:<13}{form.file_bytes / 1e6:5.1f} MB, accuracy {form.accuracy:.3f}{against}")
        click.echo(
            f"  {'':<13}p50 {form.p50_ms:.1f}, p95 {form.p95_ms:.1f}, p99 {form.p99_ms:.1f} ms   "
            f"CPU {form.cpu_ms:.1f} ms   peak {form.peak_mib:.0f} MiB"
        )
        if form.shares:
            click.echo(f"  {'':<13}" + "   ".join(f"{part} {share:.1%}" for part, share in form.shares.items()))
        if form.added_share is not None:
            click.echo(f"  {'':<13}against the graph without them, detectors and heat maps: {form.added_share:.1%}")
    click.echo(f"  decoding a photograph: {found.decode_ms:.1f} ms")
    for name, why in found.refused.items():
        click.echo(f"  no {name}: {why}")
    click.echo(f"Report: {out / comparison.PAGE}")


@click.command(epilog="Example: amulet card tablets.mar --html card.html")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.option(
    "--html",
    type=ResultFile(),
    default=Path("card.html"),
    show_default=True,
    metavar="FILE",
    help="The page.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the card itself.")
def card(model: Path, html: Path, as_json: bool) -> None:
    """Write a version's card as a page for people. MODEL is a RUN folder, an archive (.mar) or a model.json."""
    with worded():
        from training.export import card_page
        from training.reproduction import card_at

        found = card_at(model)
        results.write(html, card_page.page(found))
    click.echo(found.render() if as_json else f"{found.name} {found.version}: {html}", nl=not as_json)

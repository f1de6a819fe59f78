"""`amulet evaluate`: a model measured on photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training import results
from training.experiments.runs import tracked
from training.experiments.tracking import Outcome, Photographs, Tracker
from training.listing import counted
from training.results import ResultFile
from training.terminal import named, stages, worded, written_files

if TYPE_CHECKING:
    from training.served.learnt import TrainedOn


@click.command(epilog="Example: amulet evaluate run photographs --ood coins=photographs/ood/coins --html report.html")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.argument("data", type=click.Path(path_type=Path), metavar="DATA")
@click.option(
    "--ood", "outside", multiple=True, metavar="NAME=DIR", help="Photographs of other things. May be repeated."
)
@click.option("--json", "json_file", type=ResultFile(stdout=True), metavar="FILE", help="- is stdout.")
@click.option("--html", type=ResultFile(), metavar="FILE", help="A report with plots.")
@tracked
def evaluate(
    model: Path, data: Path, outside: tuple[str, ...], json_file: Path | None, html: Path | None, tracker: Tracker
) -> None:
    """Measure a model on photographs, through the graph that is served.

    MODEL is a RUN folder, an archive (.mar) or a model.onnx with its model.json beside it. DATA
    holds one folder for each class.
    """
    sets = [named(item) for item in outside]
    if len({name for name, _ in sets}) < len(sets):
        raise click.UsageError("two --ood sets have one name: give each its own, as in --ood coins=DIR")
    with worded(), stages() as say:
        from training.evaluation.evaluate import OutsideSet
        from training.evaluation.evaluate import evaluate as measure
        from training.evaluation.judgement import few, not_shown
        from training.fitting.features import network_cores
        from training.served.answers import GraphModel

        opened = GraphModel.open(model, threads=network_cores())
        found = measure(
            opened,
            data,
            [OutsideSet(name, path) for name, path in sets],
            progress=lambda done, total: say("Measuring", done, total),
        )
        document = found.document()
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        if json_file is not None and str(json_file) != "-":
            results.write(json_file, text)
        if html is not None:
            from training.evaluation import report, subjects

            results.write(html, report.page(subjects.of_evaluation(opened, found)))
        tracker.note(
            Outcome(
                Photographs(data.resolve().name, found.fingerprint, len(found.known.photos)),
                figures={name: value for name, value in document.items() if name != "data"},
                parameters={"model": opened.card.version, "model_name": opened.card.name},
                name=opened.card.version,
                artefacts=written_files(json_file, html),
                remark=found.trained_on.remark,
            )
        )
    if json_file is not None and str(json_file) == "-":
        click.echo(text, nl=False)
        return
    click.echo(
        "\n".join(
            (
                *_shown(document, found.trained_on),
                *(f"  {said}" for said in (*few(found.assessment), *not_shown(found.assessment))),
            )
        )
    )


def _shown(document: Mapping[str, Any], trained_on: TrainedOn) -> Iterator[str]:
    yield f"{document['model']} on {counted(document['data']['photos'], 'photograph')} of {document['data']['path']}"
    intervals = document["intervals"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece", "brier", "nll"):
        low, high = intervals[name]
        yield f"  {name:<20} {document[name]:6.3f}   [{low:.3f}, {high:.3f}]"
    for side, row in document["by_side"].items():
        yield f"  {side:<20} {row['accuracy']:6.3f}   accuracy of {counted(row['photos'], 'photograph')}"
    for label, row in document["per_class"].items():
        yield f"  F1 {label:<32} " + (f"{row['f1']:6.3f}" if row["photos"] else "not measured: no photograph")
    for name, value in document["coverage"].items():
        yield f"  {name:<24} " + ("-" if value is None else f"{value:6.3f}")
    for name, row in document["ood"].items():
        yield (
            f"  {name}: AUROC {row['auroc']:.3f}, {row['rejected']:.0%} of {row['photos']} rejected, "
            f"{row['fpr_at_95_tpr']:.0%} accepted where 95% of the known are"
        )
    if trained_on.said:
        yield f"  {trained_on.said}: every figure above is too good."
    for name, count in document["data"]["placed_borders"].items():
        if count:
            yield (
                f"  {count} of {counted(document['ood'][name]['photos'], 'photograph')} of {name} placed the model's "
                f"borders: what it rejects is too good"
            )
    for item in document["unreadable"]:
        yield f"  left out: {item['file']} {item['why']}"

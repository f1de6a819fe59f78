"""Photographs asked about from a command line: what is printed, what is kept, and what goes on after a break."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from amulet_client.answers import Prediction, Wishes
from amulet_client.bulk import predict_many
from amulet_client.reading import describe, summarise, summary
from amulet_client.results import ResultsFile, document_of, line_of, worded
from amulet_client.synchronous import Client
from amulet_client.work import Outcome, name_of

_CLEARED: Final = "\r\x1b[K"  # the line on which a terminal's cursor stands: the bar is drawn anew on the next


@dataclass(frozen=True, slots=True)
class Manner:
    """How outcomes are told."""

    language: str
    as_json: bool  # JSON lines on standard output, and not text for people
    out: Path | None  # JSON lines in this file, which an earlier run may have begun; nothing on standard output then
    shrink: bool  # send no more pixels than the version can use


def ask(
    client: Client,
    objects: Sequence[tuple[Path, ...]],
    manner: Manner,
    wishes: Wishes,
    *,
    further: Callable[[Outcome], dict[str, Any]] = lambda _: {},
) -> int:
    """Ask about each object and tell what came; how many were refused. Those are named on standard error.

    further: fields that take the place of an answer's in its JSON line. Paths of `heat_maps` are told to people, too,
    and where several objects have some, a summary follows: a line for each.
    Raises Refused or Unreachable as `predict_many`; ValueError or OSError for a file of results that is none, and
    ValueError where photographs cannot be shrunk because no model is there, or Pillow is not.
    """
    refused = 0
    summed_up: list[str] = []
    disclaimer = ""
    with ResultsFile(manner.out) if manner.out is not None else nullcontext() as results:
        left = [each for each in objects if results is None or name_of(each) not in results.answered]
        if len(left) < len(objects):
            click.echo(f"{len(objects) - len(left)} of {len(objects)} were answered before", err=True)
        with (
            _goes_on(manner.out),
            _progress(len(left), shown=results is not None or not sys.stdout.isatty()) as (advance, say),
        ):
            for outcome in _outcomes(client, left, manner, wishes):
                more = further(outcome) if isinstance(outcome.result, Prediction) else {}
                if results is not None:
                    results.write(document_of(outcome, **more))
                if not isinstance(outcome.result, Prediction):
                    refused += 1
                    say(f"{_shown(outcome.name)}: {worded(outcome.result)}")
                elif results is None and manner.as_json:
                    click.echo(line_of(document_of(outcome, **more)))
                elif results is None:
                    name, answer = _shown(outcome.name), outcome.result
                    maps = [_shown(path) for path in more.get("heat_maps", ())]
                    click.echo(f"{name}: {describe(answer, manner.language, heat_maps=maps)}\n")
                    if maps:
                        summed_up.append(f"{name}: {summarise(answer, manner.language)} → {', '.join(maps)}")
                        disclaimer = answer.disclaimer
                advance()
    if len(summed_up) > 1:
        click.echo(summary(summed_up, manner.language, disclaimer=disclaimer))
    return refused


def _shown(name: str) -> str:
    r"""As one line of text, which standard output takes; what a terminal would obey is spelt out, as in \x1b."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) == "Cc" else character
        for character in click.format_filename(name)
    )


def _outcomes(client: Client, objects: Sequence[tuple[Path, ...]], manner: Manner, wishes: Wishes) -> Iterator[Outcome]:
    if not objects:
        return
    prepare = None
    if manner.shrink:
        try:
            from amulet_client.photos import shrink_for
        except ModuleNotFoundError as error:
            raise ValueError(f"--shrink needs {error.name}: pip install 'amulet-client[photos]'") from None

        card = client.get_model(wishes.get("model") or _first_model(client), wishes.get("version", "")).card
        if card is not None:
            known = card

            def prepare(photo: bytes) -> bytes:
                try:
                    return shrink_for(photo, known)
                except OSError:
                    return photo  # the gateway says what is wrong with it

    given = wishes.get("request_id", "")
    for outcome in predict_many(client, objects, prepare=prepare, **wishes):
        result = outcome.result
        # The number under which it travelled is nobody's but ours.
        yield replace(outcome, result=replace(result, request_id=given)) if isinstance(result, Prediction) else outcome


def _first_model(client: Client) -> str:
    models = client.list_models()
    if not models:
        raise ValueError("there is no model that this key may use, so none to shrink photographs for: ask the operator")
    return models[0].name


@contextmanager
def _goes_on(out: Path | None) -> Iterator[None]:
    """Whoever interrupts a long run hears that nothing of it is lost."""
    try:
        yield
    except KeyboardInterrupt:
        if out is not None:
            click.echo(f"\n{out} holds what was answered: the same command goes on with the others", err=True)
        raise


@contextmanager
def _progress(length: int, *, shown: bool) -> Iterator[tuple[Callable[[], None], Callable[[str], None]]]:
    """What moves the bar on by one, and what says a line on standard error in its place."""
    hidden = not shown or length < 2 or not sys.stderr.isatty()

    def say(line: str) -> None:
        click.echo(line if hidden else f"{_CLEARED}{line}", err=True)

    with click.progressbar(length=length, label="Asking", hidden=hidden, file=sys.stderr, show_pos=True) as bar:
        yield lambda: bar.update(1), say

"""Logs for machines and metrics for Prometheus.

One line and one count per call. Neither ever holds a key, a photograph, a token or a
subject: what a caller sends as free text (its own request id included) is not logged at
all; a call is known by the request id that we gave it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words

_SECONDS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TALKATIVE: Final = ("httpx", "httpcore", "asyncio", "grpc", "hpack")  # their INFO is our DEBUG


def configure_logging(*, form: Literal["json", "text"], level: str) -> None:
    """Send structlog and the standard library's logging to standard output, one form for both."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        # Not the pretty traceback: it prints local variables, and those are keys and photographs.
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    trace = [structlog.processors.format_exc_info] if form == "json" else []
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *trace, renderer],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # Our own lines do not pass through the standard library: its records cost every call as much again as the line.
    structlog.configure(
        processors=[*shared, *trace, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=lambda name="": _Lines(name, handler),
        cache_logger_on_first_use=False,
    )


class _Lines:
    """Writes finished lines where the standard library's handler writes its own, one at a time."""

    def __init__(self, name: str, handler: logging.StreamHandler[TextIO]) -> None:
        self.name, self._handler = name, handler

    def msg(self, line: str) -> None:
        """A log that takes no more (a full disk, a reader that is gone) costs its lines and no answer, as there."""
        self._handler.acquire()
        try:
            with suppress(OSError):
                self._handler.stream.write(line + "\n")
                self._handler.flush()
        finally:
            self._handler.release()

    debug = info = warning = error = critical = msg


class Metrics:
    """What is counted as it happens. States are read when Prometheus asks: see `States`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "amulet_calls",
            "Calls, and requests of streams, by outcome.",
            ["method", "code", "reason"],
            registry=self.registry,
        )
        # Without a method, so that one expression can add it to the calls: no two of them have the same labels.
        self.streams_ended = Counter(
            "amulet_streams_ended",
            "Streams by how they ended; their requests are calls.",
            ["code", "reason"],
            registry=self.registry,
        )
        self.call_seconds = Histogram(
            "amulet_call_seconds",
            "Time from the first byte to the answer, of calls and requests of streams.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.predictions = Counter(
            "amulet_predictions", "Answers by what they claim.", ["model", "version", "verdict"], registry=self.registry
        )
        self.stage_seconds = Histogram(
            "amulet_stage_seconds",
            "Time in one stage of a prediction: decode, inference, journal.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def answered(self, response: pb.PredictResponse) -> None:
        """Count an answer; one that was given before counts once."""
        if response.replayed:
            return
        self.predictions.labels(response.model, response.version, words.Verdict.Name(response.verdict)).inc()
        for stage in ("decode", "inference", "journal"):
            took_s = getattr(response.timings, stage).ToNanoseconds() / 1e9
            self.stage_seconds.labels(stage).observe(took_s)


def facts_of(response: pb.PredictResponse) -> dict[str, str | float | int]:
    """What the log line of a call says of its answer."""
    facts: dict[str, str | float | int] = {
        "prediction_id": response.prediction_id,
        "model": response.model,
        "version": response.version,
        "verdict": words.Verdict.Name(response.verdict),
        "views": len(response.views),
    }
    if response.replayed:
        facts["replayed"] = True
    return facts


@dataclass(frozen=True, slots=True)
class State:
    """One figure that is read when it is asked for."""

    name: str
    meaning: str
    read: Callable[[], float | Iterable[tuple[tuple[str, ...], float]]]
    labels: tuple[str, ...] = ()
    total: bool = False  # only ever grows


class States(Collector):
    """Reads each state at the moment of the scrape, on the event loop."""

    def __init__(self, states: Iterable[State]) -> None:
        self._states = tuple(states)

    def collect(self) -> Iterator[Metric]:
        for state in self._states:
            family = (CounterMetricFamily if state.total else GaugeMetricFamily)(
                state.name, state.meaning, labels=state.labels
            )
            value = state.read()
            if isinstance(value, (int, float)):
                family.add_metric([], value)
            else:
                for labels, one in value:
                    family.add_metric(list(labels), one)
            yield family

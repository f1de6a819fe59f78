"""What a gateway tells Prometheus of how things stand now, asked for when somebody looks."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.admission.arrivals import Arrivals
from gateway.admission.fullness import Fullness
from gateway.admission.shedding import Shedder
from gateway.admission.streams import Streams
from gateway.door import Strangers
from gateway.intake.decoders import Decoders
from gateway.journal.journal import Journal
from gateway.journal.shipper import Shipper
from gateway.policy import PolicyKeeper
from gateway.routing.router import WhyNotReady
from gateway.routing.shadow import Shadows
from gateway.snapshot import versions_of
from gateway.telemetry import State


def states(
    policy: PolicyKeeper,
    journal: Journal,
    shipper: Shipper,
    decoders: Decoders,
    shedder: Shedder,
    arrivals: Arrivals,
    streams: Streams,
    strangers: Strangers,
    fullness: Fullness,
    shadows: Shadows,
    why_not_ready: WhyNotReady,
) -> tuple[State, ...]:
    """In the order of the page."""

    def ready() -> Iterable[tuple[tuple[str, ...], float]]:
        for version in versions_of(policy.current) if policy.known else ():
            yield (version.model, version.version), float(why_not_ready(version) is None)

    return (
        State("amulet_model_ready", "1: a golden photograph was just answered rightly.", ready, ("model", "version")),
        State("amulet_calls_in_flight", "Predictions inside now, waiting ones included.", lambda: shedder.in_flight),
        State("amulet_calls_waiting", "Predictions that wait for their client's turn.", lambda: shedder.waiting),
        State("amulet_calls_comfortable", "Predictions at once that none waits long for.", lambda: shedder.comfortable),
        State("amulet_streams_open", "Streams of clients, open now.", lambda: streams.open),
        State("amulet_streams_open_without_key", "Watches and reflection, open now.", lambda: strangers.streams.open),
        State("amulet_calls_awaited", "Calls whose message is not here yet.", lambda: arrivals.awaited),
        State(
            "amulet_calls_awaited_without_key",
            "Health checks and the like whose message is not here yet.",
            lambda: strangers.arrivals.awaited,
        ),
        State(
            "amulet_messages_ended",
            "Calls and streams ended because messages took more memory than they may.",
            lambda: fullness.ended,
            total=True,
        ),
        State("amulet_decoders_busy", "Decoder processes at work now.", lambda: decoders.busy),
        State(
            "amulet_decoder_restarts",
            "Decoders replaced after a crash or a hang.",
            lambda: decoders.restarts,
            total=True,
        ),
        State(
            "amulet_policy_revision",
            "Policy in force; 0: none.",
            lambda: policy.current.revision if policy.known else 0,
        ),
        State("amulet_policy_age_seconds", "Since the console last confirmed the policy.", lambda: policy.age_s),
        State("amulet_journal_admitting", "1: answers can be made durable.", lambda: float(journal.health().admitting)),
        State("amulet_journal_free_bytes", "Free on the journal's disk.", lambda: journal.health().free_bytes),
        State(
            "amulet_journal_failures", "Writes and syncs that failed.", lambda: journal.health().failures, total=True
        ),
        State(
            "amulet_backlog_events",
            "Durable, not yet confirmed by the console.",
            lambda: shipper.state().backlog_records,
        ),
        State("amulet_backlog_bytes", "Size of the files that hold them.", lambda: shipper.state().backlog_bytes),
        State("amulet_backlog_seconds", "Age of the oldest of them.", lambda: shipper.state().backlog_s),
        State("amulet_events_delivered", "Confirmed by the console.", lambda: shipper.state().delivered, total=True),
        State("amulet_events_rejected", "Refused by the console and kept aside.", lambda: shipper.state().rejected),
        State(
            "amulet_shadows_answered",
            "Shadow answers that followed their prediction.",
            lambda: shadows.answered,
            total=True,
        ),
        State(
            "amulet_shadows_dropped",
            "Shadow looks that gave way to answers, or that failed.",
            lambda: shadows.dropped,
            total=True,
        ),
    )

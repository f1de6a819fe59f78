"""Assembles a gateway once, starts it, and takes it down in one order.

Up: journal, decoders, the cached policy, the tasks that listen to console and backend,
then the ports. Down: report not serving, stop accepting, finish the calls in flight and
what they began, stop listening to others, close the decoders, drain and close the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships without stubs
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]  # ships without stubs

from gateway.admission.arrivals import Arrivals
from gateway.admission.fullness import Fullness
from gateway.admission.limits import MemoryWindow, RateLimiter, Window
from gateway.admission.shedding import Shedder
from gateway.admission.spacing import Spacing
from gateway.admission.streams import Streams
from gateway.ask import VIEWS_MAX
from gateway.background import Background
from gateway.certificates import Certificates
from gateway.door import METADATA_BYTES_MAX, Admission, Door, Strangers
from gateway.failures import Failures
from gateway.health import SERVICE, Health
from gateway.intake.decoders import Decoders, DecoderSettings
from gateway.intake.formats import PhotoLimits
from gateway.intake.photo import Intake
from gateway.journal.journal import Journal
from gateway.journal.recent import recent_records
from gateway.journal.shipper import Shipper, ShipperSettings
from gateway.journal.writer import JournalSettings
from gateway.memory import give_back
from gateway.open_inference import SERVICE as OPEN_INFERENCE
from gateway.open_inference import OpenInference
from gateway.ops import OpsServer, Page, pages
from gateway.policy import PolicyKeeper, PolicySettings
from gateway.prediction import Predictor
from gateway.replays import Replays, remembered
from gateway.routing.shadow import Shadows
from gateway.service import PredictionService
from gateway.serving.batches import Batches
from gateway.serving.board import Board, BoardImpossible
from gateway.serving.readiness import Readiness
from gateway.serving.tokens import Tokens
from gateway.serving.torchserve import Backend, TorchServe
from gateway.settings import Settings, SettingsWrong
from gateway.snapshot import ServedVersion, versions_of
from gateway.states import states
from gateway.telemetry import Metrics, States
from gateway.tracing import Traces
from protos.addresses import host_and_port
from protos.amulet.v1 import prediction_pb2_grpc
from protos.cores import cores
from protos.inference import open_inference_pb2_grpc

if TYPE_CHECKING:
    from gateway.namesakes import Namesakes

_log = structlog.get_logger(__name__)
_MIB: Final = 2**20
_RESTART_PAUSE_S: Final = 1.0
# Read for answers to idempotency keys before the port opens, as recovery reads the last segment: seconds at most.
_RECALLED_BYTES_MAX: Final = 16 * _MIB
# Watches and reflection, open at once: whoever opens them needs no key. Of about 33 KiB each; a channel that asks
# for health has one for as long as it lives.
STRANGERS_STREAMS_MAX: Final = 256
# Health checks and the like whose message is not here yet.
STRANGERS_AWAITED_MAX: Final = 64
# Health checks send theirs with the call. gRPC holds what came of one until it is whole, as large as a photograph's.
STRANGERS_ARRIVE_S_MAX: Final = 5.0


def streams_max(calls_in_flight_max: int) -> int:
    """With a key, open at once: one has up to eight calls inside, so that far fewer fill the house."""
    return calls_in_flight_max + 64


def awaited_max(calls_in_flight_max: int) -> int:
    """Calls with a key whose message is not here yet: in a burst most are refused only when it is."""
    return 4 * calls_in_flight_max


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a gateway answers, once it does."""

    grpc_port: int
    ops_port: int


@dataclass(frozen=True, slots=True)
class Serving:
    """A backend, and whether it can be trusted now."""

    backend: Backend
    watch: Callable[[Iterable[ServedVersion]], None]  # exactly these from now on
    why_not: Callable[[str, str], str]  # (backend name, version) -> a sentence; empty: ready
    run: tuple[Callable[[], Coroutine[Any, Any, None]], ...]  # what has to run beside it, until cancelled


async def torchserve(settings: Settings, down: AsyncExitStack) -> Serving:
    tokens = Tokens(settings.torchserve_key_file, settings.torchserve_management_url)
    down.push_async_callback(tokens.close)
    board = _board(settings.pixels_dir, down)
    direct = await down.enter_async_context(TorchServe(settings.torchserve_grpc, tokens, board))
    readiness = Readiness(direct)
    batches = await down.enter_async_context(Batches(direct))
    return Serving(batches, readiness.watch, readiness.why_not, (tokens.run, readiness.run))


def _board(folder: Path | None, down: AsyncExitStack) -> Board | None:
    """For pixels that need not be sent; without one they are."""
    if folder is None:
        return None
    try:
        return down.enter_context(Board(folder))
    except BoardImpossible as error:
        _log.warning("pixels_are_sent", why=str(error))
        return None


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event,
    on_listening: Callable[[Listening], None],
    connect: Callable[[Settings, AsyncExitStack], Awaitable[Serving]] = torchserve,
) -> None:
    """Serve until `stop` is set. Raises SettingsWrong, JournalLocked or OSError when it cannot start."""
    async with AsyncExitStack() as down:
        journal = await _open_journal(settings)
        down.push_async_callback(journal.close)
        limits = PhotoLimits()
        decoders = await down.enter_async_context(Decoders(DecoderSettings(workers=settings.decoder_workers)))
        serving = await connect(settings, down)
        window, replays, namesakes = _shared(settings, down)
        background = await down.enter_async_context(Background())

        def why_not_ready(version: ServedVersion) -> str | None:
            return serving.why_not(version.backend_name, version.version) or None

        policy = PolicyKeeper(
            PolicySettings(
                console_url=settings.console_url,
                gateway_id=settings.gateway_id,
                control_token=settings.secret("control_token").decode("ascii"),
                cache_file=settings.state_dir / "gateway" / "policy.pb",
            ),
            on_change=lambda snapshot: serving.watch(versions_of(snapshot)),
            why_not_ready=why_not_ready,
        )

        shipper = Shipper(
            journal, ShipperSettings(settings.console_url, token=settings.secret("control_token").decode("ascii"))
        )
        health = Health(policy, journal, why_not_ready, lambda: namesakes.trouble if namesakes else None)
        usable = cores()
        shedder = Shedder(settings.calls_in_flight_max, cores=usable)
        feedback = Shedder(settings.calls_in_flight_max, cores=usable)
        streams = Streams(streams_max(settings.calls_in_flight_max), last_s_max=settings.request_s_max)
        arrivals = Arrivals(awaited_max(settings.calls_in_flight_max), arrive_s_max=settings.request_s_max)
        strangers = Strangers(
            Arrivals(STRANGERS_AWAITED_MAX, arrive_s_max=min(STRANGERS_ARRIVE_S_MAX, settings.request_s_max)),
            Streams(STRANGERS_STREAMS_MAX, last_s_max=1.0),
        )
        fullness = Fullness(settings.messages_mib_max * _MIB, (arrivals, streams), (strangers.arrivals,))
        shadows = Shadows(background, cores=usable)
        await asyncio.to_thread(_recall, replays, journal)
        await replays.settle()
        failures = Failures(journal, gateway_id=settings.gateway_id)
        metrics = Metrics()
        traces = Traces(settings.otlp_endpoint, ratio=settings.traces_ratio, gateway_id=settings.gateway_id)
        down.push_async_callback(traces.close)
        metrics.registry.register(
            States(
                states(
                    policy,
                    journal,
                    shipper,
                    decoders,
                    shedder,
                    arrivals,
                    streams,
                    strangers,
                    fullness,
                    shadows,
                    why_not_ready,
                )
            )
        )
        predictor = Predictor(
            gateway_id=settings.gateway_id,
            policy=policy,
            intake=Intake(decoders, limits, hash_secret=settings.secret("input_hash_secret")),
            decoders=decoders,
            backend=serving.backend,
            why_not_ready=why_not_ready,
            journal=journal,
            background=background,
            replays=replays,
            shadows=shadows,
            failures=failures,
        )
        admission = Admission(
            policy,
            RateLimiter(window),
            shedder,
            feedback,
            arrivals,
            Spacing(),
            key_secret=settings.secret("key_secret"),
        )
        service = PredictionService(
            gateway_id=settings.gateway_id,
            request_s_max=settings.request_s_max,
            admission=admission,
            streams=streams,
            predictor=predictor,
            background=background,
            replays=replays,
            why_not_ready=why_not_ready,
            door=Door(admission, metrics, traces, strangers, fullness),
            metrics=metrics,
        )
        open_inference = OpenInference(
            request_s_max=settings.request_s_max,
            admission=admission,
            predictor=predictor,
            replays=replays,
            health=health,
            why_not_ready=why_not_ready,
            metrics=metrics,
        )
        await policy.load_cached()
        server, grpc_port = await _start_grpc(settings, service, open_inference, health, limits)
        down.push_async_callback(server.stop, 0)
        ops = _ops_server(settings.gateway_ops_listen, pages(health, metrics.registry))
        ops.start()
        down.push_async_callback(asyncio.to_thread, ops.stop)
        async with asyncio.TaskGroup() as tasks:
            listening_to_others = [
                tasks.create_task(_kept_alive(work))
                for work in (
                    policy.run,
                    shipper.run,
                    health.run,
                    failures.run,
                    replays.run,
                    fullness.run,
                    give_back,
                    *serving.run,
                )
            ]
            if namesakes is not None:
                listening_to_others.append(tasks.create_task(_kept_alive(namesakes.run)))
            on_listening(Listening(grpc_port, ops.port))
            try:
                await stop.wait()
            finally:
                health.stop()
                service.stop()
                await service.door.until_nobody_comes()
                await streams.until_heard(s_max=settings.request_s_max)
                await server.stop(grace=settings.request_s_max)
                for task in listening_to_others:
                    task.cancel()


async def _open_journal(settings: Settings) -> Journal:
    """Raises JournalError, and SettingsWrong when its folder is none."""
    try:
        return await Journal.open(
            JournalSettings(
                settings.journal_dir,
                free_bytes_min=settings.journal_free_mib_min * _MIB,
                segment_age_s_max=settings.journal_age_s_max,
            )
        )
    except OSError as error:
        # A file where the folder should be is "File exists" to the system.
        none = isinstance(error, FileExistsError | NotADirectoryError)
        raise SettingsWrong(
            f"AMULET_JOURNAL_DIR names {settings.journal_dir}, which cannot be used "
            f"({'it is no folder' if none else error.strerror}): name a folder that this gateway may write to"
        ) from None


def _recall(replays: Replays, journal: Journal) -> None:
    """What a journal cannot give back is done again when it is asked for again: no reason not to start."""
    try:
        records = recent_records(journal.segments(), bytes_max=_RECALLED_BYTES_MAX)
        replays.recall(remembered(records, now_s=time.time()))
    except OSError as error:
        _log.warning("answers_not_recalled", why=error.strerror or type(error).__name__)


def _shared(settings: Settings, down: AsyncExitStack) -> tuple[Window, Replays, Namesakes | None]:
    """How calls are counted and keys are known: by this gateway alone, or by all that share a Redis."""
    if settings.cache_url.startswith("memory"):
        return MemoryWindow(), Replays(), None
    from gateway.admission.shared_limits import RedisWindow
    from gateway.namesakes import Namesakes
    from gateway.shared_answers import SharedAnswers
    from gateway.shared_redis import SharedRedis

    redis = SharedRedis(settings.cache_url)
    down.push_async_callback(redis.close)
    answers = SharedAnswers(redis, gateway_id=settings.gateway_id, secret=settings.secret("key_secret"))
    return RedisWindow(redis), Replays(shared=answers), Namesakes(redis, gateway_id=settings.gateway_id)


async def _kept_alive(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run for ever. A fault of ours in what listens to others must not end what answers callers."""
    while True:
        try:
            await work()
        except Exception:
            _log.exception("task_failed", task=getattr(work, "__qualname__", repr(work)))
        await asyncio.sleep(_RESTART_PAUSE_S)


async def _start_grpc(
    settings: Settings,
    service: PredictionService,
    open_inference: OpenInference,
    health: Health,
    limits: PhotoLimits,
) -> tuple[aio.Server, int]:
    """Raises OSError when the address is taken, SettingsWrong when certificate and key do not serve."""
    server = aio.server(
        interceptors=[service.door],
        options=_options(limits, connections_max=settings.connections_max),
        # Never reached, for whoever is refused here is told neither why nor when to come again: streams at
        # twice their bound, where all were told to end and none has yet; calls on their way; calls inside,
        # those included that wait beyond the bound; what strangers have; and some that just end.
        maximum_concurrent_rpcs=2 * streams_max(settings.calls_in_flight_max)
        + awaited_max(settings.calls_in_flight_max)
        + 2 * settings.calls_in_flight_max
        + 2 * STRANGERS_STREAMS_MAX
        + STRANGERS_AWAITED_MAX
        + 128,
    )
    prediction_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)  # type: ignore[arg-type]  # the stubs know streams only as generators
    open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(open_inference, server)  # type: ignore[arg-type]  # the same
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    if settings.reflection:
        names = (
            SERVICE,
            OPEN_INFERENCE,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        )
        reflection.enable_server_reflection(names, server)
    credentials = None
    if settings.tls_cert is not None and settings.tls_key is not None and not settings.insecure:
        credentials = Certificates(settings.tls_cert, settings.tls_key).credentials()
    try:
        if credentials is not None:
            port = server.add_secure_port(settings.gateway_listen, credentials)
        else:
            port = server.add_insecure_port(settings.gateway_listen)
    except RuntimeError:  # its text says no more than that
        why = "it is taken, or not this machine's"
        raise _cannot_listen("AMULET_GATEWAY_LISTEN", settings.gateway_listen, why) from None
    await server.start()
    return server, port


def _ops_server(listen: str, answers: dict[str, Callable[[], Page]]) -> OpsServer:
    """Raises OSError when the address is taken or none of this machine's."""
    try:
        return OpsServer(*host_and_port(listen), answers)
    except OSError as error:
        raise _cannot_listen("AMULET_GATEWAY_OPS_LISTEN", listen, error.strerror or str(error)) from None


def _cannot_listen(variable: str, listen: str, why: str) -> OSError:
    return OSError(
        f"{variable} is {listen}, which cannot be listened on ({why}): name a free HOST:PORT of this machine"
    )


def _options(limits: PhotoLimits, *, connections_max: int) -> tuple[tuple[str, int], ...]:
    minute_ms = 60_000
    return (
        ("grpc.max_receive_message_length", VIEWS_MAX * limits.photo_bytes_max + _MIB),
        ("grpc.max_send_message_length", 64 * _MIB),
        ("grpc.per_message_decompression", 0),  # `messages` unpacks, within its bounds
        # Of whoever has acknowledged our settings; before, gRPC takes 16 MiB in a block whatever it is told. So nobody
        # is borne for long without, and all connections are limited (decision 0219).
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.http2.settings_timeout", 10_000),
        ("grpc.max_allowed_incoming_connections", connections_max),
        ("grpc.max_concurrent_streams", 256),  # of one connection
        # What gRPC takes of a stream before anybody reads it, refused ones and strangers' included: it would make that
        # 4 MiB and more of each, as soon as a line is quick. A photograph made smaller for its model comes in one go;
        # while a message is read, a MiB more is let come (decision 0253).
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 256 * 1024),
        ("grpc.so_reuseport", 0),  # one process owns the port: a second one must not steal half the calls
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.keepalive_time_ms", minute_ms),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 3),
        ("grpc.max_connection_idle_ms", 30 * minute_ms),
        # Connections are renewed so that load spreads over gateways that came later.
        ("grpc.max_connection_age_ms", 30 * minute_ms),
        ("grpc.max_connection_age_grace_ms", 30 * minute_ms),
    )

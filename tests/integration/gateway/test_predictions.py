"""A gateway process before a real TorchServe."""

from __future__ import annotations

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships without stubs

from protos.amulet.events.v1 import events_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.integration.gateway.conftest import environment
from tests.integration.gateway.process import GatewayProcess, until
from tests.integration.torchserve.conftest import ARCHIVE
from tests.integration.torchserve.server import RunningTorchServe
from tests.machine import Watch, run_delay_s
from tests.tiny_archive import CLASSES, NAME, VERSION
from tests.unit.gateway.cast import Console, photo, refused

pytestmark = pytest.mark.torchserve
MIB = 2**20
CALLS = 45  # twice as many are within the client's limit


def test_a_photograph_goes_through_torchserve_and_its_event_to_the_console(
    gateway: GatewayProcess, console: Console
) -> None:
    response = gateway.predict(photo("green"))

    assert (response.model, response.version, response.candidates[0].class_id) == (NAME, VERSION, "green")
    assert response.verdict == words.VERDICT_IN_DOMAIN
    until(lambda: bool(console.events()), s_max=30, what="the event reaches the console")
    assert console.events()[0].prediction.prediction_id == response.prediction_id
    (view,) = console.events()[0].prediction.views
    assert np.isfinite(np.frombuffer(view.embedding_projection, "<f2")).tolist() == [True] * 4  # from the real handler


def test_a_gateway_and_its_decoders_are_small(gateway: GatewayProcess) -> None:
    for colour in ("red", "green", "blue"):
        gateway.predict(photo(colour, side_px=1024))

    process = psutil.Process(gateway.process.pid)
    assert process.memory_info().rss < 150 * MIB
    decoders = process.children()
    assert decoders
    assert all(decoder.memory_info().rss < 80 * MIB for decoder in decoders)


def test_a_terminated_gateway_stops_cleanly(gateway: GatewayProcess) -> None:
    gateway.predict(photo())

    assert gateway.stop() == 0
    assert gateway.lines()[-1]["event"] == "stopped"


def test_a_key_is_answered_from_the_journal_by_the_gateway_after_a_killed_one(
    tmp_path: Path, server: RunningTorchServe, console: Console
) -> None:
    variables = environment(tmp_path, server, console)
    overlay = pb.Explain(method=pb.Explain.METHOD_GRAD_CAM, overlay=True)
    with GatewayProcess(variables, tmp_path / "first.log") as running:
        until(lambda: running.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")
        before = running.predict(photo(), idempotency_key="once", explain=overlay)
        running.kill()
    journal = b"".join(path.read_bytes() for path in tmp_path.rglob("*.journal"))
    assert before.prediction_id.encode() in journal
    assert b"\x89PNG" not in journal
    with GatewayProcess(variables, tmp_path / "second.log") as running:
        until(lambda: running.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")
        after = running.predict(photo(), idempotency_key="once", explain=overlay)
        other = running.predict(photo("blue"), idempotency_key="twice")
        with pytest.raises(grpc.RpcError) as error:
            running.predict(photo("green"), idempotency_key="once")
        ids = (before.prediction_id, other.prediction_id)
        until(lambda: {made_in(event) for event in console.events()} >= set(ids), s_max=30, what="events arrive")

    assert (before.replayed, after.replayed, other.replayed) == (False, True, False)
    assert before.heat_maps[0].overlay_png
    assert not after.heat_maps[0].overlay_png  # it shows the photograph, which may not be kept
    for answer in (before, after):
        answer.heat_maps[0].ClearField("overlay_png")
        for told_anew in ("replayed", "timings", "answered_at"):
            answer.ClearField(told_anew)  # type: ignore[arg-type]  # names of fields
    assert before == after
    found = refused(error.value)  # type: ignore[arg-type]  # a call and an error in one
    assert found.reason == words.REASON_IDEMPOTENCY_CONFLICT
    # In order, so what came before the last is there: the repeated call left nothing, and no answer travelled.
    assert len({event.event_id for event in console.events() if made_in(event) in ids}) == 2
    assert not any(event.HasField("replay") for event in console.events())


def test_pixels_pass_through_memory_and_a_killed_gateway_leaves_none_behind(
    tmp_path: Path, model_store: Path, console: Console
) -> None:
    folder = tmp_path / "pixels"
    with RunningTorchServe.start(tmp_path / "torchserve", model_store, pixels=folder) as server:
        server.register(ARCHIVE)
        variables = {**environment(tmp_path, server, console), "AMULET_PIXELS_DIR": str(folder)}
        boards = []
        for log in ("first.log", "second.log"):
            with GatewayProcess(variables, tmp_path / log) as running:
                until(lambda: running.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")
                answers = [running.predict(photo(colour)) for colour in CLASSES]
                assert [answer.candidates[0].class_id for answer in answers] == list(CLASSES)
                assert [line["event"] for line in running.lines()].count("pixels_are_shared") == 1
                [board] = folder.iterdir()
                until(lambda: not board.read_bytes().strip(b"\0"), s_max=30, what="what was answered is wiped")  # noqa: B023
                boards.append(board.name)
                if log == "first.log":
                    running.kill()
                else:
                    assert running.stop() == 0

    assert boards[0] != boards[1]
    assert not folder.exists()


def made_in(event: events_pb2.Event) -> str:
    return event.prediction.prediction_id


def health_of(gateway: GatewayProcess, service: str) -> int:
    with grpc.insecure_channel(gateway.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        status: int = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30).status
        return status


def test_a_worker_that_hangs_is_told_within_five_seconds_and_found_again(
    gateway: GatewayProcess, server: RunningTorchServe
) -> None:
    service = f"model:{NAME}/{VERSION}"
    assert health_of(gateway, service) == health_pb2.HealthCheckResponse.SERVING
    worker = server.worker()
    own = psutil.Process(gateway.process.pid)
    machine, waited_s = Watch([psutil.Process()]), run_delay_s(own)
    worker.suspend()
    try:
        took_s = until(
            lambda: health_of(gateway, service) == health_pb2.HealthCheckResponse.NOT_SERVING,
            s_max=30,
            what="the model is not serving",
        )
        assert took_s - min(machine.taken_s(), run_delay_s(own) - waited_s) < 5  # less what others took: decision 0095
        server.process.send_signal(signal.SIGSTOP)  # or it might have replaced the worker before we have asked
        assert gateway.readiness()["problems"].keys() == {f"model:{NAME}"}
        with pytest.raises(grpc.RpcError) as error:
            gateway.predict(photo())
        found = refused(error.value)  # type: ignore[arg-type]  # a call and an error in one
        assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_MODEL_NOT_READY)
    finally:
        worker.resume()
        server.process.send_signal(signal.SIGCONT)

    until(lambda: gateway.page("/readyz")[0] == 200, s_max=60, what="the model is ready again")
    assert gateway.predict(photo()).model == NAME


def test_a_worker_killed_under_load_leaves_each_call_answered_once_or_refused_in_words(
    gateway: GatewayProcess, server: RunningTorchServe, console: Console
) -> None:
    def call(number: int) -> str | words.Reason.ValueType:
        """The prediction's id, or why there is none."""
        try:
            return gateway.predict(photo(seed=number), idempotency_key=f"call-{number}", deadline_s=10.0).prediction_id
        except grpc.RpcError as error:
            found = refused(error)  # type: ignore[arg-type]  # a call and an error in one
            # The caller's own clock may be the first to say so: then there is no reason with it.
            return words.REASON_DEADLINE_EXCEEDED if found.code == grpc.StatusCode.DEADLINE_EXCEEDED else found.reason

    service, worker = f"model:{NAME}/{VERSION}", server.worker()
    with ThreadPoolExecutor(12) as callers:
        calls = [callers.submit(call, number) for number in range(CALLS)]
        until(lambda: sum(each.done() for each in calls) >= CALLS // 4, s_max=30, what="calls are answered")
        worker.kill()
        outcomes = [each.result(timeout=60) for each in calls]  # none hangs: each has a deadline of ten seconds
    until(lambda: gateway.page("/readyz")[0] == 200, s_max=60, what="the model is ready again")

    assert health_of(gateway, service) == health_pb2.HealthCheckResponse.SERVING
    assert server.worker().pid != worker.pid  # what is called serving is the new one
    unanswered = {outcome for outcome in outcomes if not isinstance(outcome, str)}
    assert unanswered <= {
        words.REASON_BACKEND_UNAVAILABLE,
        words.REASON_MODEL_NOT_READY,
        words.REASON_OVERLOADED,
        words.REASON_DEADLINE_EXCEEDED,
    }
    again = [call(number) for number in range(CALLS)]
    assert all(isinstance(outcome, str) for outcome in again)
    assert all(first == second for first, second in zip(outcomes, again, strict=True) if isinstance(first, str))
    until(lambda: {made_in(event) for event in console.events()} >= set(again), s_max=30, what="events arrive")
    made = Counter(made_in(event) for event in {event.event_id: event for event in console.events()}.values())
    made.pop("", None)  # events of calls that failed
    assert made == Counter(again)  # one record for each call, and none beside

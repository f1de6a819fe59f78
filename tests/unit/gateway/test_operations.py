"""What operators see: health, readiness, metrics, logs, start and stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import grpc
import psutil
import pytest
import structlog
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships without stubs

from gateway import server
from gateway.journal.errors import JournalLocked
from gateway.server import run
from gateway.telemetry import configure_logging
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.tiny_archive import NAME, VERSION
from tests.unit.gateway.cast import (
    SOMCHAI,
    Console,
    Gateway,
    Graph,
    photo,
    policy,
    refusal_of,
    running_gateway,
    settings_for,
    stream_refusal_of,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVING, NOT_SERVING, UNKNOWN = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
)
SERVICE = "amulet.v1.PredictionService"


async def health_of(gateway: Gateway, service: str) -> Any:
    stub = health_pb2_grpc.HealthStub(gateway.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def becomes(gateway: Gateway, service: str, wanted: int) -> None:
    """Waits on Watch, as a load balancer does; fails after thirty seconds."""
    stub = health_pb2_grpc.HealthStub(gateway.channel)
    async with asyncio.timeout(30):
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
            if answer.status == wanted:
                return


@pytest.mark.parametrize("service", ["", SERVICE, f"model:{NAME}", f"model:{NAME}/{VERSION}"])
async def test_everything_serves_when_everything_is_right(gateway: Gateway, service: str) -> None:
    await becomes(gateway, service, SERVING)

    assert await health_of(gateway, service) == SERVING


async def test_a_service_that_is_not_there_is_not_found(gateway: Gateway) -> None:
    with pytest.raises(aio.AioRpcError) as error:
        await health_of(gateway, "model:nonesuch")

    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    await becomes(gateway, "model:nonesuch", UNKNOWN)


async def test_a_model_that_cannot_be_trusted_is_told_by_name_and_the_process_still_serves(gateway: Gateway) -> None:
    gateway.graph.not_ready[VERSION] = "a wrong answer"
    for service in (f"model:{NAME}/{VERSION}", f"model:{NAME}", SERVICE):
        await becomes(gateway, service, NOT_SERVING)

    assert await health_of(gateway, "") == SERVING
    status, page = await gateway.page("/readyz")
    assert status == 503
    assert json.loads(page)["problems"] == {f"model:{NAME}": "a wrong answer"}
    gateway.graph.renew()
    await becomes(gateway, SERVICE, SERVING)
    assert (await gateway.page("/readyz"))[0] == 200


async def test_without_a_policy_nothing_serves_and_readiness_says_why(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=None) as gateway:
        for service in ("", SERVICE):
            await becomes(gateway, service, NOT_SERVING)
        await until(lambda: bool(gateway.console.asked_by), what="the console was asked")
        assert gateway.console.asked_by == {"gateway-1"}
        status, page = await gateway.page("/readyz")

        gateway.console.issue(policy())
        await becomes(gateway, SERVICE, SERVING)

    assert status == 503
    assert "policy" in json.loads(page)["problems"]


async def test_a_console_that_is_away_is_a_remark_and_answers_go_on(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        gateway.console.away = True

        async def noticed() -> bool:
            return "policy" in json.loads((await gateway.page("/readyz"))[1])["remarks"]

        await until(noticed, what="the silence is noticed")
        answer = await gateway.predict(photo())
        status, page = await gateway.page("/readyz")
        gateway.console.away = False
        await gateway.event_of(answer)

    assert status == 200
    assert "the last good one is in force" in json.loads(page)["remarks"]["policy"]


async def test_a_disk_without_room_is_told_and_no_answer_leaves(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(), journal_free_mib_min=2**40) as gateway:
        found = await refusal_of(gateway.predict(photo()))
        await becomes(gateway, "", NOT_SERVING)
        status, page = await gateway.page("/readyz")

    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_JOURNAL_UNAVAILABLE)
    assert status == 503
    assert json.loads(page)["problems"]["journal"]


async def test_metrics_count_calls_and_show_states(gateway: Gateway) -> None:
    await gateway.predict(photo())
    await refusal_of(gateway.predict(b""))

    _, page = await gateway.page("/metrics")

    assert 'amulet_calls_total{code="OK",method="Predict",reason=""}' in page
    assert 'amulet_calls_total{code="INVALID_ARGUMENT",method="Predict",reason="REASON_PHOTO_MISSING"}' in page
    assert f'amulet_predictions_total{{model="{NAME}",verdict="VERDICT_IN_DOMAIN",version="{VERSION}"}}' in page
    assert f'amulet_model_ready{{model="{NAME}",version="{VERSION}"}} 1.0' in page
    for name in (
        "amulet_stage_seconds_bucket",
        "amulet_journal_admitting",
        "amulet_backlog_events",
        "amulet_policy_age_seconds",
    ):
        assert name in page


async def test_a_stream_is_no_call_and_each_of_its_requests_is_one(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        requests = [pb.PredictRequest(views=[pb.View(photo=content)]) for content in (photo(), photo(seed=1), b"")]
        stream = gateway.stub.PredictStream(iter(requests), metadata=SOMCHAI.metadata)
        assert len([result async for result in stream]) == 3
        await stream_refusal_of(gateway.stub.PredictStream(iter(requests), metadata=()))

        _, page = await gateway.page("/metrics")

    counted = dict(
        line.rsplit(" ", 1) for line in page.splitlines() if "Stream" in line or "streams_ended_total" in line
    )
    assert counted['amulet_calls_total{code="OK",method="PredictStream",reason=""}'] == "2.0"
    assert counted['amulet_call_seconds_count{method="PredictStream"}'] == "3.0"
    assert counted['amulet_streams_ended_total{code="OK",reason=""}'] == "1.0"
    assert counted['amulet_streams_ended_total{code="UNAUTHENTICATED",reason="REASON_KEY_MISSING"}'] == "1.0"
    assert sum(float(count) for name, count in counted.items() if name.startswith("amulet_calls_total")) == 3


async def test_the_gateway_tells_how_large_its_own_process_is(gateway: Gateway) -> None:
    bytes_now = await gateway.metric("process_resident_memory_bytes")

    assert bytes_now == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


async def test_after_a_restart_without_a_console_the_metrics_say_how_old_the_policy_is(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        kept = gateway.settings.state_dir / "gateway" / "policy.pb"
        await until(kept.exists, what="the policy is kept")
    hour_ago_s = time.time() - 3600
    os.utime(kept, (hour_ago_s, hour_ago_s))

    async with running_gateway(tmp_path, policy=None) as gateway:
        _, page = await gateway.page("/metrics")

    (age_s,) = re.findall(r"^amulet_policy_age_seconds (\S+)", page, re.MULTILINE)
    assert float(age_s) >= 3600


async def test_pages_of_the_operators_port(gateway: Gateway) -> None:
    assert (await gateway.page("/healthz"))[0] == 200
    assert (await gateway.page("/nonesuch"))[0] == 404


async def test_a_stopping_gateway_finishes_what_it_began(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        gateway.graph.hold()
        call = asyncio.create_task(gateway.predict(photo()))
        await until(lambda: bool(gateway.graph.versions_asked), what="the call is worked on")

        gateway.stop.set()
        gateway.graph.release()

        assert (await call).candidates[0].class_id == "red"
        async with asyncio.timeout(30):
            await gateway.task


async def test_a_fault_in_what_listens_to_others_is_logged_and_begun_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_RESTART_PAUSE_S", 0.0)
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise RuntimeError("a fault of ours")
        await asyncio.Event().wait()

    task = asyncio.create_task(server._kept_alive(work))
    await until(lambda: runs == 3, what="the work is begun for the third time")
    task.cancel()

    assert caplog.text.count("task_failed") == 2


async def test_a_second_gateway_on_the_same_journal_does_not_start(gateway: Gateway) -> None:
    with Console(policy()) as console:
        settings = settings_for(gateway.settings.state_dir, console)
        with pytest.raises(JournalLocked, match="belongs to"):
            await run(settings, stop=asyncio.Event(), on_listening=lambda _: None)


async def test_an_address_that_is_taken_stops_the_start_with_its_setting(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match="AMULET_GATEWAY_LISTEN"):
            async with running_gateway(tmp_path, policy=policy(), graph=Graph(), gateway_listen=address):
                pass


@contextmanager
def logging_as_the_process_does(form: Literal["json", "text"]) -> Iterator[None]:
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    configure_logging(form=form, level="INFO")
    try:
        yield
    finally:
        structlog.configure(**before)
        root.handlers[:] = handlers
        root.setLevel(level)


async def test_logs_are_one_json_object_a_line_whoever_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_as_the_process_does("json"):
        structlog.get_logger("gateway.x").warning("ours", request_id="r-1")
        logging.getLogger("grpc").warning("theirs %s", "too")

    ours, theirs = map(json.loads, capsys.readouterr().out.splitlines())
    assert (ours["event"], ours["request_id"], ours["level"], ours["logger"]) == ("ours", "r-1", "warning", "gateway.x")
    assert theirs["event"] == "theirs too"


@pytest.fixture
def full_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Standard output on a disk without room."""
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it writes what is left in it once more, in vain
    monkeypatch.setattr("sys.stdout", full)
    with logging_as_the_process_does("json"):
        yield
    with suppress(OSError):
        full.close()


@pytest.mark.usefixtures("full_log")
async def test_a_log_that_takes_no_more_costs_its_lines_and_no_answer(tmp_path: Path) -> None:
    structlog.get_logger("gateway.x").error("ours")
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        answer = await gateway.predict(photo())
        await until(lambda: len(gateway.console.events()) == 1, what="its event is with the console")

    assert answer.prediction_id


@pytest.mark.parametrize("form", ["json", "text"])
async def test_a_trace_shows_lines_and_no_local_variables(
    capsys: pytest.CaptureFixture[str], form: Literal["json", "text"]
) -> None:
    with logging_as_the_process_does(form):
        try:
            api_key = "-".join(("canary", "in", "a", "variable"))
            raise ValueError(len(api_key))
        except ValueError:
            structlog.get_logger("gateway.x").exception("failed")

    logged = capsys.readouterr().out
    assert "ValueError: 20" in logged
    assert "canary-in" not in logged

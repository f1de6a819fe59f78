"""A broker that is away for a minute: nothing is refused, nothing lost, each thing done once, and people are told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.console.running import ROOT, RunningConsole, postgresql, until
from tests.integration.console_brokers.conftest import settings
from tests.integration.console_brokers.own_servers import OwnServer, own_rabbitmq, own_redis
from tests.integration.console_brokers.work import (
    TRAINER,
    ask_erasure,
    ask_training,
    entries,
    erased,
    job,
    label,
    plant,
)
from tests.ports import free_offset

pytestmark = [pytest.mark.servers, pytest.mark.fault]


@pytest.fixture(params=[own_redis, own_rabbitmq], ids=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OwnServer]:
    make: Callable[[Path], OwnServer] = request.param
    server = make(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def console(broker: OwnServer, tmp_path: Path) -> Iterator[RunningConsole]:
    """With its worker and one that trains, on that broker."""
    state = tmp_path / "state"
    with postgresql() as database:
        variables = {**database, **settings(state), "AMULET_BROKER_URL": broker.url}
        programs = ("console", "worker")
        with RunningConsole.start(state, variables, offset=free_offset(), programs=programs) as running:
            running.begin("trainer", TRAINER)
            yield running


def of_the_worker(console: RunningConsole) -> str:
    """What the console says of its worker: well, silent or unknown."""
    return str(
        console.shell(
            "from console.pulse.models import Service\nfrom console.pulse.queries import service_states\n"
            "answer = {state.service: state.health for state in service_states()}[Service.WORKER]"
        )
    )


def doctor(console: RunningConsole, broker: OwnServer) -> tuple[bool, str]:
    """What `amulet doctor` finds of the broker."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", "--state", str(console.layout.state), "--json"],
        env=console.environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    (finding,) = (each for each in json.loads(done.stdout) if each["check"] == "AMULET_BROKER_URL")
    return finding["ok"], f"{finding['found']} {finding['mend']}"


def test_what_is_asked_while_the_broker_is_away_is_done_once_it_is_back(
    console: RunningConsole, broker: OwnServer
) -> None:
    until(lambda: of_the_worker(console) == "well", within_s=240, what=lambda: console.log("worker")[-3000:])
    broker.stop()
    plant(console, "away-7705")
    label(console, "away")
    erasure, training = ask_erasure(console, "away-7705"), ask_training(console)
    well, said = doctor(console, broker)
    assert not well
    assert f"127.0.0.1:{broker.port} does not answer" in said
    assert "in AMULET_BROKER_URL" in said
    until(lambda: of_the_worker(console) == "silent", within_s=240)  # home says so; after a minute
    assert not erased(console, erasure)
    assert job(console, training)["state"] == "queued"
    assert {name: process.poll() for name, process in console.processes.items()} == dict.fromkeys(console.processes)

    broker.start()
    until(lambda: erased(console, erasure), within_s=240, what=lambda: console.log("worker")[-3000:])
    until(
        lambda: job(console, training)["state"] == "uploaded",
        within_s=240,
        what=lambda: console.log("trainer")[-3000:] + str(job(console, training)),
    )
    until(lambda: of_the_worker(console) == "well", within_s=240)
    assert doctor(console, broker)[0]
    done = entries(console, "privacy_request", erasure)
    assert (done["erasure.key_destroyed"], done["erasure.done"]) == (1, 1)
    assert job(console, training)["tries"] == 1
    made = console.shell(
        "from console.registry.models import ModelVersion\n"
        "answer = ModelVersion.objects.filter(version__contains='tiny', upload__isnull=False).count()"
    )
    assert made == 1

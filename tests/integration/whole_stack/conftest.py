"""A whole stack with a served model, whose spans a collector keeps: for tests that only look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from model_store import signing
from tests import tiny_archive
from tests.collector import Collector, collecting
from tests.stack import Stack


@dataclass(frozen=True, slots=True)
class Traced:
    stack: Stack  # traces a call where its caller does, and no other
    collector: Collector
    endpoint: str  # of the collector


@pytest.fixture(scope="package")  # no longer: nothing else has to run beside it
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    signing.generate_key(folder / "release.key")
    archive = folder / "tiny.mar"
    tiny_archive.write_archive(folder / "run", archive, key=folder / "release.key")
    with collecting() as (collector, endpoint):
        variables = {"AMULET_OTLP_ENDPOINT": endpoint, "AMULET_TRACES_RATIO": "0"}
        running = Stack.start(folder / "state", variables=variables)
        try:
            running.trust(folder / "release.key.pub")
            running.serve(archive)
            yield Traced(running, collector, endpoint)
        finally:
            running.stop()

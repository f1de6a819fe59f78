"""A whole stack with a served model, whose spans a collector keeps: for tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    release_key: Path  # of archives that the console trusts


@pytest.fixture(scope="package")  # no longer: nothing else has to run beside it
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    release_key, archive = folder / "release.key", folder / "tiny.mar"
    signing.generate_key(release_key)
    tiny_archive.write_archive(folder / "run", archive, key=release_key)
    with collecting() as (collector, endpoint):
        variables = {"AMULET_OTLP_ENDPOINT": endpoint, "AMULET_TRACES_RATIO": "0"}
        running = Stack.start(folder / "state", variables=variables)
        try:
            running.trust(folder / "release.key.pub")
            running.serve(archive)
            yield Traced(running, collector, endpoint, release_key)
        finally:
            running.stop()

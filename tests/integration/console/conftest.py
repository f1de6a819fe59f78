"""A running console and TorchServe, once for each set of servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.layout import Layout, Ports
from model_store import signing
from model_store.archive import ArchiveSummary
from tests import tiny_archive
from tests.console_ready import new_state
from tests.integration.console.running import SETS, RunningConsole, servers
from tests.integration.torchserve.server import RunningTorchServe
from tests.ports import free_offset


@dataclass(frozen=True, slots=True)
class Signed:
    """A trusted key, and archives signed with it."""

    key: Path
    public: Path
    folder: Path

    def archive(self, version: str = tiny_archive.VERSION, *, name: str = tiny_archive.NAME) -> ArchiveSummary:
        run = self.folder / f"{name}-{version}"
        out = self.folder / f"{name}-{version}.mar"
        run.mkdir(exist_ok=True)
        return tiny_archive.write_archive(run, out, key=self.key, name=name, version=version)


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("signed")
    signing.generate_key(folder / "release.key")
    public = folder / "release.pem"
    public.write_bytes(signing.public_pem(folder / "release.key"))
    return Signed(folder / "release.key", public, folder)


@pytest.fixture(scope="module", params=SETS)
def variables(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The variables that name one set of servers."""
    with servers(request.param) as chosen:
        yield chosen


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A fresh state folder with free ports."""
    return Layout(new_state(tmp_path_factory.mktemp("stack") / "state"), Ports(free_offset()))


@pytest.fixture(scope="module")
def torchserve(layout: Layout) -> Iterator[RunningTorchServe]:
    """A TorchServe over that folder's model store, which knows no model."""
    with RunningTorchServe.start(layout.torchserve, layout.models, port_offset=layout.ports.offset) as running:
        yield running


@pytest.fixture(scope="module")
def console(
    layout: Layout, torchserve: RunningTorchServe, variables: dict[str, str], signed: Signed
) -> Iterator[RunningConsole]:
    """The console with its worker and its keeper beside that TorchServe."""
    programs = ("console", "worker", "keeper")
    (layout.trusted / signed.public.name).write_bytes(signed.public.read_bytes())
    with RunningConsole.start(layout.state, variables, offset=layout.ports.offset, programs=programs) as running:
        running.hire("model-engineer", "approver", "viewer")
        yield running

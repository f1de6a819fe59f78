"""Model versions for tests, in any state, with the card of the tiny model and no archive behind them."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from console.registry.models import ModelVersion, State
from console.staff.models import User
from console.torchserve.errors import BackendRefused
from console.torchserve.management import BackendVersion, Loaded
from tests import tiny_archive


@cache
def card_text() -> str:
    """The tiny model's card."""
    with TemporaryDirectory() as folder:
        return tiny_archive.write_run(Path(folder)).render()


def a_version(
    uploader: User,
    *,
    state: State = State.SMOKE_TESTED,
    number: int = 1,
    model: str = "tiny",
    approver: User | None = None,
) -> ModelVersion:
    """A version named after its number. An approved one needs its approver."""
    name = f"v202601{number:02d}_tiny_1.000"
    document: dict[str, Any] | None = {**json.loads(card_text()), "name": model, "version": name}
    named = state not in (State.UPLOADED, State.REFUSED)
    return ModelVersion.objects.create(
        model=model if named else "",
        version=name if named else "",
        state=state,
        filename=f"{name}.mar",
        size_bytes=1,
        sha256=f"{number:064x}",
        uploaded_by=uploader,
        card_document=document if named else None,
        approved_by=approver,
    )


class TorchServeInMemory:
    """What the console asks of TorchServe, without the process: it holds names, and its workers start at once."""

    def __init__(self, held: Collection[BackendVersion] = (), *, refuses: Collection[BackendVersion] = ()) -> None:
        self.held = {(key.name, key.version): key for key in held}
        self.refuses = set(refuses)
        self.calls: list[tuple[str, BackendVersion]] = []
        self.workers_ready = 1

    def holds(self) -> set[BackendVersion]:
        return set(self.held.values())

    def loaded(self) -> list[Loaded]:
        return [Loaded(key, self.workers_ready, 1) for key in self.held.values()]

    def describe(self, name: str, version: str) -> Loaded | None:
        key = self.held.get((name, version))
        return None if key is None else Loaded(key, self.workers_ready, 1)

    def register(self, key: BackendVersion) -> None:
        self.calls.append(("register", key))
        if key in self.refuses or (key.name, key.version) in self.held:
            raise BackendRefused("TorchServe: no")
        self.held[key.name, key.version] = key

    def unregister(self, key: BackendVersion) -> None:
        self.calls.append(("unregister", key))
        self.held.pop((key.name, key.version), None)

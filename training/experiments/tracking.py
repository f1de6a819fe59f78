"""Every run that makes figures, noted: what decided it, what it found, what it left behind.

A run is one JSON file, whole or not there, in a folder that needs no server. No photograph is part of it, no path
outside the working directory and nobody's name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import resource
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from model_store import leftovers
from training import documents, provenance

FORMAT: Final = 1
SUFFIX: Final = ".json"
Scalar = str | int | float | bool | None


class TrackingFailed(Exception):
    """A place did not take a run: one clause that says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Photographs:
    """What a run measured on: the folder's name, and a digest of all photographs in it."""

    name: str
    fingerprint: str
    photos: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command knows of a run. Mappings may be nested: {"strength": {"turn_deg": 10}} is `strength.turn_deg`."""

    data: Photographs
    figures: Mapping[str, Any]  # finite numbers are kept, at any depth; everything else is left out
    parameters: Mapping[str, Any]
    name: str = ""  # of the version, variant or trial
    seed: int | None = None
    artefacts: Sequence[Path] = ()
    remark: str = ""  # what forbids to take the figures at their word


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run as it is kept."""

    id: str
    group: str  # that of the command: its rows and trials share it
    command: str
    name: str
    started_at: datetime
    seconds: float
    peak_mib: float  # of the process, until the run was noted
    data: Photographs
    seed: int | None
    parameters: Mapping[str, Scalar]
    figures: Mapping[str, float]
    artefacts: Mapping[str, str]  # path below the working directory, or the name alone -> SHA-256
    code_version: str
    packages: Mapping[str, str]
    remark: str

    def document(self) -> dict[str, Any]:
        """As JSON can carry it; `run_of` reads it back."""
        return {"format": FORMAT, **asdict(self), "started_at": self.started_at.isoformat()}


Place = Callable[[TrackedRun], None]  # raises TrackingFailed


class Tracker:
    """Notes the runs of one command in every place. What fails is said once, and never ends the command."""

    def __init__(
        self, command: str, places: Sequence[Place], warn: Callable[[str], None], *, folder: Path | None = None
    ) -> None:
        """folder: the one of the places that is a folder, for who looks up earlier runs."""
        self.folder = folder
        self._command, self._places, self._warn = command, list(places), warn
        self._started_at, self._started = datetime.now(UTC), time.monotonic()
        self._group = f"{self._started_at:%Y%m%dT%H%M%S}-{command.replace(' ', '-')}-{secrets.token_hex(2)}"
        self._noted = 0

    def note(self, outcome: Outcome, *, seconds: float | None = None) -> None:
        """seconds: that the run took; None: all that passed since the command began."""
        if not self._places:
            return
        self._noted += 1
        try:
            run = self._run(outcome, time.monotonic() - self._started if seconds is None else seconds)
        except OSError as error:
            self._warn(f"this run is not noted: {error.filename} cannot be read ({error.strerror})")
            return
        for place in tuple(self._places):
            try:
                place(run)
            except TrackingFailed as error:
                # A server that is away would otherwise be waited for at each of a hundred trials.
                self._places.remove(place)
                self._warn(str(error))

    def _run(self, outcome: Outcome, seconds: float) -> TrackedRun:
        return TrackedRun(
            id=f"{self._group}-{self._noted}",
            group=self._group,
            command=self._command,
            name=outcome.name,
            started_at=self._started_at,
            seconds=round(seconds, 3),
            peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            data=outcome.data,
            seed=outcome.seed,
            parameters=dict(_flat(outcome.parameters)),
            figures=numbers(outcome.figures),
            artefacts={_shown(path): _sha256(path) for path in outcome.artefacts},
            code_version=provenance.code_version(),
            packages=provenance.packages(),
            remark=outcome.remark,
        )


def into_folder(folder: Path) -> Place:
    """One file a run; the folder is made when the first one is noted."""

    def keep(run: TrackedRun) -> None:
        text = json.dumps(run.document(), ensure_ascii=False, allow_nan=False, indent=2) + "\n"
        scratch = folder / f"{leftovers.NEW}{run.id}{SUFFIX}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            leftovers.sweep(folder, leftovers.NEW)
            # A folder's name need not be text: what is none becomes "?".
            scratch.write_text(text, "utf-8", errors="replace")
            scratch.replace(folder / f"{run.id}{SUFFIX}")
        except OSError as error:
            with contextlib.suppress(OSError):
                scratch.unlink()
            raise TrackingFailed(
                f"runs are not noted in {folder} ({error.strerror}): name another folder with --runs, or none"
            ) from None

    return keep


def read_runs(folder: Path) -> tuple[tuple[TrackedRun, ...], tuple[Path, ...]]:
    """The runs of a folder, the oldest first, and the files that are none."""
    runs, others = [], []
    for path in sorted(folder.glob(f"[!.]*{SUFFIX}")):
        try:
            runs.append(run_of(documents.of_json(path.read_text("utf-8"))))
        except (OSError, ValueError, KeyError, TypeError):
            others.append(path)
    runs.sort(key=lambda run: (run.started_at, run.group, len(run.id), run.id))  # -2 before -10
    return tuple(runs), tuple(others)


def run_of(document: Mapping[str, Any]) -> TrackedRun:
    """Raises ValueError, KeyError or TypeError for what `TrackedRun.document` did not write."""
    if document["format"] != FORMAT:
        raise ValueError(f"the format is {document['format']!r}, not {FORMAT}")
    fields = {name: value for name, value in document.items() if name != "format"}
    fields["started_at"] = datetime.fromisoformat(fields["started_at"])
    fields["data"] = Photographs(**fields["data"])
    return TrackedRun(**fields)


def numbers(document: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of nested mappings, under the names of the way to them."""
    return {
        name: float(value)
        for name, value in _flat(document)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _flat(document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Scalar]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{above}{name}", str(value)  # JSON has no number for it
        elif isinstance(value, Scalar):
            yield f"{above}{name}", value
        elif isinstance(value, Sequence):
            yield f"{above}{name}", ", ".join(map(str, value))
        else:
            yield f"{above}{name}", str(value)


def _shown(path: Path) -> str:
    """Nothing of the machine that it lies on."""
    whole, here = path.resolve(), Path.cwd()
    return whole.relative_to(here).as_posix() if whole.is_relative_to(here) else path.name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

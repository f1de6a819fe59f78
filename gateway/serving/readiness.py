"""Whether a model version can be trusted to answer now: a golden photograph, through the real worker, again and again.

A golden photograph comes with the answer that the graph gave when the archive was made. A
version is ready only while that answer was seen again within the last FRESH_S: a worker that
died, hangs, or holds another file is not ready within five seconds. When a version is not
ready all its photographs must be right before it is; while it is, they take turns.

A round of turns takes longer than five seconds. But a worker gives one answer to one photograph,
and other weights give another one to each: an answer that is right and not the one from before is
a doubt, and until all photographs were right again nothing renews the version's standing (decision 0185).

Under load a golden photograph waits in the same queue as everybody's. So a probe that finds
no place or no time counts against a ready version only if nobody else got an answer from it
within the last ANSWERING_S.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from gateway.errors import DeadlineExceeded, Overloaded, Refusal
from gateway.serving.torchserve import BackendFaulty, GraphImage, GraphOutput, TorchServe
from gateway.snapshot import Golden

PROBE_EVERY_S: Final = 1.5  # while ready
RETRY_EVERY_S: Final = 0.5  # while not
PROBE_S_MAX: Final = 2.0
FRESH_S: Final = 4.5
ANSWERING_S: Final = 1.0
IMAGES_PER_REQUEST: Final = 8
# Room for another processor's rounding, not for another model: int8 kernels differ most.
PROBABILITY_ABS: Final = 2e-2
SCORE_REL: Final = 5e-2
SCORE_ABS: Final = 1e-2
# Room for other kernels on one processor; the handler's own, which run each image by itself, differ by nothing.
SAME_REL: Final = 1e-4
SAME_ABS: Final = 1e-4

_log = structlog.get_logger(__name__)


class Served(Protocol):
    """A version that the backend should hold; the policy's own kind is one. Without golden photographs it never
    becomes ready."""

    @property
    def backend_name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def goldens(self) -> tuple[Golden, ...]: ...


@dataclass(frozen=True, slots=True)
class Change:
    """A version became ready, or stopped being so."""

    backend_name: str
    version: str
    ready: bool
    why: str  # empty when ready


class Readiness:
    """Watches the versions given to `watch`. `run` belongs into the gateway's task group."""

    def __init__(self, torchserve: TorchServe, *, on_change: Callable[[Change], None] = lambda _: None) -> None:
        """on_change is called on the loop, once per change; it must not block."""
        self._torchserve = torchserve
        self._on_change = on_change
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._look = asyncio.Event()

    def watch(self, versions: Iterable[Served]) -> None:
        """Watch exactly these from now on. A version that was watched with the same photographs keeps its standing."""
        wanted = {(served.backend_name, served.version): served.goldens for served in versions}
        for key in [key for key, watched in self._watched.items() if wanted.get(key) != watched.goldens]:
            retired = self._watched.pop(key)
            if retired.follower is not None:
                retired.follower.cancel()
            retired.turn(False, "the version is not served any more", self._on_change)
        for key, goldens in wanted.items():
            if key not in self._watched:
                self._watched[key] = _Watched(*key, goldens)
        self._look.set()

    def is_ready(self, backend_name: str, version: str) -> bool:
        """Whether the version gave a right answer just now. False for one that is not watched."""
        watched = self._watched.get((backend_name, version))
        return watched is not None and watched.ready and watched.fresh()

    def why_not(self, backend_name: str, version: str) -> str:
        """For the log and the operators: what stands in the way; empty when ready."""
        watched = self._watched.get((backend_name, version))
        if watched is None:
            return "the version is not served"
        return "" if self.is_ready(backend_name, version) else watched.why or "its last right answer is too old"

    async def run(self) -> None:
        """Probe until cancelled; one task per version, so that a hanging one keeps none waiting."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._look.clear()
                for watched in self._watched.values():
                    if watched.follower is None:
                        watched.follower = group.create_task(self._follow(watched))
                await self._look.wait()

    async def _follow(self, watched: _Watched) -> None:
        try:
            while watched.goldens:
                await self._probe(watched)
                await asyncio.sleep(PROBE_EVERY_S if watched.ready and not watched.in_doubt else RETRY_EVERY_S)
        finally:
            watched.follower = None

    async def _probe(self, watched: _Watched) -> None:
        goldens = watched.next_goldens()
        try:
            result = await self._torchserve.predict(
                watched.backend_name,
                watched.version,
                [GraphImage(encoded=golden.photo) for golden in goldens],
                deadline_s=PROBE_S_MAX,
            )
        except (DeadlineExceeded, Overloaded) as refusal:
            answered_at_s = self._torchserve.answered_at_s(watched.backend_name, watched.version)
            busy = answered_at_s is not None and time.monotonic() - answered_at_s <= ANSWERING_S
            if not (watched.ready and busy):
                watched.turn(False, str(refusal), self._on_change)
            elif not watched.in_doubt:
                watched.saw_right()  # it is answering others
        except (Refusal, BackendFaulty) as error:
            watched.turn(False, str(error), self._on_change)
        else:
            differences = filter(None, map(difference, goldens, result.outputs))
            wrong = next(differences, "")
            if wrong:
                watched.turn(False, f"a wrong answer: {wrong}", self._on_change)
            elif watched.advance(goldens, result.outputs):
                watched.saw_right()
                watched.turn(True, "", self._on_change)


def difference(golden: Golden, output: GraphOutput) -> str:
    """What is not as it was when the archive was made, within the tolerances; empty: nothing."""
    if len(output.probabilities) != len(golden.probabilities):
        return f"{golden.name} has {len(output.probabilities)} probabilities, not {len(golden.probabilities)}"
    for index, (found, wanted) in enumerate(zip(output.probabilities, golden.probabilities, strict=True)):
        if not abs(found - wanted) <= PROBABILITY_ABS:
            return f"{golden.name} has the probability {found:.4f} for class {index}, not {wanted:.4f}"
    for detector, wanted in golden.scores.items():
        score = output.scores.get(detector, math.nan)
        if not math.isclose(score, wanted, rel_tol=SCORE_REL, abs_tol=SCORE_ABS):
            return f"{golden.name} has the {detector} score {score:.4g}, not {wanted:.4g}"
    return ""


def is_same(before: GraphOutput, now: GraphOutput) -> bool:
    """Whether the same weights can have given both answers to one photograph."""
    pairs = [
        (before.logits, now.logits),
        (before.probabilities, now.probabilities),
        ([before.scores.get(name, math.nan) for name in now.scores], [*now.scores.values()]),
    ]
    return all(
        len(ours) == len(theirs)
        and all(math.isclose(*both, rel_tol=SAME_REL, abs_tol=SAME_ABS) for both in zip(ours, theirs, strict=True))
        for ours, theirs in pairs
    )


class _Watched:
    """The standing of one version."""

    def __init__(self, backend_name: str, version: str, goldens: tuple[Golden, ...]) -> None:
        self.backend_name, self.version, self.goldens = backend_name, version, goldens
        self.follower: asyncio.Task[None] | None = None
        self.ready = False
        self.why = "no golden photograph was answered yet" if goldens else "it has no golden photographs"
        self.in_doubt = False  # ready, and one photograph had another answer than before
        self._said: dict[str, GraphOutput] = {}  # name of a golden photograph -> its last right answer
        self._right_at_s = -math.inf
        self._turn = 0  # whose turn it is
        self._right_in_a_row = 0

    def next_goldens(self) -> Sequence[Golden]:
        """One while ready and not in doubt; otherwise as many as fit into a request."""
        count = 1 if self.ready and not self.in_doubt else min(IMAGES_PER_REQUEST, len(self.goldens))
        return [self.goldens[(self._turn + step) % len(self.goldens)] for step in range(count)]

    def advance(self, goldens: Sequence[Golden], outputs: Sequence[GraphOutput]) -> bool:
        """These were right; says whether all have been since the last failure or doubt."""
        for golden, output in zip(goldens, outputs, strict=True):
            before = self._said.get(golden.name)
            if self.ready and not self.in_doubt and before is not None and not is_same(before, output):
                self.in_doubt, self._right_in_a_row = True, 0
            self._said[golden.name] = output
        self._turn = (self._turn + len(goldens)) % len(self.goldens)
        self._right_in_a_row += len(goldens)
        all_right = self._right_in_a_row >= len(self.goldens)
        self.in_doubt = self.in_doubt and not all_right
        return all_right

    def saw_right(self) -> None:
        self._right_at_s = time.monotonic()

    def fresh(self) -> bool:
        return time.monotonic() - self._right_at_s <= FRESH_S

    def turn(self, ready: bool, why: str, on_change: Callable[[Change], None]) -> None:
        """Set the standing and tell of it if it is another one."""
        changed, self.ready, self.why = ready != self.ready, ready, why
        if not ready:
            self._right_in_a_row, self.in_doubt = 0, False
            self._said.clear()
        if changed:
            tell = _log.info if ready else _log.warning
            tell("version_readiness", model=self.backend_name, version=self.version, ready=ready, why=why)
            on_change(Change(self.backend_name, self.version, ready, why))

"""How long other work on this machine can have held up a process that is waited for.

A bound in seconds holds for a machine that is ours. Where others want its processors too, a
late answer says nothing about the stack unless it is known what they cost it. Two figures of
the kernel bound that cost from above, and the smaller one counts:

    taken    processor time that went to processes which are not ours, and to other machines
             on the same host (/proc/stat less what our own processes used)
    waited   how long the processes started meanwhile stood ready to run and did not get a
             processor (the run delay of /proc/PID/task/TID/schedstat; of each process, from
             one look to the next, its longest waiting thread). A process may have waited for
             one that it started, but those that wait side by side do not add up: the longest
             line of descent counts

So nothing is excused on a machine that is ours, whatever the stack computes there, because
nothing was taken; and nothing is excused for sleeping, for a wait that grew or for an answer
from elsewhere that came late, on any machine, because who sleeps is not ready to run. What is
left: a stack that computes too much while others compute too. It is found where it is alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

NOTE_EVERY_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Used:
    """Processor time of one process so far, and of the children that it has seen end."""

    own_s: float
    ended_children_s: float
    parent: tuple[int, float] | None


class Watch:
    """Begins to watch when it is made. `ours`: the processes that are ours, with everything below them.

    `through`: those of ours that run already and do, one after the other, what is waited for. Their delays count as
    those of processes that start meanwhile.
    """

    def __init__(self, ours: Iterable[psutil.Process], *, through: Iterable[psutil.Process] = ()) -> None:
        self._ours = list(ours)
        self._busy_s, self._stolen_s = _machine()
        self._used = self._look()
        self._through = {_key(process) for process in through}
        self._seen_s = {key: _waits_s(key) for key in self._through}  # what each thread had waited at the last look
        self._waited_s = dict.fromkeys(self._through, 0.0)
        self._noting = threading.Lock()
        self._parents: dict[tuple[int, float], tuple[int, float] | None] = {}  # of those that started meanwhile

    def held_up_s(self) -> float:
        """The seconds that other work can have cost since the beginning, at most."""
        stolen_s = _machine()[1] - self._stolen_s
        return min(self.taken_s(), self.waited_s()) + max(0.0, stolen_s)

    def taken_s(self) -> float:
        """Processor time of this machine since the beginning that went to processes which are not ours."""
        busy_s = _machine()[0] - self._busy_s
        return max(0.0, busy_s - self._spent(self._look()))

    def waited_s(self) -> float:
        """How long a line of processes of ours that started since the beginning waited for a processor, and those that
        it goes through."""
        self.note()

        def line_s(key: tuple[int, float]) -> float:
            return self._waited_s[key] + max(
                (line_s(child) for child, parent in self._parents.items() if parent == key), default=0.0
            )

        started_s = max(
            (line_s(key) for key, parent in self._parents.items() if parent not in self._parents), default=0.0
        )
        return started_s + sum(self._waited_s[key] for key in self._through)

    def note(self) -> None:
        """Of each process its longest waiting thread since the last look.

        Work goes from thread to thread, and what waited for one that has ended cannot be read any more: the more often
        this is called, the less is missed. A moment in which nobody of ours was ready never counts.
        """
        with self._noting:
            self._note()

    def _note(self) -> None:
        found = self._look()
        self._parents |= {key: used.parent for key, used in found.items() if key not in self._used}
        for key in (self._parents.keys() | self._through) & found.keys():
            before_s, now_s = self._seen_s.get(key, {}), _waits_s(key)
            grown_s = [waits_s - before_s.get(thread, 0.0) for thread, waits_s in now_s.items()]
            self._waited_s[key] = self._waited_s.get(key, 0.0) + max([0.0, *grown_s])
            self._seen_s[key] = now_s

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Look every NOTE_EVERY_S meanwhile, from a thread of its own."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(NOTE_EVERY_S):
                self.note()

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self) -> dict[tuple[int, float], _Used]:
        found: dict[tuple[int, float], _Used] = {}
        for root in self._ours:
            with suppress(psutil.NoSuchProcess):
                for process in (root, *root.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        times, parent = process.cpu_times(), process.parent()
                        found[_key(process)] = _Used(
                            times.user + times.system,
                            times.children_user + times.children_system,
                            None if parent is None else _key(parent),
                        )
        return found

    def _spent(self, now: dict[tuple[int, float], _Used]) -> float:
        """What our processes used since the beginning, those that ended meanwhile included."""
        spent_s = 0.0
        for key, used in now.items():
            before = self._used.get(key, _Used(0.0, 0.0, None))
            spent_s += used.own_s - before.own_s + used.ended_children_s - before.ended_children_s
        for key, used in self._used.items():
            if key not in now and used.parent in now:  # its whole life is now its parent's
                spent_s -= used.own_s + used.ended_children_s
        return spent_s


def run_delay_s(process: psutil.Process) -> float:
    """How long the process has waited for a processor so far, its longest waiting thread; for one that
    runs already, the difference of two of these stands for `Watch.waited_s`."""
    return _longest_wait_s(_key(process))


class Stopwatch:
    """Seconds since it was made, less what other work can have cost those who act meanwhile and ran before."""

    def __init__(self, acting: Iterable[psutil.Process], *, ours: Iterable[psutil.Process] = ()) -> None:
        """acting: every process that has a part in what is timed, this one too where it has.

        ours: further ones, with everything below them, whose processor time others did not take.
        """
        acting = list(acting)
        self._machine = Watch([psutil.Process(), *acting, *ours], through=acting)
        self._began_s = time.monotonic()

    def took_s(self) -> float:
        took_s = time.monotonic() - self._began_s
        return took_s - self.lost_s()

    def lost_s(self) -> float:
        """What other work can have cost so far, at most."""
        return min(self._machine.taken_s(), self._machine.waited_s())


class Call:
    """A short piece of work that processes do together which run already: a call, and its answer.

    Its way through their threads is not known, so all their delays are taken together. What they computed is never
    excused, and what they slept is not where the machine is ours.
    """

    def __init__(self, process: psutil.Process) -> None:
        """process: that this one calls; what runs below it has a part too."""
        self._family = [psutil.Process(), process, *process.children(recursive=True)]
        self._watch = Watch([psutil.Process()])
        (self._computed_s, self._waits_s), self._began_s = self._so_far_s(), time.monotonic()

    def took_s(self) -> float:
        """How long it took, less what other work on this machine can have cost of it."""
        took_s = time.monotonic() - self._began_s
        computed_s, waits_s = self._so_far_s()
        excused_s = min(self._watch.taken_s(), waits_s - self._waits_s)
        return max(took_s - excused_s, computed_s - self._computed_s)

    def _so_far_s(self) -> tuple[float, float]:
        """What all threads of all of them have computed, and waited for a processor."""
        both = [each for process in self._family for each in _delays_s(_key(process)).values()]
        return sum(computed_s for computed_s, _ in both), sum(waits_s for _, waits_s in both)


def _key(process: psutil.Process) -> tuple[int, float]:
    return process.pid, process.create_time()


def _machine() -> tuple[float, float]:
    """Processor time of this machine that somebody used, and that the host gave to other machines."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq, times.steal


def _longest_wait_s(process: tuple[int, float]) -> float:
    """Run delay of the process's longest waiting thread; 0 where the kernel does not say."""
    return max(_waits_s(process).values(), default=0.0)


def _waits_s(process: tuple[int, float]) -> dict[str, float]:
    """Run delay of each thread of the process; empty where the kernel does not say."""
    return {thread: waits_s for thread, (_, waits_s) in _delays_s(process).items()}


def _delays_s(process: tuple[int, float]) -> dict[str, tuple[float, float]]:
    """How long each thread of the process ran, and stood ready to; empty where the kernel does not say."""
    found: dict[str, tuple[float, float]] = {}
    with suppress(OSError):
        for thread in Path(f"/proc/{process[0]}/task").iterdir():
            with suppress(OSError):
                ran_ns, waited_ns, _ = (thread / "schedstat").read_text().split()
                found[thread.name] = (int(ran_ns) / 1e9, int(waited_ns) / 1e9)
    return found

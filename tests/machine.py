"""How long other work on this machine can have held up a process that is waited for.

A bound in seconds holds for a machine that is ours. Where others want its processors too, a
late answer says nothing about the stack unless it is known what they cost it. Two figures of
the kernel bound that cost from above, and the smaller one counts:

    taken    processor time that went to processes which are not ours, and to other machines
             on the same host (/proc/stat less what our own processes used)
    waited   how long the processes started meanwhile stood ready to run and did not get a
             processor (the run delay of /proc/PID/task/TID/schedstat; of each process its
             longest waiting thread). A process may have waited for one that it started, but
             those that wait side by side do not add up: the longest line of descent counts

So nothing is excused on a machine that is ours, whatever the stack computes there, because
nothing was taken; and nothing is excused for sleeping, for a wait that grew or for an answer
from elsewhere that came late, on any machine, because who sleeps is not ready to run. What is
left: a stack that computes too much while others compute too. It is found where it is alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class _Used:
    """Processor time of one process so far, and of the children that it has seen end."""

    own_s: float
    ended_children_s: float
    parent: tuple[int, float] | None


class Watch:
    """Begins to watch when it is made. `ours`: the processes that are ours, with everything below them."""

    def __init__(self, ours: Iterable[psutil.Process]) -> None:
        self._ours = list(ours)
        self._busy_s, self._stolen_s = _machine()
        self._used = self._look()

    def held_up_s(self) -> float:
        """The seconds that other work can have cost since the beginning, at most."""
        stolen_s = _machine()[1] - self._stolen_s
        return min(self.taken_s(), self.waited_s()) + max(0.0, stolen_s)

    def taken_s(self) -> float:
        """Processor time of this machine since the beginning that went to processes which are not ours."""
        busy_s = _machine()[0] - self._busy_s
        return max(0.0, busy_s - self._spent(self._look()))

    def waited_s(self) -> float:
        """How long a line of processes of ours that started since the beginning waited for a processor."""
        started = {key: used.parent for key, used in self._look().items() if key not in self._used}
        waits_s = {key: _longest_wait_s(key) for key in started}

        def line_s(key: tuple[int, float]) -> float:
            return waits_s[key] + max(
                (line_s(child) for child, parent in started.items() if parent == key), default=0.0
            )

        return max((line_s(key) for key, parent in started.items() if parent not in started), default=0.0)

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


def _key(process: psutil.Process) -> tuple[int, float]:
    return process.pid, process.create_time()


def _machine() -> tuple[float, float]:
    """Processor time of this machine that somebody used, and that the host gave to other machines."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq, times.steal


def _longest_wait_s(process: tuple[int, float]) -> float:
    """Run delay of the process's longest waiting thread; 0 where the kernel does not say."""
    waits_ns = [0]
    with suppress(OSError):
        for thread in Path(f"/proc/{process[0]}/task").iterdir():
            with suppress(OSError):
                waits_ns.append(int((thread / "schedstat").read_text().split()[1]))
    return max(waits_ns) / 1e9

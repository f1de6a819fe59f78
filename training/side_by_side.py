"""Work on as many cores as there are, each job on one of its own; and processes that do not outlive who waits for them.

Numerical libraries that share the cores between jobs let each wait for the others at every step, turning;
here it is jobs that share them.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import parent_process, resource_tracker
from threading import Thread, current_thread, main_thread
from typing import Final, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no stubs

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
_LEAKED: Final = "ignore::UserWarning:multiprocessing.resource_tracker"


def begin() -> None:
    """The `initializer` of processes of `multiprocessing` that are started in `starting`.

    Each ends as soon as the one that started it has, however: where that was killed it would work on for nobody, and
    beside the same command begun anew. Ctrl-C, which reaches all that a terminal runs, is for that one alone: it says
    that it was interrupted, and ends the others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    Thread(target=_end_after_parent, name="parent", daemon=True).start()


def begin_by(work: Callable[..., None], *arguments: object) -> tuple[Callable[[bytes], None], tuple[bytes]]:
    """`initializer` and `initargs` of processes that `begin` and then call `work`, which is to be pickled.

    What that imports may take seconds; who starts them has given them all they need before.
    """
    return _begin, (pickle.dumps((work, arguments)),)


def _begin(packed: bytes) -> None:
    begin()
    work, arguments = pickle.loads(packed)  # noqa: S301 - of our parent
    work(*arguments)


def begin_tracker() -> None:
    """To be called before a pool is made. What `multiprocessing` has beside it takes away the semaphores of a command
    that was killed, and would warn whoever did so of a leak in Python's words.
    """
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{before},{_LEAKED}" if before else _LEAKED
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def starting() -> Iterator[None]:
    """Processes that are started meanwhile hear nothing of Ctrl-C, which as they import would be a trace from each.

    The signal is blocked where they are started, which they inherit; whoever starts them hears of it afterwards.
    """
    if current_thread() is not main_thread():  # Ctrl-C is the main thread's
        yield
        return
    heard: list[int] = []
    # Another thread may take it meanwhile: Python would then raise it here, in the midst of a start.
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if heard:
        signal.raise_signal(signal.SIGINT)


def _end_after_parent() -> None:
    parent = parent_process()
    assert parent is not None  # a command's own process has nobody to end with
    parent.join()
    os._exit(1)  # a clean end would wait for the work


def side_by_side(work: Callable[[_Job], _Result], jobs: Iterable[_Job], *, threads: int) -> Iterator[_Result]:
    """Results in the order of the jobs.

    Jobs are taken as they are begun and results wait for few: memory stays bounded. The first error ends it.
    One at a time, a job has all cores.
    """
    if threads == 1:
        yield from map(work, jobs)
        return
    source = iter(jobs)
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(work, job) for job in islice(source, 2 * threads)]
        try:
            while running:
                done = running.pop(0)
                running.extend(pool.submit(work, job) for job in islice(source, 1))
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)

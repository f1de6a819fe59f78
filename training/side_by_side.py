"""Work on as many cores as there are, each job on one of its own; and processes that do not outlive who waits for them.

Numerical libraries that share the cores between jobs let each wait for the others at every step, turning;
here it is jobs that share them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from multiprocessing import parent_process
from threading import Thread
from typing import TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no stubs

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def end_with_parent() -> None:
    """For a process of `multiprocessing`, when it begins: it ends as soon as the one that started it has, however.

    Nobody else ends it where that one was killed: it would work on for nobody, and beside the same command begun anew.
    """
    Thread(target=_end_after_parent, name="parent", daemon=True).start()


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

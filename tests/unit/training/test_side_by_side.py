"""Jobs side by side: results in order, bounded, and the first error is the caller's."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np  # noqa: F401 - brings a BLAS
import pytest
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]  # it has no stubs

from training.side_by_side import side_by_side


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_jobs(threads: int) -> None:
    later = threading.Event()

    def work(number: int) -> int:
        if threads > 1 and number == 0:
            assert later.wait(30)  # the first ends after the second
        if number == 1:
            later.set()
        return number * number

    assert list(side_by_side(work, range(20), threads=threads)) == [number * number for number in range(20)]


@pytest.mark.parametrize("threads", [1, 3])
def test_jobs_are_taken_as_they_are_begun(threads: int) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = side_by_side(lambda number: number, jobs(), threads=threads)
    assert next(results) == 0
    assert len(taken) <= 2 * threads + 1
    results.close()  # type: ignore[attr-defined]  # a generator


def test_the_first_error_ends_the_work() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("the third job is wrong")
        return number

    with pytest.raises(ValueError, match="third job"):
        list(side_by_side(work, range(1000), threads=2))
    assert len(begun) < 20


def test_each_job_has_a_core_of_its_own() -> None:
    def widest(_: int) -> int:
        return max(found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas")

    with threadpool_limits(2):
        assert widest(0) == 2
        assert set(side_by_side(widest, range(4), threads=2)) == {1}
        assert widest(0) == 2

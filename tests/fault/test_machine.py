"""What is excused when a machine is busy: the waiting for a processor that others use, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.machine import Call, Stopwatch, Watch

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel does not say who waited"),
]

ONE_CORE = f"import os, time\nos.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
COMPUTE = f"{ONE_CORE}while True: pass"
NOISE_S = 0.3  # the kernel counts a machine's time in ticks of 10 ms, by looking at who runs just then


@contextmanager
def ours(code: str) -> Iterator[psutil.Popen]:
    """A process below this one, which ends with whatever it started."""
    process = psutil.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        for each in (*process.children(recursive=True), process):
            each.kill()
        process.communicate()


@contextmanager
def somebody_else() -> Iterator[psutil.Process]:
    """A process that computes and is not below this one: who started it has ended."""
    starter = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=2).pid)"
    done = subprocess.run([sys.executable, "-c", starter, COMPUTE], stdout=subprocess.PIPE, text=True, check=True)
    process = psutil.Process(int(done.stdout))
    try:
        yield process
    finally:
        process.kill()


def used_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def until_used(process: psutil.Process, cpu_s: float) -> None:
    while used_s(process) < cpu_s:
        time.sleep(0.02)


def run_delay_s(pid: int) -> float:
    """How long a process of one thread stood ready to run and had no processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def machine_s() -> float:
    """Processor time of this machine that anybody used so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def test_who_shares_a_processor_with_others_is_excused_for_what_they_took() -> None:
    watch = Watch([psutil.Process()])
    with somebody_else() as other, ours(COMPUTE) as process:
        before_s = used_s(other)
        until_used(process, 1.0)
        taken_s = used_s(other) - before_s
        assert watch.held_up_s() >= 0.5 * taken_s
    assert taken_s > 0.3


def test_who_sleeps_is_not_excused_however_busy_the_machine_is() -> None:
    watch = Watch([psutil.Process()])
    with somebody_else() as other, ours(f"{ONE_CORE}print('asleep', flush=True)\ntime.sleep(600)") as process:
        assert process.stdout.readline() == "asleep\n"
        start_s, taken_s = watch.waited_s(), watch.taken_s()
        until_used(other, used_s(other) + 1.5)
        assert watch.taken_s() > taken_s + 1.0
        assert watch.waited_s() < start_s + 0.1


def test_who_ran_before_is_excused_for_what_others_took_and_not_for_sleeping() -> None:
    with (
        somebody_else() as other,
        ours(COMPUTE) as computes,
        ours(f"{ONE_CORE}print('asleep', flush=True)\ntime.sleep(600)") as sleeps,
    ):
        assert sleeps.stdout.readline() == "asleep\n"
        until_used(computes, 0.1)
        began_s, asleep = time.monotonic(), Stopwatch([sleeps])
        before_s, works = used_s(other), Stopwatch([computes])
        until_used(computes, used_s(computes) + 1.0)
        taken_s, worked_s = used_s(other) - before_s, works.took_s()
        slept_s = asleep.took_s()
        took_s = time.monotonic() - began_s
    assert taken_s > 0.3
    assert worked_s <= took_s - 0.5 * taken_s
    assert slept_s > 1.0  # of those seconds in which another one needed a processor for one


def test_who_works_in_one_thread_after_the_other_is_excused_for_each() -> None:
    """Also for threads that have ended when it is asked."""
    turns = f"""{ONE_CORE}
import threading
waits = []
def turn():
    while time.thread_time() < 0.5: pass
    waits.append(int(open("/proc/thread-self/schedstat").read().split()[1]) / 1e9)
for _ in range(3):
    thread = threading.Thread(target=turn)
    thread.start()
    thread.join()
print(*waits, flush=True)
time.sleep(600)
"""
    watch = Watch([psutil.Process()])
    with somebody_else(), watch.noting(), ours(turns) as process:
        waits_s = [float(each) for each in process.stdout.readline().split()]
        waited_s = watch.waited_s()
    assert min(waits_s) > 0.1
    assert waited_s > max(waits_s) + 0.5 * (sum(waits_s) - max(waits_s))


def test_who_runs_already_is_excused_where_what_is_waited_for_goes_through_it() -> None:
    with somebody_else(), ours(COMPUTE) as process:
        until_used(process, 0.1)
        beside, watch = Watch([psutil.Process()]), Watch([psutil.Process()], through=[process])
        waits_s = run_delay_s(process.pid)
        until_used(process, 0.6)
        waits_s = run_delay_s(process.pid) - waits_s
        assert waits_s > 0.1
        assert watch.waited_s() >= waits_s
        assert beside.waited_s() == 0


def test_a_call_is_excused_for_what_waited_for_a_processor_and_not_for_sleeping() -> None:
    with somebody_else() as other, ours(COMPUTE) as process:
        until_used(process, 0.1)
        call, began_s = Call(process), time.monotonic()
        before_s, waits_s = used_s(other), run_delay_s(process.pid)
        until_used(process, 0.6)
        taken_s, waits_s = used_s(other) - before_s, run_delay_s(process.pid) - waits_s
        took_s = time.monotonic() - began_s
        assert min(taken_s, waits_s) > 0.2
        assert call.took_s() <= took_s - min(taken_s, waits_s) + 0.1
    with somebody_else(), ours(f"{ONE_CORE}print('asleep', flush=True)\ntime.sleep(600)") as process:
        assert process.stdout.readline() == "asleep\n"
        call = Call(process)
        time.sleep(1.0)
        assert call.took_s() >= 0.9


def test_who_waits_side_by_side_is_not_excused_twice() -> None:
    with somebody_else():
        watch, began_s = Watch([psutil.Process()]), time.monotonic()
        with ours(COMPUTE) as one, ours(COMPUTE) as two, ours(COMPUTE) as three:
            for process in (one, two, three):
                until_used(process, 0.5)
            waited_s = watch.waited_s()
            assert 0.5 <= waited_s <= time.monotonic() - began_s


def test_who_waits_for_what_it_started_is_excused_for_both() -> None:
    child = f"subprocess.run([sys.executable, '-c', {ONE_CORE!r} + 'while True: pass'])"
    watch = Watch([psutil.Process()])
    with (
        somebody_else(),
        ours(f"import subprocess, sys\n{ONE_CORE}while time.process_time() < 1: pass\n{child}") as first,
    ):
        while not first.children():
            time.sleep(0.02)
        (second,) = first.children()
        until_used(second, 0.5)
        waits_s = run_delay_s(first.pid), run_delay_s(second.pid)
        assert min(waits_s) > 0.1
        assert watch.waited_s() >= sum(waits_s)


def test_what_our_own_processes_use_is_not_taken_by_others() -> None:
    before_s, watch = machine_s(), Watch([psutil.Process()])  # a moment earlier: it bounds the watch from above
    with ours(COMPUTE) as one, ours(COMPUTE) as two:
        until_used(one, 1.0)
        until_used(two, 1.0)
        ours_s = used_s(one) + used_s(two)
        taken_s = watch.taken_s()
        assert taken_s <= machine_s() - before_s - ours_s + NOISE_S


def test_what_ended_meanwhile_was_ours_too() -> None:
    before_s, watch = machine_s(), Watch([psutil.Process()])
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 1.5: pass"], check=True)
    taken_s = watch.taken_s()
    assert taken_s <= machine_s() - before_s - 1.5 + NOISE_S


def test_what_a_process_used_before_is_not_counted_when_it_ends() -> None:
    with ours(COMPUTE) as process:
        until_used(process, 2.0)
        watch, before_s = Watch([psutil.Process()]), machine_s()
    with somebody_else() as other:
        until_used(other, 1.0)
        busy_s = machine_s() - before_s
        assert watch.taken_s() >= min(1.0, busy_s) - NOISE_S

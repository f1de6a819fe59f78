"""On which devices a network learns, and in which precision: Lightning Fabric behind two settings (decision 0221).

Several devices learn from each batch together: every one takes its share of the images, and their gradients are
averaged (DistributedDataParallel: Li et al. 2020, VLDB 13). Each is a process of its own; without a GPU a "device" is a
process with its share of the cores.

Importing Fabric takes seconds: this module is imported where a network is about to learn.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from threading import Thread
from typing import Any, Final, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.distributed import DistError
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from protos.cores import cores
from training.errors import SettingWrong, TrainingRefused
from training.fitting.tuning import AS_SUITS, BFLOAT16, FLOAT32, Tuning

Progress = Callable[[int, int], None]
_CUDA: Final = "cuda"
# How long devices wait for each other: the first one looks at all photographs while the others have nothing to do.
_WAIT_MAX: Final = timedelta(days=1)
# Where groups of processes are told of each other. What a cluster or an earlier training left there is for others.
_ADDRESSES: Final = ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets on standard error, from every process


class Work(Protocol):
    """Runs on every device alike, with that device's Fabric; what the first one returns counts."""

    def __call__(self, fabric: Fabric, progress: Progress | None) -> bytes: ...


def check(tuning: Tuning) -> None:
    """Raises SettingWrong where this machine has fewer devices."""
    if torch.cuda.is_available():
        there, what = torch.cuda.device_count(), "GPUs"
    else:
        there, what = cores(), "cores, and no GPU"
    if tuning.devices > there:
        raise SettingWrong(f"tuning.devices is {tuning.devices}, but here are {there} {what}: choose 1 to {there}")


def learn(tuning: Tuning, work: Work, *, progress: Progress | None) -> bytes:
    """Run `work` on the tuning's devices.

    work: picklable where there are several devices, and so is whatever it raises.
    Raises SettingWrong as `check`, whatever the work raises, and TrainingRefused where one of several processes is
    killed.
    """
    check(tuning)
    fabric = _fabric_of(tuning)
    if tuning.devices == 1:
        return work(fabric, progress)
    told = _Told(progress)
    listening = Thread(target=told.listen, name="devices", daemon=True)
    listening.start()
    try:
        with _own_addresses():
            fabric.launch(partial(_on_one, work=work, relay=told.relay))
    except ProcessExitedException as died:
        raise _lost(tuning, f"one was ended by {died.signal_name or f'code {died.exit_code}'}") from None
    except ProcessRaisedException:
        told.end(listening)
        if told.error is None:
            raise _lost(tuning, "one lost the others") from None
        raise told.error from None
    told.end(listening)
    assert told.result is not None
    return told.result


@contextmanager
def _own_addresses() -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in _ADDRESSES if name in os.environ}
    try:
        yield
    finally:
        for name in _ADDRESSES:
            os.environ.pop(name, None)
        os.environ.update(before)


def _fabric_of(tuning: Tuning) -> Fabric:
    accelerator = _CUDA if torch.cuda.is_available() else "cpu"
    precision = tuning.precision
    if precision == AS_SUITS:  # on most CPUs bfloat16 is slower than float32
        precision = BFLOAT16 if accelerator == _CUDA else FLOAT32
    several = DDPStrategy(start_method="spawn", timeout=_WAIT_MAX)
    return Fabric(
        accelerator=accelerator,
        devices=tuning.devices,
        strategy=several if tuning.devices > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]  # one of those it knows: the recipe is checked
        plugins=[LightningEnvironment()],  # one machine, whatever a cluster's variables say
    )


def _on_one(fabric: Fabric, work: Work, relay: Any) -> None:
    if fabric.device.type == "cpu":
        torch.set_num_threads(max(1, cores() // fabric.world_size))
    first = fabric.is_global_zero

    def tell(done: int, total: int) -> None:
        relay.put((done, total))

    try:
        result = work(fabric, tell if first else None)
    except Exception as error:
        if not _is_of_another(error):
            relay.put(error)
        raise
    if first:
        relay.put(result)


class _Told:
    """What the processes say to the one that started them, while it waits for their end."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.relay = get_context("spawn").SimpleQueue()
        self.result: bytes | None = None
        self.error: Exception | None = None

    def listen(self) -> None:
        while (message := self.relay.get()) is not None:
            match message:
                case bytes():
                    self.result = message
                case Exception():
                    self.error = self.error or message
                case (done, total) if self._progress is not None:
                    self._progress(done, total)

    def end(self, listening: Thread) -> None:
        """Read what is still on the way. Not after a process was killed, who may have left half a message."""
        self.relay.put(None)
        listening.join()


def _is_of_another(error: Exception) -> bool:
    """Whether it says no more than that another device is gone. Gloo has no kind of error of its own."""
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def _lost(tuning: Tuning, why: str) -> TrainingRefused:
    return TrainingRefused(
        f"of {tuning.devices} processes that learn together {why}: start the same training again, it goes on after its "
        f"last whole epoch"
    )

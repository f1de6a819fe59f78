"""A pool of decoder processes: hostile bytes meet C code there, never here.

Each process takes one job at a time and is replaced when it crashes, hangs or runs past
its CPU time, so that a hostile file takes down only itself. When a process dies for a
reason that may lie elsewhere (the machine stalled), the photograph is blamed only when a
second process dies of it too, and never for two that somebody killed.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway import errors
from gateway.intake.formats import Header
from gateway.intake.quality import Quality
from gateway.intake.wire import JOB, OPENED, READY, REPLY, SHARED_BYTES, Kind, Status

_log = structlog.get_logger(__name__)
_ROOT: Final = str(Path(__file__).resolve().parents[2])
_START_S_MAX: Final = 60.0
_RESTART_PAUSE_S: Final = 1.0  # when the system cannot start a process at all
_REPLY_BYTES_MAX: Final = 64 * 2**20
_CHUNK_BYTES: Final = 256 * 1024
# glibc gives a picture's megabytes back after every photograph and takes them anew: 330 page
# faults, up to 1 ms of a decoder's 3. Kept are so many bytes at most; a larger picture's go back.
_KEPT_BYTES: Final = 16 * 2**20
_KEEPS_MEMORY: Final = {"MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES), "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES)}
_TRIES: Final = 2
_STATUS_OF: Final = {status.value: status for status in Status}


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    workers: int = 2
    job_cpu_s_max: float = 2.0  # of one job; a 48-megapixel PNG takes about one second
    job_s_max: float = 10.0  # wall clock: a process that neither works nor answers is hung


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoder made of one photograph: upright sRGB at the model's size, and measurements."""

    pixels: NDArray[np.uint8]  # [height, width, 3]
    source_px: tuple[int, int]  # (width, height) upright, before scaling
    quality: Quality


class _Death(Enum):
    """How a decoder ended that had a job."""

    KILLED = "killed"  # by somebody else: no limit of ours and no fault of a decoder sends that signal
    PERHAPS_OF_IT = "perhaps of it"  # it crashed, hung or spoke nonsense


class _Nonsense(Exception):
    """A decoder answered outside the protocol."""


class DecoderBroken(Exception):
    """A decoder failed at a job of our own making. Our fault, not the photograph's."""


class Decoders:
    """The pool. Use as an async context manager; every process ends with it."""

    def __init__(self, settings: DecoderSettings) -> None:
        self._settings = settings
        self._idle: asyncio.LifoQueue[_Decoder] = asyncio.LifoQueue()  # the warmest first
        self._all: list[_Decoder] = []
        self._tasks = asyncio.TaskGroup()
        self._closing = asyncio.Event()
        self.restarts = 0

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        try:
            started = await asyncio.gather(
                *(_Decoder.start(self._settings) for _ in range(self._settings.workers)), return_exceptions=True
            )
            for decoder in started:
                if isinstance(decoder, _Decoder):
                    self._add(decoder)
            failed = next((failure for failure in started if isinstance(failure, BaseException)), None)
            if failed is not None:
                raise failed
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for decoder in self._all:
            decoder.kill()
        # Without the error: it is the caller's, who should not find it in an ExceptionGroup.
        await self._tasks.__aexit__(None, None, None)
        for decoder in self._all:
            await decoder.wait()

    @property
    def busy(self) -> int:
        return self._settings.workers - self._idle.qsize()

    def pids(self) -> list[int]:
        return [decoder.pid for decoder in self._all]

    async def open(self, photo: bytes | memoryview, header: Header, *, size_px: tuple[int, int]) -> Decoded:
        """Decode a photograph whose header passed. size_px: (width, height) of the model's input.

        Raises PhotoCorrupt when the pixels do not keep what the header promises,
        PhotoTooCostly past the time or the memory of a decoder, BackendUnavailable where decoders are being killed.
        """
        job = JOB.pack(Kind.OPEN, header.format, header.width_px, header.height_px, *size_px, 0, 0, len(photo))
        status, reply = await self._answer(job, photo)
        if status is not Status.OK:
            raise _blame(status)
        width_px, height_px, *figures = OPENED.unpack_from(reply)
        pixels = np.frombuffer(reply, np.uint8, offset=OPENED.size).reshape(size_px[1], size_px[0], 3)
        return Decoded(pixels, (width_px, height_px), Quality(*figures))

    async def overlay(self, pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> bytes:
        """A PNG of the heat map [rows, columns] over the pixels [height, width, 3]."""
        payload = heat.astype("<f4").tobytes() + pixels.tobytes()
        return await self._draw(Kind.OVERLAY, pixels, heat.shape[0], heat.shape[1], payload)

    async def png(self, pixels: NDArray[np.uint8]) -> bytes:
        """The pixels [height, width, 3] as a PNG without metadata."""
        return await self._draw(Kind.PNG, pixels, 0, 0, pixels.tobytes())

    async def _draw(self, kind: Kind, pixels: NDArray[np.uint8], rows: int, columns: int, payload: bytes) -> bytes:
        height_px, width_px = pixels.shape[:2]
        job = JOB.pack(kind, 0, 0, 0, width_px, height_px, rows, columns, len(payload))
        status, reply = await self._answer(job, payload)
        if status is not Status.OK:
            raise DecoderBroken(reply.decode("ascii", "replace"))
        return reply

    async def _answer(self, job: bytes, payload: bytes | memoryview) -> tuple[Status, bytes]:
        deaths = set()
        for _ in range(_TRIES):
            decoder = await self._idle.get()
            # A caller that leaves must not cost a process: its job is finished, within its time.
            outcome = await asyncio.shield(self._tasks.create_task(self._work(decoder, job, payload)))
            if not isinstance(outcome, _Death):
                return outcome
            deaths.add(outcome)
        if deaths == {_Death.KILLED}:
            raise errors.BackendUnavailable("the processes that open photographs are being killed")
        return Status.TOO_COSTLY, b"died"

    async def _work(self, decoder: _Decoder, job: bytes, payload: bytes | memoryview) -> tuple[Status, bytes] | _Death:
        """One job on one decoder, which is put back or replaced."""
        outcome: tuple[Status, bytes] | _Death
        try:
            async with asyncio.timeout(self._settings.job_s_max):
                outcome = await decoder.do(job, payload)
        except (EOFError, OSError, RuntimeError, _Nonsense) as error:  # a TimeoutError is an OSError
            decoder.kill()  # also one that hangs, or lives on and speaks nonsense
            exit_status = await decoder.wait()
            if exit_status == -signal.SIGPROF:
                outcome = Status.TOO_COSTLY, b"time"
            elif exit_status == -signal.SIGKILL and not isinstance(error, TimeoutError | _Nonsense):
                outcome = _Death.KILLED
            else:
                outcome = _Death.PERHAPS_OF_IT
            _log.warning("decoder_died", why=type(error).__name__, exit_status=exit_status)
        if decoder.between_jobs:
            self._idle.put_nowait(decoder)
        else:
            decoder.kill()
            self._tasks.create_task(self._replace(decoder))
        return outcome

    async def _replace(self, old: _Decoder) -> None:
        await old.wait()
        self._all.remove(old)
        fresh = await self._fresh()
        if fresh is not None:
            self.restarts += 1
            self._add(fresh)

    async def _fresh(self) -> _Decoder | None:
        """A new process, however long it takes to get one; None when the pool closes meanwhile."""
        while not self._closing.is_set():
            try:
                fresh = await _Decoder.start(self._settings)
            except OSError as error:
                _log.error("decoder_not_started", why=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_RESTART_PAUSE_S):
                        await self._closing.wait()
                continue
            if self._closing.is_set():
                fresh.kill()
                await fresh.wait()
                return None
            return fresh
        return None

    def _add(self, decoder: _Decoder) -> None:
        self._all.append(decoder)
        self._idle.put_nowait(decoder)


def _blame(status: Status) -> errors.PhotoRefused:
    if status is Status.TOO_COSTLY:
        return errors.PhotoTooCostly(
            "decoding the photograph ran past its time or memory", wanted="send a smaller photograph"
        )
    return errors.PhotoCorrupt(
        "the photograph is damaged or cut off", wanted="send the whole file, export it again or take a new one"
    )


class _Decoder:
    """One process and whether it stands between two jobs."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        reading: asyncio.BaseTransport,
        memory: mmap.mmap,
    ) -> None:
        self._process, self._memory = process, memory
        self._stdin, self._stdout, self._reading = stdin, stdout, reading
        self.between_jobs = True

    @classmethod
    async def start(cls, settings: DecoderSettings) -> _Decoder:
        """Raises OSError when no decoder comes up: a ChildProcessError, which says how it ended, or a TimeoutError."""
        shared = shared_memory()
        try:
            memory = mmap.mmap(shared, SHARED_BYTES)
            process = _started(shared, settings)
        finally:
            os.close(shared)
        try:
            decoder = cls(process, *await _pipes(process), memory)
        except BaseException:
            process.kill()
            process.wait()
            raise
        try:
            async with asyncio.timeout(_START_S_MAX):
                said = await decoder._stdout.read(1)
                if said != READY:
                    how = "said something else than that it is ready" if said else _ended(await decoder.wait())
                    raise ChildProcessError(f"a process that opens photographs {how}")
        except BaseException:
            decoder.kill()
            await decoder.wait()
            raise
        return decoder

    @property
    def pid(self) -> int:
        return self._process.pid

    async def do(self, job: bytes, payload: bytes | memoryview) -> tuple[Status, bytes]:
        """Raises EOFError or OSError when the process dies, _Nonsense when it answers outside the protocol.

        RuntimeError is uvloop's for what is written to a process that has ended: one may end between two jobs.
        """
        self.between_jobs = False
        if len(payload) <= SHARED_BYTES:
            self._memory[: len(payload)] = payload
            self._stdin.write(job)
        else:
            await self._send(job, memoryview(payload))
        number, length = REPLY.unpack(await self._stdout.readexactly(REPLY.size))
        status = _STATUS_OF.get(number)
        if status is None or length > _REPLY_BYTES_MAX:
            raise _Nonsense(f"status {number}, {length} bytes")
        reply = self._memory[:length] if length <= SHARED_BYTES else await self._stdout.readexactly(length)
        self.between_jobs = True
        return status, reply

    async def _send(self, job: bytes, payload: memoryview) -> None:
        self._stdin.write(job)
        for at in range(0, len(payload), _CHUNK_BYTES):  # in one piece the transport would copy all of it
            self._stdin.write(payload[at : at + _CHUNK_BYTES])
            await self._stdin.drain()

    def kill(self) -> None:
        self._process.kill()  # nothing where it was waited for

    async def wait(self) -> int:
        """How it ended, which it has or does by now: it was killed, or will say nothing more."""
        self._stdin.close()
        self._reading.close()
        return await asyncio.to_thread(self._process.wait)


def _started(shared: int, settings: DecoderSettings) -> subprocess.Popen[bytes]:
    """Not the loop's own way, which is uvloop's: a fork, and in the child what libraries have registered for one. With
    traces that starts threads there, in one of which a child has crashed (decision 0311). This one is a vfork, for
    which the loop stands still for less than a millisecond of a median.
    """
    program = (
        f"import sys; sys.path.insert(0, {_ROOT!r}); from gateway.intake.decoder_process import main; "
        f"main(shared={shared}, job_cpu_s_max={settings.job_cpu_s_max!r})"
    )
    # One thread: the pool is what runs in parallel, and idle BLAS threads cost memory.
    environment = {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **_KEEPS_MEMORY}
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return subprocess.Popen(
        # -I: neither the environment nor the current folder decides what a decoder imports.
        [sys.executable, "-I", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
        pass_fds=(shared,),
    )


async def _pipes(
    process: subprocess.Popen[bytes],
) -> tuple[asyncio.StreamWriter, asyncio.StreamReader, asyncio.BaseTransport]:
    """Its standard input and output as streams of the running loop, and what closes the second."""
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
    # Of a protocol that is for reading: what holds a writer back is all that is used.
    writing, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), process.stdin
    )
    return asyncio.StreamWriter(writing, protocol, None, loop), reader, reading


def _ended(exit_status: int) -> str:
    how = f"with status {exit_status}" if exit_status >= 0 else f"by signal {-exit_status}"
    return f"ended {how} before it was ready"


def shared_memory() -> int:
    """The descriptor of SHARED_BYTES of memory, sealed: cut short by a decoder it would end the gateway (SIGBUS)."""
    descriptor = os.memfd_create("amulet-photograph", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, SHARED_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor

"""`python -m gateway`: settings from the environment in, server up, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import resource
import signal
import sys
from typing import Final

import structlog

from gateway.journal.errors import JournalError
from gateway.server import Listening, run
from gateway.settings import Settings, SettingsWrong, read_settings
from gateway.telemetry import configure_logging

_log = structlog.get_logger(__name__)
# mallopt(3)
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
# Above a batch for the graph (1.2 MiB) and most photographs: their memory is used again at once
# (decision 0127).
_MAPPED_BYTES_MIN: Final = 4 * 2**20
WRONG_USE = 2
FAILED = 1


def main() -> int:
    """Exit status: 0 after a clean stop, 1 when it could not start, 2 for a wrong setting."""
    os.umask(0o077)
    _give_memory_back()
    try:
        settings = read_settings(os.environ)
        configure_logging(form=settings.log_format, level=settings.log_level)
        _let_open(settings.descriptors)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings))
    except SettingsWrong as error:
        print(f"gateway: {error}", file=sys.stderr)
        return WRONG_USE
    except (JournalError, OSError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return FAILED
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop=stop, on_listening=lambda listening: _announce(settings, listening))
    _log.info("stopped")


def _announce(settings: Settings, listening: Listening) -> None:
    # Modules and settings stay until the end: a full collection that walks them all is 100 ms that some call waits.
    gc.collect()
    gc.freeze()
    _log.info(
        "listening",
        grpc=settings.gateway_listen,
        grpc_port=listening.grpc_port,
        ops=settings.gateway_ops_listen,
        ops_port=listening.ops_port,
        tls=not settings.insecure,
    )


def _give_memory_back() -> None:
    """Let what a large message took go back to the system with it.

    By itself glibc takes blocks of up to 32 MiB out of its heaps once it has freed one of that size, and keeps a heap
    for each of gRPC's threads: after a flood of large photographs hundreds of megabytes stayed behind.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # elsewhere than in glibc there is none, and no such heaps
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES_MIN)
        mallopt(_M_ARENA_MAX, 2)


def _let_open(descriptors: int) -> None:
    """Raise the limit on open files that a shell or a unit set low, which may be had for the asking.

    No further than is needed: where the harder one is a thousand million, what closes every number takes seconds.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < descriptors:  # that the harder one suffices is among the settings
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed: the same behaviour at less CPU time a call."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


if __name__ == "__main__":
    sys.exit(main())

"""A decoder: one job in, one reply out, in a process that is given nothing else.

Started by `decoders` and never imported by the gateway. It has nothing of the gateway's
environment, no file it may write into, a bound on its address space and on the CPU time of each
job, and ends when its standard input does, so that none outlives its gateway. It needs no
network, but nothing keeps it from one: a parser that was taken over can open sockets and read
files as the gateway's user (decision 0050).
"""

from __future__ import annotations

import io
import mmap
import os
import resource
import signal
import sys
from typing import BinaryIO, Final

import numpy as np
from PIL import Image, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin

from gateway.intake.overlay import overlay_png
from gateway.intake.pixels import RAW, Opened, open_photo
from gateway.intake.wire import JOB, OPENED, READY, REPLY, SHARED_BYTES, Kind, Status

# 50 megapixels as RGBA, turned and converted, are 600 MB on top of the interpreter's own.
ADDRESS_SPACE_BYTES: Final = 1280 * 2**20
# Imported before the limits, so that no job has to; a phone's two-picture JPEG is an MPO.
_PARSERS: Final = (JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)
_FORMAT_NAMES: Final = {1: "JPEG", 2: "PNG", 3: "WEBP", 4: RAW}


def main(*, shared: int, job_cpu_s_max: float) -> None:
    """shared: descriptor of the memory that the gateway shares, SHARED_BYTES long.

    job_cpu_s_max: past this CPU time in one job the kernel ends the process, whatever C code it is stuck in.

    CPU time and not the wall clock: a photograph is not to blame for a busy machine.
    """
    jobs, replies = sys.stdin.buffer, sys.stdout.buffer
    memory = mmap.mmap(shared, SHARED_BYTES)
    os.close(shared)
    confine()
    replies.write(READY)
    replies.flush()
    while len(head := jobs.read(JOB.size)) == JOB.size:
        signal.setitimer(signal.ITIMER_PROF, job_cpu_s_max)  # SIGPROF, of which nobody takes care, ends us
        answer_one(head, jobs, replies, memory)
        signal.setitimer(signal.ITIMER_PROF, 0)


def confine() -> None:
    """Give up for good what a decoder does not need."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))


def answer_one(head: bytes, jobs: BinaryIO, replies: BinaryIO, memory: mmap.mmap) -> None:
    kind, photo_format, width_px, height_px, out_width, out_height, rows, columns, length = JOB.unpack(head)
    payload = memory[:length] if length <= SHARED_BYTES else jobs.read(length)
    if len(payload) < length:
        return  # the gateway is gone
    status: Status = Status.OK
    answer: tuple[bytes | memoryview, ...]
    try:
        if kind == Kind.OPEN:
            opened = open_photo(
                payload,
                format_name=_FORMAT_NAMES[photo_format],
                claimed_px=(width_px, height_px),
                size_px=(out_width, out_height),
            )
            answer = _opened(opened)
        elif kind == Kind.OVERLAY:
            heat = np.frombuffer(payload, "<f4", rows * columns).reshape(rows, columns)
            pixels = np.frombuffer(payload, np.uint8, offset=4 * rows * columns).reshape(out_height, out_width, 3)
            answer = (overlay_png(pixels, heat),)
        else:
            pixels = np.frombuffer(payload, np.uint8).reshape(out_height, out_width, 3)
            answer = (_png(pixels),)
    except MemoryError:
        status, answer = Status.TOO_COSTLY, (b"MemoryError",)
    except Exception as error:
        # Pillow's parsers raise nearly every built-in error on bad bytes (OSError, SyntaxError,
        # ValueError, NotImplementedError, OverflowError, bombs, struct.error, IndexError...).
        status = Status.CORRUPT if kind == Kind.OPEN else Status.BROKEN
        answer = (type(error).__name__.encode(),)
    del payload
    size = sum(map(len, answer))
    if size <= SHARED_BYTES:
        at = 0
        for part in answer:
            memory[at : at + len(part)] = part
            at += len(part)
        answer = ()
    replies.write(REPLY.pack(status, size))
    replies.writelines(answer)
    replies.flush()


def _opened(opened: Opened) -> tuple[bytes, memoryview]:
    quality = opened.quality
    return (
        OPENED.pack(
            *opened.source_px,
            quality.sharpness_var,
            quality.brightness_ratio,
            quality.contrast_ratio,
            quality.clipped_dark_ratio,
            quality.clipped_bright_ratio,
        ),
        np.ascontiguousarray(opened.pixels).data.cast("B"),
    )


def _png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()

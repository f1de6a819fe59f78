"""The machine: memory, shared memory, disk, limits of a process, the clock, ports."""

from __future__ import annotations

import errno
import math
import os
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from cli import supervision
from cli.checks.finding import Finding, right, wrong
from cli.layout import HOST, Layout
from cli.leftovers import leftovers
from protos.cores import memory_free_bytes

DISK_FREE_GIB_MIN: Final = 2.0
TEMPORARY_FREE_MIB_MIN: Final = 64.0
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- the place itself is what is looked at
SHARED_FREE_MIB_MIN: Final = 8.0
MEMORY_MIB_MIN: Final = 1200.0  # a stack with one version takes 1 GiB
DESCRIPTORS_MIN: Final = 1024  # the supervisor refuses below
PROCESSES_MIN: Final = 400  # Java alone has some 80 threads, and threads count
FILE_GIB_MIN: Final = 4  # logs and archives are smaller, the database may grow
ADDRESSES_GIB_MIN: Final = 16  # training maps 5, Java 4
CLOCK_AHEAD_S_MAX: Final = 300.0
CONNECT_S_MAX: Final = 5.0
# It is the harder limit, which nobody but the administrator raises.
_RAISED: Final = (
    "`{} 4096` in the shell that starts the stack, or `{}` in /etc/security/limits.conf or `{}=` of its unit"
)


def machine(layout: Layout) -> Iterator[Finding]:
    yield memory(psutil.virtual_memory().available / 2**20, memory_free_bytes())
    yield shared_memory(SHARED_MEMORY)
    yield disk(layout)
    yield temporary_folder()
    yield from limits()
    yield loopback()
    yield clock(layout, time.time())
    yield ports(layout)


def memory(available_mib: float, group_bytes: int | None) -> Finding:
    """group_bytes: what the control group of this process leaves it; None: all that the machine has."""
    group_mib = math.inf if group_bytes is None else group_bytes / 2**20
    found = f"{min(available_mib, group_mib):.0f} MiB available"
    if min(available_mib, group_mib) >= MEMORY_MIB_MIN:
        return right("memory", found)
    if group_mib < available_mib:
        mend = "a stack needs about 1 GiB: raise the limit (`--memory` of the container, `MemoryMax=` of the unit)"
        return wrong("memory", f"{found} in this control group, of {available_mib:.0f} MiB on the machine", mend)
    return wrong("memory", found, "a stack needs about 1 GiB: close something")


def shared_memory(place: Path) -> Finding:
    """Processes that work together lock through it."""
    mend = f"mount it: `mount -t tmpfs -o size=64m tmpfs {place}`; in a container, `--shm-size 64m`"
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            pass
    except OSError as error:
        return wrong("shared memory", f"{place} cannot be written to: {error.strerror}", mend)
    free_mib = shutil.disk_usage(place).free / 2**20
    if free_mib < SHARED_FREE_MIB_MIN:
        return wrong("shared memory", f"{free_mib:.0f} MiB free in {place}", f"empty it, or enlarge it; {mend}")
    return right("shared memory", f"{free_mib:.0f} MiB free in {place}")


def disk(layout: Layout, *, least_gib: float = DISK_FREE_GIB_MIN) -> Finding:
    folder = next(path for path in (layout.state, *layout.state.parents) if path.exists())
    free_gib = shutil.disk_usage(folder).free / 2**30
    found = f"{free_gib:.1f} GiB free under {folder}"
    if free_gib >= least_gib:
        return right("disk", found)
    return wrong("disk", found, f"free at least {least_gib:.0f} GiB, or choose another --state")


def temporary_folder() -> Finding:
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError as error:  # none of the usual places can be written to
        return wrong("temporary folder", str(error.strerror or error), "set TMPDIR to a folder that you may write to")
    free_mib = shutil.disk_usage(folder).free / 2**20
    if free_mib < TEMPORARY_FREE_MIB_MIN:
        return wrong("temporary folder", f"{free_mib:.0f} MiB free in {folder}", "make room, or set TMPDIR elsewhere")
    return right("temporary folder", f"{folder}, {free_mib / 1024:.1f} GiB free")


def limits() -> Iterator[Finding]:
    """What the shell lets a process have: the harder limit, up to which the supervisor raises the softer one."""
    for name, limit, least, mend in (
        ("open files", resource.RLIMIT_NOFILE, DESCRIPTORS_MIN, _RAISED.format("ulimit -n", "nofile", "LimitNOFILE")),
        ("processes", resource.RLIMIT_NPROC, PROCESSES_MIN, _RAISED.format("ulimit -u", "nproc", "LimitNPROC")),
    ):
        _, hard = resource.getrlimit(limit)
        free = hard == resource.RLIM_INFINITY or (limit == resource.RLIMIT_NPROC and os.geteuid() == 0)
        if not free and hard < least:
            yield wrong(name, f"at most {hard}, and a stack needs {least}", mend)
        else:
            yield right(name, "no limit" if free else f"up to {hard}")
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    address, _ = resource.getrlimit(resource.RLIMIT_AS)
    if size != resource.RLIM_INFINITY and size < FILE_GIB_MIN * 2**30:
        yield wrong("file size", f"at most {size / 2**20:.0f} MiB a file", "`ulimit -f unlimited`")
    if address != resource.RLIM_INFINITY and address < ADDRESSES_GIB_MIN * 2**30:
        yield wrong("address space", f"at most {address / 2**20:.0f} MiB a process", "`ulimit -v unlimited`")


def loopback() -> Finding:
    """Where the parts of a stack meet, and TorchServe listens alone; a network of one's own begins without it."""
    try:
        # To listen is allowed though nobody can connect.
        with socket.create_server((HOST, 0)) as probe, socket.create_connection(probe.getsockname(), CONNECT_S_MAX):
            pass
    except OSError as error:
        mend = f"`ip link set lo up`, and `ip addr add {HOST}/8 dev lo` where it has no such address"
        why = os.strerror(error.errno) if error.errno else error
        return wrong("loopback", f"{HOST} does not lead to this machine itself: {why}", mend)
    return right("loopback", HOST)


def clock(layout: Layout, now_s: float) -> Finding:
    """Whether the clock was set back: the folder then holds files of the future."""
    mend = "set the clock right (`timedatectl set-ntp true`): tokens, certificates and due dates go by it"
    told = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(now_s))
    for path in (layout.record, layout.logs, layout.secrets, layout.tls / "server.pem", Path(__file__)):
        if path.exists() and path.stat().st_mtime > now_s + CLOCK_AHEAD_S_MAX:
            written = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
            return wrong("clock", f"{told}, but {path} was written at {written}", mend)
    return right("clock", told)


def ports(layout: Layout) -> Finding:
    if supervision.pid(layout) is not None:
        return right("ports", "held by this stack")
    taken = taken_ports(layout)
    if not taken:
        return right("ports", "all free")
    names = ", ".join(f"{port} ({name})" for name, port in taken.items())
    if left := leftovers(layout):
        found = f"held by {len(left)} programs of this stack whose supervisor is gone: {names}"
        return wrong("ports", found, "`amulet up` stops them and starts the stack anew, `amulet down` stops them")
    return wrong("ports", f"taken: {names}", "stop what listens there, or choose another --port-offset")


def taken_ports(layout: Layout) -> dict[str, int]:
    """Ports of the stack on which something listens, by the name of what wants them."""
    try:
        listens = layout.listens()
    except ValueError:  # an address that is none is found among the settings
        return {}
    return {name: port for name, (host, port) in listens.items() if _is_bound(host, port)}


def _is_bound(host: str, port: int) -> bool:
    """Whether something else has the port; a connection that waits out its end does not count."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:  # a host that is none of this machine's is said by whoever cannot listen there
        return error.errno == errno.EADDRINUSE
    return False

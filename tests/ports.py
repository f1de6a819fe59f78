"""Ports for processes that tests start, kill and start again: free, and nobody else's meanwhile.

A port that was free a moment ago is not ours yet: a test process beside us may choose it before
our server listens, or while a server that we killed is coming back. So each is also claimed, by
a lock on the byte of its number in one file that all test processes of this machine share; the
lock goes with the process. And none is one that the system gives to outgoing connections.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from functools import cache
from pathlib import Path
from random import SystemRandom
from typing import Final

from cli.layout import HOST, Ports

_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_OFFSET_MIN: Final = 1000
_ours: set[int] = set()  # locks of one process do not keep it from itself


def free_offset() -> int:
    """An offset of a stack whose every port is free, and this process's until it ends."""
    highest = max(Ports(0).all().values())
    first_ephemeral = int(_EPHEMERAL.read_text().split()[0])
    random = SystemRandom()
    for _ in range(500):
        offset = random.randrange(_OFFSET_MIN, first_ephemeral - highest)
        if _claim(set(Ports(offset).all().values())):
            return offset
    raise AssertionError("no free ports")


def free_ports(count: int) -> list[int]:
    """Ports of servers that are no part of a stack, free and this process's until it ends."""
    first_ephemeral = int(_EPHEMERAL.read_text().split()[0])
    random = SystemRandom()
    for _ in range(500):
        ports = random.sample(range(10_000, first_ephemeral), count)
        if _claim(set(ports)):
            return ports
    raise AssertionError("no free ports")


def _claim(ports: set[int]) -> bool:
    claimed: list[int] = []
    for port in ports:
        if port in _ours or not _lock(port):
            break
        claimed.append(port)
        if not _free(port):
            break
    else:
        _ours.update(ports)
        return True
    for port in claimed:
        fcntl.lockf(_claims(), fcntl.LOCK_UN, 1, port)
    return False


def _lock(port: int) -> bool:
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _claims() -> int:
    """The descriptor stays open: closing it would give every lock back."""
    path = Path(tempfile.gettempdir(), f"amulet-test-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True

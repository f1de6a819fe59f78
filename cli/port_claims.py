"""The ports of a stack, held against every other `amulet up` of this machine until its programs listen.

That a port is free is true for a moment: two starts on one range, in two folders, both found it so. Each then had
some of the ports, a gateway of one asked the console of the other, and neither ever became ready.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager


class PortClaimed(Exception):
    """Another start holds a port: its name and number."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(f"{port} ({name})")


@contextmanager
def claimed(ports: Mapping[str, int]) -> Iterator[None]:
    """While inside, nobody else of this machine claims one of them. Raises PortClaimed.

    A claim is a socket with an abstract name: any user's is seen, none is left when its process is killed, and it
    reaches as far as the ports do, which is one network namespace. Only Linux has such names; elsewhere none is held.
    """
    with ExitStack() as held:
        # Two of one stack may have one port, each at an address of its own.
        once = {port: name for name, port in ports.items()}
        for port, name in once.items() if sys.platform == "linux" else ():
            claim = held.enter_context(socket.socket(socket.AF_UNIX))
            try:
                claim.bind(f"\0amulet up, port {port}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                raise PortClaimed(name, port) from None
        yield

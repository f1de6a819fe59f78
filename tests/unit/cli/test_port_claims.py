"""Ports are claimed against every other start of this machine, and by nobody who has ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.port_claims import PortClaimed, claimed
from tests.ports import free_ports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has sockets with abstract names")

HOLDS = """
import sys
from cli.port_claims import claimed
with claimed({"gateway": int(sys.argv[1])}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_port_is_claimed_once_and_free_again_afterwards() -> None:
    first, second = free_ports(2)
    with (
        claimed({"gateway": first, "console": second}),
        pytest.raises(PortClaimed, match=rf"^{second} \(console\)$"),
        claimed({"console": second}),
    ):
        pass
    with claimed({"console": second, "gateway": first}):
        pass


def test_one_stack_may_have_a_port_at_two_addresses() -> None:
    (port,) = free_ports(1)

    with claimed({"gateway": port, "gateway ops": port}), pytest.raises(PortClaimed), claimed({"console": port}):
        pass


def test_what_a_refused_start_had_claimed_so_far_is_let_go() -> None:
    first, second = free_ports(2)
    with claimed({"console": second}):
        with pytest.raises(PortClaimed), claimed({"gateway": first, "console": second}):
            pass
        with claimed({"gateway": first}):
            pass


def test_a_start_that_is_killed_holds_nothing() -> None:
    (port,) = free_ports(1)
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(port)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(PortClaimed), claimed({"gateway": port}):
            pass
        other.kill()
        other.wait()
        with claimed({"gateway": port}):
            pass

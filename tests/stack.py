"""A whole stack for tests, started and asked as its users do: with the `amulet` command.

stack = Stack.start(folder)               # every process real, on free ports, over tables made before
stack.serve(write_archive(...))           # pushed, approved by a second person, rolled out
answer = stack.predict(photo)
stack.stop()
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc

from cli import report, supervision
from cli.connection import ConsoleConnection
from cli.layout import Layout, Ports
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.environment import PREFIX
from tests import migrated, tiny_archive
from tests.console_ready import new_state
from tests.ports import free_offset

SETTLE_S_MAX: Final = 60.0
POLL_S: Final = 0.1
_HIRE: Final = """
import json
from console.staff.services import create_user
print(json.dumps({{role: create_user(name=f"the-{{role}}", role=role).token for role in {roles}}}))
"""
T = TypeVar("T")


class CommandFailed(AssertionError):
    """An `amulet` command ended with another status than 0."""


@dataclass(slots=True)
class Stack:
    layout: Layout
    variables: Mapping[str, str]  # settings beyond the defaults, as AMULET_… variables
    tokens: dict[str, str] = field(default_factory=dict)  # role -> API token of a member of staff
    key: str = ""
    python: str = sys.executable  # that runs the commands, and with them every process

    @classmethod
    def start(cls, folder: Path, *, variables: Mapping[str, str] | None = None, python: str = sys.executable) -> Stack:
        """Start every process and wait until each is ready."""
        stack = cls(Layout(folder.absolute(), Ports(free_offset())), variables or {}, python=python)
        stack._give_tables()
        stack.up()
        return stack

    def _give_tables(self) -> None:
        """Those that `amulet up` would make, whose own `migrate` then finds nothing to do: sixty migrations take longer
        than all else that it does before its first process. In an empty folder the demonstration makes them.
        """
        new_state(self.layout.state)
        migrated.give_tables(self.layout, supervision.environment(self.layout, self.variables))

    def up(self) -> None:
        self.amulet("up", "--detach", "--port-offset", str(self.layout.ports.offset))

    def stop(self) -> None:
        self.amulet("down")

    def amulet(self, *arguments: str, role: str | None = None, may_fail: bool = False) -> str:
        """Run one command against this stack; its stdout. Raises CommandFailed with its stderr."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment |= {**self.variables, "AMULET_STATE_DIR": str(self.layout.state)}
        if role is not None:
            environment["AMULET_CONSOLE_TOKEN"] = self.token(role)
        done = subprocess.run(
            [self.python, "-m", "cli.main", *arguments],
            env=environment,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != 0 and not may_fail:
            raise CommandFailed(f"amulet {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def token(self, role: str) -> str:
        """The API token of a member of staff with this role; created when first asked for."""
        if role not in self.tokens:
            made = json.loads(self.amulet("users", "create", f"the-{role}", "--role", role, "--json"))
            self.tokens[role] = made["token"]
        return self.tokens[role]

    def hire(self, *roles: str) -> None:
        """What `token` does for those of these roles whom nobody has asked for yet, in one process of the console."""
        missing = [role for role in roles if role not in self.tokens]
        if not missing:
            return
        outer = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment = supervision.environment(self.layout, {**outer, **self.variables})
        done = subprocess.run(
            [self.python, "-m", "console.manage", "shell", "--no-imports", "-c", _HIRE.format(roles=missing)],
            env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CommandFailed(f"hiring {missing}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        self.tokens |= json.loads(done.stdout.splitlines()[-1])

    def console(self, role: str = "administrator") -> ConsoleConnection:
        return ConsoleConnection(self.layout.console_url, self.token(role))

    def trust(self, public_key: Path) -> None:
        """Let the console accept archives signed with this key."""
        self.layout.trusted.mkdir(parents=True, exist_ok=True)
        shutil.copy(public_key, self.layout.trusted / f"{public_key.stem}.pem")

    def serve(self, archive: Path, *, version: str = tiny_archive.VERSION) -> None:
        """Push, approve as a second person, roll out; return when the gateway answers with it."""
        self.hire("model-engineer", "approver", "administrator")
        self.amulet("models", "push", str(archive), role="model-engineer")
        self.amulet("models", "approve", version, "--reason", "test", role="approver")
        self.amulet("models", "rollout", version, "--reason", "test", role="approver")
        until(lambda: any(each["version"] == version and each["ready"] for each in report.look(self.layout).models))

    def status(self) -> dict[str, Any]:
        """What the command says. Who asks again and again, or about processes alone, asks in this process."""
        told: dict[str, Any] = json.loads(self.amulet("status", "--json", may_fail=True))
        return told

    def new_key(self, name: str, *, calls_per_minute: int = 100_000) -> str:
        """A key that the gateway already accepts."""
        made = self.amulet(
            "keys", "create", "--name", name, "--calls-per-minute", str(calls_per_minute), "--json",
            role="administrator",
        )  # fmt: skip
        key = str(json.loads(made)["key"])
        with self.channel() as channel:
            models = rpc.PredictionServiceStub(channel).ListModels

            def accepted() -> bool:
                try:
                    models(pb.ListModelsRequest(), metadata=(("x-api-key", key),), timeout=5)
                except grpc.RpcError as error:
                    return error.code() not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)
                return True

            until(accepted)
        return key

    def channel(self) -> grpc.Channel:
        authority = (self.layout.tls / "ca.pem").read_bytes()
        return grpc.secure_channel(self.layout.gateway_address, grpc.ssl_channel_credentials(authority))

    def predict(self, photo: bytes, **fields: Any) -> pb.PredictResponse:
        """One call with this stack's own key. Raises grpc.RpcError as any client would see it."""
        self.key = self.key or self.new_key("tests")
        with self.channel() as channel:
            return rpc.PredictionServiceStub(channel).Predict(
                pb.PredictRequest(views=[pb.View(photo=photo)], **fields),
                metadata=(("x-api-key", self.key),),
                timeout=20,
            )

    def pids(self, name: str) -> list[int]:
        """Process ids of a supervised program, its own first."""
        return [
            each.pid
            for each in report.look(self.layout).processes
            if each.name == name or each.name.startswith(f"{name}/")
        ]


def until(condition: Callable[[], T], *, within_s: float = SETTLE_S_MAX) -> T:
    """Ask until the answer is true; that answer. Raises AssertionError when time is over."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(POLL_S)

"""A real console for tests: web, worker and keeper as processes, on one of three sets of servers.

with RunningConsole.start(folder, SETS["postgresql+redis"], torchserve_offset=0) as console:
    console.call("POST", "clients/", role="administrator", json={"name": "shop"})
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from typing import Any, Final, Self, TypeVar

import httpx
import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
import redis

from cli import supervision
from cli.layout import Layout, Ports
from tests import migrated, object_servers
from tests.console_ready import new_state

ROOT: Final = Path(__file__).parents[3]
START_S_MAX: Final = 180.0
_T = TypeVar("_T")


class RunningConsole:
    """The console's processes over one state folder. Ports are the stack's, with a free offset."""

    def __init__(self, state: Path, variables: Mapping[str, str], offset: int) -> None:
        self.layout = Layout(new_state(state), Ports(offset))
        self.environment = supervision.environment(self.layout, {**os.environ, **variables})
        self.tokens: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._http = httpx.Client(base_url=self.layout.console_url, timeout=60, trust_env=False)

    @classmethod
    @contextmanager
    def start(
        cls, state: Path, variables: Mapping[str, str], *, offset: int, programs: tuple[str, ...] = ("console",)
    ) -> Iterator[Self]:
        """Give it tables, start `programs` (names of `cli.supervision.programs`), wait until the console is ready."""
        console = cls(state, variables, offset)
        try:
            migrated.give_tables(console.layout, console.environment)
            migrated.give_files(console.layout)
            for name in programs:
                console.begin(name)
            yield console
        finally:
            for name in list(console.processes):
                console.end(name)
            console._http.close()

    def begin(self, name: str, command: Sequence[str] = ()) -> None:
        """Start one program; for the web process, wait until it is ready. command: for one that no stack has."""
        if not command:
            command = next(program.command for program in supervision.programs(self.layout) if program.name == name)
        with (self.layout.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )
        if name == "console":
            until(self._ready, within_s=START_S_MAX, what=lambda: self.log("console"))

    def end(self, name: str, *, kill: bool = False) -> None:
        """Stop one program and wait for its end."""
        process = self.processes.pop(name)
        if kill:
            process.kill()
        else:
            process.terminate()
        process.wait(120)

    def manage(self, *arguments: str) -> str:
        """Run one of Django's commands; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "console.manage", *arguments],
            env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def shell(self, code: str) -> Any:
        """What `answer` is after this code ran in a process of the console."""
        told = self.manage("shell", "--no-imports", "-c", f"{code}\nimport json\nprint(json.dumps(answer))")
        return json.loads(told.splitlines()[-1])

    def token(self, role: str) -> str:
        self.hire(role)
        return self.tokens[role]

    def hire(self, *roles: str) -> None:
        """Make a member of staff for each of these roles that has none yet, in one process."""
        missing = [role for role in roles if role not in self.tokens]
        if missing:
            self.tokens |= self.shell(
                "from console.staff.services import create_user\n"
                f"answer = {{role: create_user(name=f'the-{{role}}', role=role).token for role in {missing}}}"
            )

    def ask(self, method: str, path: str, *, role: str = "administrator", **options: Any) -> httpx.Response:
        """One REST call as a person with this role."""
        headers = {"Authorization": f"Token {self.token(role)}", **options.pop("headers", {})}
        return self._http.request(method, f"/api/v1/{path}", headers=headers, **options)

    def call(self, method: str, path: str, *, role: str = "administrator", **options: Any) -> Any:
        """One REST call that must succeed; its JSON."""
        answer = self.ask(method, path, role=role, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def internal(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One call as the gateway."""
        token = (self.layout.secrets / "control_token").read_text()
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return self._http.request(method, f"/internal/{path}", headers=headers, **options)

    def log(self, name: str) -> str:
        return (self.layout.logs / f"{name}.log").read_text()

    def _ready(self) -> bool:
        assert self.processes["console"].poll() is None, self.log("console")
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def until(condition: Callable[[], _T | None], *, within_s: float, what: Callable[[], str] = lambda: "") -> _T:
    """Ask until the answer is true; that answer. Fails the test when time is over."""
    begin_s = time.monotonic()
    while not (answer := condition()):
        assert time.monotonic() - begin_s < within_s, f"not within {within_s} s: {what()}"
        time.sleep(0.1)
    return answer


# Servers that one set of variables names; each is made for one run and taken away after it.


@contextmanager
def postgresql() -> Iterator[dict[str, str]]:
    """A database of its own, with every table of the console and no row."""
    try:
        migrated.connected().close()
    except psycopg2.OperationalError as error:
        why = " ".join(str(error).splitlines()[:1])
        pytest.skip(
            f"no PostgreSQL on 127.0.0.1:5432 that lets the user postgres in without a password ({why}): start one, as "
            "`docker run -d -e POSTGRES_HOST_AUTH_METHOD=trust -p 127.0.0.1:5432:5432 postgres:15` does"
        )
    with migrated.database() as url:
        yield {"AMULET_DATABASE_URL": url}


@contextmanager
def redis_server() -> Iterator[dict[str, str]]:
    """An empty one of Redis' numbered databases, as broker and cache."""
    for number in SystemRandom().sample(range(1, 16), 15):
        url = f"redis://127.0.0.1:6379/{number}"
        connection = redis.Redis.from_url(url, socket_connect_timeout=3)
        try:
            taken = not connection.set("amulet-test", os.getpid(), nx=True) or connection.dbsize() != 1
        except redis.ConnectionError:
            pytest.skip("no Redis on 127.0.0.1:6379: `redis-server --daemonize yes` starts one")
        if not taken:
            break
    else:
        pytest.skip("every numbered database of the Redis on 127.0.0.1:6379 is in use")
    try:
        yield {"AMULET_BROKER_URL": url, "AMULET_CACHE_URL": url}
    finally:
        connection.flushdb()
        connection.close()


@contextmanager
def rabbitmq() -> Iterator[dict[str, str]]:
    """A virtual host of its own, as broker."""
    control = shutil.which("rabbitmqctl")
    try:
        socket.create_connection(("127.0.0.1", 5672), timeout=3).close()
    except OSError:
        pytest.skip("no RabbitMQ on 127.0.0.1:5672: `rabbitmq-server -detached` starts one")
    if control is None:
        pytest.skip("rabbitmqctl is not on the path, and a virtual host of one's own needs it")
    name = f"amulet-test-{SystemRandom().getrandbits(48):012x}"
    made = subprocess.run([control, "add_vhost", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"rabbitmqctl may not add a virtual host here: {made.stderr.strip()}")
    try:
        subprocess.run(
            [control, "set_permissions", "-p", name, "guest", ".*", ".*", ".*"], capture_output=True, check=True
        )
        yield {"AMULET_BROKER_URL": f"amqp://guest:guest@127.0.0.1:5672/{name}"}
    finally:
        subprocess.run([control, "delete_vhost", name], capture_output=True, check=True)


@contextmanager
def bucket() -> Iterator[dict[str, str]]:
    """A bucket for kept photographs, on a server of its own."""
    with TemporaryDirectory() as folder, object_servers.rclone(Path(folder)) as server:
        yield server.variables


SETS: Final[Mapping[str, tuple[Callable[[], AbstractContextManager[dict[str, str]]], ...]]] = {
    "embedded": (lambda: nullcontext({}),),
    "postgresql+redis": (postgresql, redis_server),
    "postgresql+rabbitmq": (postgresql, rabbitmq, bucket),
}


@contextmanager
def servers(name: str) -> Iterator[dict[str, str]]:
    """The variables that name one set's servers."""
    with ExitStack() as stack:
        variables: dict[str, str] = {}
        for server in SETS[name]:
            variables |= stack.enter_context(server())
        yield variables

"""`amulet up`, `status`, `down` and `provision`: the whole platform on one machine, one folder of state."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click
import psutil

from cli import supervision
from cli.checks.copies import ORIGIN, copied, copies, origin
from cli.checks.delivery import delivery
from cli.checks.files import files
from cli.checks.finding import Misset
from cli.checks.holdings import unusable
from cli.checks.machine import limits, loopback, taken_ports
from cli.checks.servers import servers
from cli.checks.settings import settings
from cli.checks.storage import storage
from cli.checks.vault import vault
from cli.layout import PORT_OFFSET_MAX, Layout
from cli.leftovers import end, leftovers
from cli.port_claims import PortClaimed, claimed
from cli.provision import provision, write_whole
from cli.report import StackReport, is_being_started, look, not_supervised, processes_of, told
from cli.waiting import waiting
from gateway.journal.cursor import CURSOR_NAME

READY_S_MAX: Final = 120.0
STARTS_MAX: Final = 5  # of one program while the stack is waited for: what ends then will not stay by itself
STRAY_S_MAX: Final = 15.0  # beyond what each process has to end
POLL_S: Final = 0.25
STATE_DIR_DEFAULT: Final = ".amulet"
ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


class StackError(click.ClickException):
    """The stack could not be started, asked or stopped."""


class StackMisset(StackError):
    """A setting with which no stack can be started: wrong use, as a gateway or a console calls it by itself."""

    exit_code = 2


class StateFolder(click.Path):
    """A folder of state, there or to be made, that whoever asks may look into."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        folder = Path(os.fsdecode(super().convert(value, param, ctx)))
        for each in (*reversed(folder.absolute().parents), folder.absolute()):
            if not each.is_dir():  # nothing yet, or a file, which whoever makes the folder tells of
                break
            if not os.access(each, os.R_OK | os.X_OK if each == folder.absolute() else os.X_OK):
                owner, me = each.stat().st_uid, os.getuid()
                mend = f"`chown -R {me} {each}`, or start" if each == folder.absolute() else "start"
                closed = f"{each} belongs to user {owner} and is closed to user {me}"
                self.fail(f"{closed}: {mend} as user {owner}, or choose another --state", param, ctx)
        return folder


def state_option_for(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--state, with what the folder is for this command."""
    return click.option(
        "--state",
        type=StateFolder(),
        envvar="AMULET_STATE_DIR",
        default=STATE_DIR_DEFAULT,
        show_default=True,
        help=what,
    )


state_option = state_option_for("The folder that holds everything the stack keeps.")


@click.command(epilog="Example: amulet up --state ./demo --detach")
@state_option
@click.option("--detach", is_flag=True, help="Return when everything is ready; `amulet down` stops it.")
@click.option(
    "--port-offset",
    type=click.IntRange(0, PORT_OFFSET_MAX),
    help="Added to every port, so that two stacks stand side by side.  [default: as last time]",
)
@click.option("--moved", is_flag=True, help="The folder was moved here, and no stack of the other one will run.")
@click.option("--json", "as_json", is_flag=True, help="Print what `amulet status --json` prints.")
def up(state: Path, detach: bool, port_offset: int | None, moved: bool, as_json: bool) -> None:
    """Start TorchServe, gateway, console and its workers, and wait until each is ready."""
    layout = Layout.of(state, port_offset)
    ours = supervision.pid(layout) is None
    if ours:
        layout = layout.settled(os.environ)
    elif layout.places() != Layout.of(state).places() or layout.over(os.environ).places() != layout.places():
        raise StackError(
            f"the stack in {layout.state} already runs on other ports or in other folders: "
            f"`amulet down --state {state}` first"
        )
    else:  # or "Ready." would be said of programs that an upgrade or another setting never reached
        first = f"after an upgrade, or with other settings, `amulet down --state {state}` first."
        click.echo(f"The stack in {layout.state} runs already, and nothing is started anew: {first}", err=True)
    try:
        with interruptible(), ExitStack() as held:
            if ours:
                with masked():
                    _start(layout, held, moved=moved, quiet=as_json)
            report = _wait_until_ready(layout, quiet=as_json)
    except KeyboardInterrupt:
        if ours:
            click.echo("Stopping what was started …", err=True)
            with interrupts():
                stop(layout)
        raise
    click.echo(json.dumps(report.document(), ensure_ascii=False) if as_json else told(report, layout))
    if not detach:
        hold(layout)


@click.command(epilog="Example: amulet status --json | jq .ready")
@state_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, as described in the reference.")
def status(state: Path, as_json: bool) -> int:
    """Say what runs, where it listens and whether it is ready; exit 1 when it is not."""
    layout = Layout.of(state)
    report = look(layout)
    click.echo(json.dumps(report.document(), ensure_ascii=False) if as_json else told(report, layout))
    return 0 if report.ready else 1


@click.command(epilog="Example: amulet down --state ./demo")
@state_option
def down(state: Path) -> None:
    """Stop every process of the stack; what it keeps stays in its folder."""
    layout = Layout.of(state)
    if supervision.pid(layout) is None and is_being_started(layout):
        raise StackError(f"`amulet up` is starting the stack in {layout.state}: interrupt that, or wait for its end")
    with waiting("Stopping: the gateway finishes its calls, then the rest"):
        stopped = stop(layout)
    if not stopped:
        click.echo(f"Nothing runs in {layout.state}.", err=True)


@click.command("provision", epilog="Example: amulet provision --state deploy/compose/.amulet")
@state_option
def provision_only(state: Path) -> None:
    """Make the folder, its secrets and a development certificate, and start nothing: for containers and clusters."""
    layout = Layout.of(state)
    with masked(), _set_up(layout):
        provision(layout)
    click.echo(f"{layout.secrets} and {layout.tls} are made; a second call changes nothing.")


def stop(layout: Layout) -> bool:
    """Stop the stack and wait until its last process has ended; False when none ran."""
    supervisor = supervision.pid(layout)
    if supervisor is not None:
        family = processes_of(supervisor)
        supervision.stop(layout)
        each = sum(program.stop_s_max for program in supervision.programs(layout))  # one after the other
        _, alive = psutil.wait_procs(family, timeout=each + STRAY_S_MAX)
        for process in alive:  # a stray that ignored its parent's end must not hold the ports
            process.kill()
    left = leftovers(layout)  # their supervisor was killed: it is not there to be asked
    end(layout, left)
    if layout.pixels is not None:  # a gateway that was killed leaves its board, in memory
        shutil.rmtree(layout.pixels, ignore_errors=True)
    return supervisor is not None or bool(left)


def _start(layout: Layout, held: ExitStack, *, moved: bool, quiet: bool) -> None:
    """held: keeps the ports from other starts until this one's programs listen."""
    # Each is asked only where those before it were right: files are looked for by settings that are whole.
    for finding in chain(
        limits(),  # or a gateway's connections are blamed for them
        [loopback()],
        settings(layout, os.environ),
        files(layout, os.environ),
        unusable(layout, supervision.chosen(os.environ)),
        servers(os.environ),
        storage(supervision.environment(layout, os.environ)),
        [vault(layout, os.environ)],  # or the console would end over it again and again
        () if moved else (copies(layout, supervision.environment(layout, os.environ)),),
    ):
        if not finding.ok:
            refused = StackMisset if isinstance(finding, Misset) else StackError
            raise refused(f"{finding.check}: {finding.found}: {finding.mend}")
    with _alone(layout):
        try:
            held.enter_context(claimed({name: port for name, (_, port) in layout.listens().items()}))
        except PortClaimed as error:
            raise StackError(
                f"another `amulet up` on this machine is starting a stack on port {error}: choose --port-offset, or "
                "wait for its end"
            ) from None
        left = leftovers(layout)
        if left:
            click.echo(f"Stopping {len(left)} programs whose supervisor is gone …", err=True)
            end(layout, left)
        taken = [f"{port} ({name})" for name, port in taken_ports(layout).items()]
        if taken:
            raise StackError(
                f"these ports of this machine are taken: {', '.join(taken)}; stop what listens there or choose "
                "--port-offset"
            )
        if not moved and (said := copied(layout)):
            click.echo(f"{said[:1].upper()}{said[1:]}.", err=True)
        with _set_up(layout):
            provision(layout)
            record = {**layout.document(), ORIGIN: origin(layout)}
            write_whole(layout.record, json.dumps(record).encode(), mode=0o644)
        if not quiet:
            click.echo("Preparing the console's database …", err=True)
        _manage(layout, "migrate", "--noinput", "--verbosity", "0")
        _manage(layout, "collectstatic", "--noinput", "--verbosity", "0")
        _deliver_again(layout)
        with interrupts() as interrupted:  # half way the supervisor could not be asked to stop
            try:
                with _set_up(layout):
                    supervision.start(layout, os.environ)
            except subprocess.CalledProcessError as error:
                raise StackError(f"the supervisor did not start: {(error.stderr or error.stdout).strip()}") from error
        if interrupted():
            raise KeyboardInterrupt


@contextmanager
def masked() -> Iterator[None]:
    """What is made while inside its owner may use, and nobody else may change, whatever the shell's umask is."""
    before = os.umask(0o022)
    os.umask(before & ~0o700 | 0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """While inside, no other `amulet up` makes ready what this one does: two would write each other's folder anew."""
    with _set_up(layout):
        layout.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not inherited: what is started here outlives this command, and must not hold on to it.
        lock = os.open(layout.starting, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"another `amulet up` is starting the stack in {layout.state}: wait for its end") from None
        if supervision.pid(layout) is not None:
            raise StackError(f"another `amulet up` has just started the stack in {layout.state}")
        yield
    finally:
        os.close(lock)


def _deliver_again(layout: Layout) -> None:
    """Let a database that was brought back from a backup have what the journal still keeps; what it has counts once."""
    behind = delivery(layout, os.environ)
    if not behind.ok:
        click.echo(f"{behind.found}. What the journal still keeps is delivered again.", err=True)
        Path(supervision.environment(layout, os.environ)["AMULET_JOURNAL_DIR"], CURSOR_NAME).unlink(missing_ok=True)


@contextmanager
def _set_up(layout: Layout) -> Iterator[None]:
    """What the disk refuses while inside, as one sentence."""
    try:
        yield
    except OSError as error:
        raise StackError(f"{layout.state} cannot be set up: {error.strerror}: {error.filename}") from error


def _manage(layout: Layout, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "console.manage", *arguments],
        env=supervision.environment(layout, os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (reason_of(done.stderr) or reason_of(done.stdout)).removeprefix("CommandError: ")
        raise StackError(f"`console.manage {arguments[0]}` failed: {said}")


def reason_of(said: str) -> str:
    """What a Python program that failed says in the end, in one line: the error without the trace before it."""
    lines = said.rpartition("Traceback (most recent call last):")[2].strip("\n").splitlines()
    return " ".join(" ".join(line for line in lines if not line.startswith("  ")).split())


def _last_words(log: str) -> str:
    """The sentence with which a program ended: its last line, or the error below its trace."""
    return reason_of(log) if "Traceback (most recent call last):" in log else log.strip().rpartition("\n")[2]


def _wait_until_ready(layout: Layout, *, quiet: bool) -> StackReport:
    deadline = time.monotonic() + READY_S_MAX
    told: frozenset[str] = frozenset()
    lives: dict[str, set[int]] = {program.name: set() for program in supervision.programs(layout) if not program.wanted}
    while True:
        report = look(layout)
        if report.ready:
            return report
        if not report.processes:
            raise StackError(f"the stack in {layout.state} was stopped from elsewhere while it was waited for")
        for process in report.processes:
            if process.pid and process.name in lives:
                lives[process.name].add(process.pid)
        dying = next((name for name, pids in lives.items() if len(pids) > STARTS_MAX), None)
        if dying:
            said = _last_words(supervision.log_tail(layout, dying)) or "its log is empty"
            raise StackError(
                f"{dying} ends each time that it is started: {said} (the log is {layout.logs / dying}.log; the "
                f"processes go on trying until `amulet down --state {layout.state}`)"
            )
        if not quiet and frozenset(report.problems) != told and sys.stderr.isatty():
            told = frozenset(report.problems)
            click.echo(f"Waiting: {'; '.join(sorted(told))}", err=True)
        if time.monotonic() > deadline:
            logs = "\n".join(
                f"--- {state.name}\n{supervision.log_tail(layout, state.name)}"
                for state in supervision.states(layout)
                if any(problem.startswith(state.name) for problem in report.problems)
            )
            raise StackError(
                f"not ready after {READY_S_MAX:.0f} s: {'; '.join(report.problems)}. "
                f"The processes go on trying; their logs are in {layout.logs}.\n{logs}"
            )
        time.sleep(POLL_S)


def hold(layout: Layout) -> None:
    """Say what restarts, until Ctrl-C, SIGTERM or a closed terminal; then stop the stack.

    Raises StackError when its supervisor was killed: its programs go on, and nobody starts again what dies.
    """
    with interrupts() as interrupted:
        click.echo("Ctrl-C stops it.", err=True)
        pids = {state.name: state.pid for state in supervision.states(layout)}
        while not interrupted():
            time.sleep(1.0)
            now = supervision.states(layout)
            if not now and leftovers(layout):
                raise StackError(not_supervised(layout))
            if not now:
                click.echo("The stack was stopped from elsewhere.", err=True)
                return
            for state in now:
                before = pids.get(state.name, 0)
                if state.pid not in (0, before):
                    became = f"died and runs again (pid {state.pid})" if before else f"runs (pid {state.pid})"
                    click.echo(f"{state.name} {became}.", err=True)
                if state.pid or state.state == supervision.IDLE:
                    pids[state.name] = state.pid
        click.echo("Stopping …", err=True)
        stop(layout)  # in here, or a second Ctrl-C would end this command and leave the stack running


@contextmanager
def interruptible() -> Iterator[None]:
    """While inside, SIGTERM and a closed terminal end the work as Ctrl-C does: with KeyboardInterrupt."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """While inside, Ctrl-C, SIGTERM and a closed terminal only raise a flag, however often they come."""
    seen: list[int] = []
    before = {number: signal.signal(number, lambda got, _: seen.append(got)) for number in (signal.SIGINT, *ENDINGS)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

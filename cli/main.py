"""`amulet`: mounts every command, imports it when it is called, and words every failure.

Exit status: 0 done, 1 the work failed, 2 wrong use. An error is one sentence on stderr;
`--debug` adds the trace of an error that is our own fault. A reader that has seen enough
(`amulet settings | head -1`) is no error.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

import click

from protos.environment import complaint

# Command -> module:attribute. The order is that of `amulet --help`: the way of a model.
COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "data": "training.commands.data:data",
        "train": "training.commands.train:train",
        "evaluate": "training.commands.evaluate:evaluate",
        "robustness": "training.experiments.commands:robustness",
        "compare": "training.experiments.commands:compare",
        "ablate": "training.experiments.commands:ablate",
        "search": "training.experiments.search_command:search",
        "detectors": "training.experiments.commands:detectors",
        "calibrators": "training.experiments.commands:calibrators",
        "runs": "training.experiments.runs:runs",
        "synth": "training.synthetic.commands:synth",
        "explain": "training.commands.explain:explain",
        "export": "training.commands.export:export",
        "quantize": "training.commands.export:quantize",
        "card": "training.commands.export:card",
        "package": "training.commands.package:package",
        "verify": "model_store.commands:verify",
        "signing-key": "model_store.commands:signing_key",
        "models": "cli.remote:models",
        "labels": "cli.labels:labels",
        "keys": "cli.remote:keys",
        "predict": "cli.predict:predict",
        "audit": "cli.audit:audit",
        "vault": "cli.vault:vault",
        "users": "cli.users:users",
        "up": "cli.stack:up",
        "status": "cli.stack:status",
        "down": "cli.stack:down",
        "provision": "cli.stack:provision_only",
        "demo": "cli.demo:demo",
        "bench": "cli.bench:bench",
        "doctor": "cli.doctor:doctor",
        "settings": "cli.settings:settings",
    }
)
SUMMARIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "data": "Check a folder of photographs, or make a demonstration one.",
        "train": "Turn a folder of labelled photographs into a model version.",
        "evaluate": "Measure a model on photographs.",
        "robustness": "Measure what worse photographs cost a model.",
        "compare": "Put models side by side, and say which one to take.",
        "ablate": "Measure what each part of a recipe is worth.",
        "search": "Search for a better recipe, and say what it is really worth.",
        "detectors": "Compare scores of what is out of distribution.",
        "calibrators": "Compare ways to make probabilities.",
        "runs": "List, show and rank what was tried.",
        "synth": "Make and judge synthetic photographs.",
        "explain": "Draw where a model looks, for a folder of photographs.",
        "export": "Write the forms of a run that can be deployed, measured.",
        "quantize": "Make an 8-bit form of a run, measured against it.",
        "card": "Write a version's card as a page for people.",
        "package": "Pack a run into a signed archive.",
        "verify": "Check an archive, rule by rule.",
        "signing-key": "Make a key that signs archives.",
        "models": "Push, list, compare, approve, roll out and retire model versions.",
        "labels": "Export what experts decided, as photographs to train on.",
        "keys": "Create and revoke API keys.",
        "predict": "Ask the gateway about photographs.",
        "audit": "Export the audit log, verify an export offline, or hold rows against it.",
        "vault": "Rotate the master key under which people's keys are wrapped.",
        "users": "Create members of staff.",
        "up": "Start the whole stack on this machine.",
        "status": "Say what runs, and whether it is ready.",
        "down": "Stop the stack.",
        "provision": "Make a stack's folder and secrets, and start nothing.",
        "demo": "Show the whole product once, on procedural photographs.",
        "bench": "Measure serving, inference and the console on this machine.",
        "doctor": "Say what is wrong with this machine's set-up.",
        "settings": "List every setting with its default.",
    }
)
# Which extra of pyproject.toml brings what a command's plane imports.
EXTRA_OF: Final[Mapping[str, str]] = MappingProxyType(
    {"training": "training", "model_store": "archive", "console": "console", "gateway": "gateway", "cli": "cli"}
)
# These say themselves what is wrong with a variable, or list the right ones.
TOLERANT: Final = frozenset({"doctor", "settings"})
PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
# Of a standard stream that takes no more: a full disk, a quota, a limit on files, a device that fails.
_INTERRUPTED: Final = "amulet: interrupted"
_OUTPUT_FAILS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Misset(click.ClickException):
    """A variable of the environment that nobody reads: wrong use, though not of this command."""

    exit_code = 2


class Planes(click.Group):
    """A group whose commands live elsewhere and are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            extra = EXTRA_OF[module.partition(".")[0]]
            raise click.ClickException(
                f"`amulet {cmd_name}` needs the Python module {error.name}, which is not installed here: "
                f"install this project with its `{extra}` extra"
            ) from error
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], COMMANDS, n=1)
            if not near:
                raise
            raise click.UsageError(f"there is no command {args[0]}; did you mean {near[0]}?", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(
    cls=Planes,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: amulet up --detach && amulet predict photo.jpg",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show the trace of an unexpected error.")
@click.version_option(package_name="amulet", prog_name="amulet")
@click.pass_context
def amulet(context: click.Context) -> None:
    """Image-model serving that says when it does not know."""
    unknown = complaint(os.environ)
    if unknown and context.invoked_subcommand not in TOLERANT:
        raise Misset(unknown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; never raises."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _open_what_is_closed()
    _spare_loopback(os.environ)
    if "--debug" not in arguments:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines about what we say in one
    try:
        outcome: Any = amulet.main(args=arguments, prog_name="amulet", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except SystemExit:  # how click ends when nobody reads its output any more
        return _unread()
    except click.exceptions.NoArgsIsHelpError as error:
        return _ended(error.format_message(), 2)
    except click.UsageError as error:
        return _ended(_misused(error), 2)
    except click.ClickException as error:
        return _ended(f"amulet: {error.format_message()}", error.exit_code)
    except KeyboardInterrupt:
        return _ended(_INTERRUPTED, 1)
    except click.Abort as stop:
        # click takes every EOFError for the end of somebody's typing; the one of a question has no cause.
        return _failed(stop.__cause__, arguments) if isinstance(stop.__cause__, EOFError) else _ended(_INTERRUPTED, 1)
    except BrokenPipeError:
        return _unread()
    except Exception as error:
        return _ended(_INTERRUPTED, 1) if _of_an_interrupt(error) else _failed(error, arguments)
    return outcome if isinstance(outcome, int) else 0


def _failed(error: Exception, arguments: Sequence[str]) -> int:
    """Tell of what no command expected."""
    if "--debug" in arguments:
        traceback.print_exception(error)
        return 1
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        # A folder that is not open to whoever asks is theirs to mend, wherever in a command it is met.
        return _ended(f"amulet: {os.fsdecode(error.filename)} cannot be used: {error.strerror}", 1)
    if isinstance(error, OSError) and error.errno in _OUTPUT_FAILS:
        _unread()
        return _ended(f"amulet: what is printed cannot be written: {error.strerror}", 1)
    return _ended(f"amulet: unexpected {type(error).__name__}: {error} (run `amulet --debug …` for the trace)", 1)


def _of_an_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it: a compiled module that it meets in its import raises ImportError from it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _ended(sentence: str, status: int) -> int:
    """Say it on stderr; a stderr that takes nothing changes no exit status."""
    try:
        click.echo(sentence, err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return status


def _open_what_is_closed() -> None:
    """Let what was started without a standard stream (`>&-`) read nothing, or write nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 -- as long as we run


def _misused(error: click.UsageError) -> str:
    """What is wrong with a command line, in one line, and where the right way stands."""
    context, message = error.ctx, " ".join(error.format_message().split())
    if context is None:
        return f"amulet: {message}"
    return f"{context.command_path}: {message} (`{context.command_path} --help` shows how)"


def _unread() -> int:
    """Nobody reads the output any more: say nothing, and let the interpreter's own last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _spare_loopback(environment: MutableMapping[str, str]) -> None:
    """A proxy is for the outside: what runs on this machine is asked directly, by httpx and gRPC alike."""
    if any(environment.get(name) for name in PROXIES):
        for name in ("no_proxy", "NO_PROXY"):
            spared = [each for each in environment.get(name, "").split(",") if each]
            environment[name] = ",".join(dict.fromkeys((*spared, *LOOPBACK)))


if __name__ == "__main__":
    sys.exit(main())

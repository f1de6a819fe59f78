"""`amulet settings`: every environment variable that Amulet reads, with its default and its sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click

from protos.environment import PREFIX, VARIABLES

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

# What the command line itself reads; the planes describe their own settings.
OWN: Final = MappingProxyType(
    {
        "STATE_DIR": (".amulet", "Folder in which a stack keeps its state."),
        "GATEWAY": ("the local stack's", "HOST:PORT of the gateway that `amulet predict` asks."),
        "API_KEY": ("", "The API key that `amulet predict` shows to the gateway."),
        "API_KEY_FILE": ("", "A file that holds the API key."),
        "TLS_CA": ("the local stack's", "The authority (PEM) that signed the gateway's certificate."),
        "INSECURE": ("false", "Speak to the gateway in plain text; loopback only."),
        "CONSOLE_URL": ("the local stack's", "The console that `amulet models` and `amulet keys` ask."),
        "CONSOLE_TOKEN": ("", "The API token of a member of staff."),
        "CONSOLE_TOKEN_FILE": ("", "A file that holds the API token of a member of staff."),
        "TRUSTED_KEYS": (".amulet/console/trusted", "Folder of the public keys (PEM) that `amulet verify` trusts."),
        "RUNS": (".amulet/runs", "Folder in which training and experiments note their runs; none: they note nothing."),
        "EXPORTS": (
            ".amulet/exports",
            "Folder in which trainings keep exported backbones for the next; none: nowhere.",
        ),
        "FEATURES": (
            ".amulet/features",
            "Folder in which trainings keep what a network sees of photographs for the next; none: nowhere.",
        ),
    }
)

# Defaults that are computed from the machine: the page says how.
COMPUTED: Final = MappingProxyType(
    {"GATEWAY_ID": "the host's name", "DECODER_WORKERS": "one a processor that it may use, 2 to 8"}
)


@dataclass(frozen=True, slots=True)
class Setting:
    variable: str
    default: str
    meaning: str
    readers: tuple[str, ...]


@click.command(epilog="Example: amulet settings --json | jq -r '.[].variable'")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--markdown", "as_page", is_flag=True, help="The operators' page of the documentation.")
def settings(as_json: bool, as_page: bool) -> None:
    """List every setting: the variable, its default, what it is for, and who reads it."""
    if as_json and as_page:
        raise click.UsageError("--json and --markdown are two forms: choose one")
    found = every_setting()
    if as_page:
        click.echo(page(found), nl=False)
        return
    if as_json:
        click.echo(json.dumps([asdict(setting) for setting in found], ensure_ascii=False))
        return
    for setting in found:
        click.echo(f"{setting.variable}={setting.default}")
        click.echo(f"    {setting.meaning} Read by: {', '.join(setting.readers)}.")


def every_setting() -> tuple[Setting, ...]:
    """All settings of all processes, in the order of protos.environment; one row a variable."""
    from console.site.configuration import ConsoleSettings
    from gateway.settings import Settings as GatewaySettings

    described = {**_own(), **dict(_fields(ConsoleSettings)), **dict(_fields(GatewaySettings))}
    return tuple(
        Setting(variable=PREFIX + name, default=default, meaning=meaning, readers=VARIABLES[name])
        for name, (default, meaning) in ((name, described[name]) for name in VARIABLES)
    )


def page(found: Sequence[Setting]) -> str:
    """docs/operators/settings.md; a test holds the two equal."""
    rows = "".join(
        f"| `{setting.variable}` | {f'`{setting.default}`' if setting.default else ''} "
        f"| {setting.meaning} | {', '.join(setting.readers)} |\n"
        for setting in found
    )
    return (
        "# Settings\n\n"
        "Written by `amulet settings --markdown`; each variable is read once, when a process starts. A wrong or\n"
        "unknown `AMULET_` variable stops the start with a sentence.\n\n"
        "| variable | default | what for | read by |\n|---|---|---|---|\n" + rows
    )


def _own() -> dict[str, tuple[str, str]]:
    return dict(OWN)


def _fields(process: type[BaseSettings]) -> Iterator[tuple[str, tuple[str, str]]]:
    # Validated without an environment, so that a default that is computed from another shows as it will be.
    defaults: Any = process.model_construct()
    for name, field in process.model_fields.items():
        value = COMPUTED.get(name.upper(), getattr(defaults, name))
        yield name.upper(), ("" if value is None else str(value), field.description or "")

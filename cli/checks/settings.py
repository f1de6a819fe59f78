"""The settings with which a stack would be started: each process's own rules, and what one machine cannot follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from cli import supervision
from cli.checks.finding import Finding, misset, right
from cli.layout import HOST, Layout, host_and_port
from protos import environment as variables
from protos.environment import PREFIX

# Said by their own checks, beside whether such a server answers.
_SERVERS: Final = frozenset({"AMULET_DATABASE_URL", "AMULET_BROKER_URL", "AMULET_CACHE_URL"})
# Where the TorchServe that belongs to a stack answers and writes: the port offset and the folder of state say so.
_OF_ITS_TORCHSERVE: Final = (
    "TORCHSERVE_GRPC",
    "TORCHSERVE_MANAGEMENT_GRPC",
    "TORCHSERVE_MANAGEMENT_URL",
    "TORCHSERVE_KEY_FILE",
)
# By the names that a layout has for what listens there.
_LISTENS_OF: Final[Mapping[str, str]] = MappingProxyType(
    {"gateway": "GATEWAY_LISTEN", "gateway ops": "GATEWAY_OPS_LISTEN", "console": "CONSOLE_LISTEN"}
)
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - nothing listens by it


def settings(layout: Layout, outer: Mapping[str, str]) -> Iterator[Finding]:
    """What is wrong with the caller's variables; one finding that nothing is. layout: as it would be started."""
    unknown = variables.complaint(outer)
    if unknown:
        name = unknown.split()[0]
        yield misset("settings", unknown, f"`unset {name}`, or spell it as `amulet settings` does")
        return
    resolved = supervision.environment(layout, outer)
    # What others follow from comes first: each of them would be wrong with it.
    found = [*_nowhere_to_listen(resolved)] or [*_listens_twice(layout.over(outer), outer)]
    found = found or [
        *_refused_by_a_process(resolved, outer),
        *_not_of_one_machine(layout, resolved),
    ]
    yield from found
    if not found:
        yield right("settings", "every AMULET_ variable is known, and each process takes its own")


def _nowhere_to_listen(resolved: Mapping[str, str]) -> Iterator[Finding]:
    for name in _LISTENS_OF.values():
        variable = f"{PREFIX}{name}"
        try:
            host_and_port(resolved[variable])
        except ValueError as error:
            yield misset("settings", f"{variable} is {resolved[variable]!r}: {error}", f"mend {variable}, or unset it")


def _listens_twice(layout: Layout, outer: Mapping[str, str]) -> Iterator[Finding]:
    """Two of one stack at one place; whoever comes second finds it taken, and looks for another program there."""
    earlier: list[tuple[str, str, int]] = []
    for name, (host, port) in layout.listens().items():
        place = HOST if host == "localhost" else host
        for other, there, its_port in earlier:
            if port == its_port and (place == there or not _EVERYWHERE.isdisjoint((place, there))):
                ours = [each for each in (name, other) if each in _LISTENS_OF]
                chosen = next((each for each in ours if outer.get(f"{PREFIX}{_LISTENS_OF[each]}")), ours[0])
                variable = f"{PREFIX}{_LISTENS_OF[chosen]}"
                what = f"{variable} has the port {port}, on which {other if chosen == name else name} listens"
                yield misset("settings", what, f"name another in {variable}, or unset it")
        earlier.append((name, place, port))


def _refused_by_a_process(resolved: Mapping[str, str], outer: Mapping[str, str]) -> Iterator[Finding]:
    from console.site.configuration import ConfigurationWrong
    from console.site.configuration import load as load_console
    from gateway.settings import SettingsWrong, read_settings

    def load(environment: Mapping[str, str]) -> None:
        found = load_console(environment)
        if found.control_token_file.exists() and (complaint := found.control_token_complaint()):
            raise ConfigurationWrong(complaint)

    told = set(_SERVERS)
    processes: tuple[tuple[Callable[[Mapping[str, str]], object], type[Exception]], ...] = (
        (load, ConfigurationWrong),
        (read_settings, SettingsWrong),
    )
    for read, refusal in processes:
        try:
            read(resolved)
        except refusal as error:
            sentence = str(error)
            variable = sentence.split()[0].rstrip(":")
            if variable not in told:
                told.add(variable)
                or_unset = ", or unset it" if outer.get(variable) else ""
                yield misset("settings", sentence, f"set {variable} to what is allowed{or_unset}")


def _not_of_one_machine(layout: Layout, resolved: Mapping[str, str]) -> Iterator[Finding]:
    own = layout.environment()
    for name in _OF_ITS_TORCHSERVE:
        variable = f"{PREFIX}{name}"
        if resolved[variable].rstrip("/").replace("localhost", HOST) != own[variable]:
            yield misset(
                "settings",
                f"{variable} names another TorchServe than this stack starts, which has {own[variable]}",
                f"unset {variable} (`--port-offset` and `--state` move TorchServe with everything else)",
            )
    database = urlsplit(resolved.get(f"{PREFIX}DATABASE_URL", ""))
    if database.scheme == "sqlite" and not database.path.startswith("//"):
        yield misset(
            "settings",
            f"{PREFIX}DATABASE_URL names a file of SQLite by a relative path, which each process looks for in a folder "
            "of its own",
            "give the whole path: sqlite:////srv/amulet/db.sqlite3, with four strokes",
        )

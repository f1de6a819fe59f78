import ast
from pathlib import Path

import click
import pytest

from cli.main import COMMANDS, SUMMARIES, amulet, main
from cli.settings import OWN, every_setting, page
from console.site.configuration import ConsoleSettings
from gateway.settings import Settings as GatewaySettings
from protos.environment import VARIABLES


def test_every_command_can_be_imported_and_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    context = click.Context(amulet)
    for name in COMMANDS:
        command = amulet.get_command(context, name)
        assert command is not None, name
        below = [command]
        while below:
            each = below.pop()
            assert "Example" in (each.epilog or each.help or ""), f"{name} {each.name}"
            below += each.commands.values() if isinstance(each, click.Group) else ()
        assert main([name, "--help"]) == 0
        assert name in capsys.readouterr().out


def test_every_command_has_a_summary() -> None:
    assert list(COMMANDS) == list(SUMMARIES)


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["up", "--port-offset", "-1"], ["keys", "create"], ["models", "rollout", "v1", "--mode", "canary"]],
)
def test_wrong_use_exits_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_failed_work_exits_with_one_and_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AMULET_CONSOLE_TOKEN", raising=False)
    monkeypatch.delenv("AMULET_CONSOLE_TOKEN_FILE", raising=False)

    assert main(["models", "list"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("amulet: no token for the console")
    assert len(error.splitlines()) == 1


def test_the_settings_of_the_processes_are_exactly_the_known_variables() -> None:
    read_by = {
        "console": {name.upper() for name in ConsoleSettings.model_fields},
        "gateway": {name.upper() for name in GatewaySettings.model_fields},
        "cli": set(OWN),
    }
    for process, names in read_by.items():
        assert names == {name for name, readers in VARIABLES.items() if process in readers}, process


@pytest.mark.parametrize(
    ("folder", "settings", "process"),
    [("gateway", "settings.py", GatewaySettings), ("console", "site/configuration.py", ConsoleSettings)],
)
def test_a_process_goes_by_each_of_its_settings(
    folder: str, settings: str, process: type[GatewaySettings | ConsoleSettings]
) -> None:
    root = Path(__file__).parents[3] / folder
    by_name = set(process.model_fields) - asked_of(root / settings, own="self")
    asked = set().union(*(asked_of(path) for path in root.rglob("*.py") if path != root / settings))

    # A secret is asked for by the name of its file: settings.secret("key_secret").
    assert not {name for name in by_name if name not in asked and name.removesuffix("_file") not in asked}


def asked_of(path: Path, *, own: str = "") -> set[str]:
    """What a module asks objects for: attributes by name, or the words that it asks by; with `own`, that object's."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and (not own or (isinstance(node.value, ast.Name) and node.value.id == own)):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not own:
            names.add(node.value)
    return names


def test_the_commands_name_each_variable_that_they_are_said_to_read() -> None:
    root = Path(__file__).parents[3]
    texts = [
        path.read_text("utf-8")
        for folder in ("cli", "training", "model_store", "client/amulet_client")
        for path in (root / folder).rglob("*.py")
        if path != root / "cli/settings.py"
    ]

    assert not [name for name in OWN if not any(f"AMULET_{name}" in text for text in texts)]


def test_every_setting_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(setting.meaning.endswith(".") for setting in every_setting())
    assert main(["settings"]) == 0
    assert "AMULET_DATABASE_URL=" in capsys.readouterr().out


def test_the_operators_page_lists_every_setting_as_it_is() -> None:
    kept = Path(__file__).parents[3] / "docs" / "operators" / "settings.md"

    assert kept.read_text() == page(every_setting()), (
        "renew it: amulet settings --markdown > docs/operators/settings.md"
    )

"""What the pages print exists: commands and their options, variables, targets of make, links, the console's words."""

from __future__ import annotations

import gettext
import re
from pathlib import Path

import click
import pytest

from cli.main import amulet
from protos.environment import PREFIX, VARIABLES
from protos.wording import DISCLAIMER
from tests.pages import ROOT, Block, blocks, commands, links, pages

PAGES = [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages()]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: Path) -> None:
    missing = [target for target in links(page) if not (page.parent / target).exists()]

    assert not missing


def test_every_printed_command_and_option_exists() -> None:
    printed = [words for page in pages() for block in blocks(page, "sh", "") for words in commands(block)]
    assert len(printed) > 30

    for words in printed:
        command: click.Command = amulet
        context = click.Context(amulet, info_name="amulet")
        rest = words
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            found = command.get_command(context, rest[0])
            assert found is not None, f"amulet {' '.join(words)}"
            command, context, rest = found, click.Context(found, parent=context, info_name=rest[0]), rest[1:]
        try:
            command.make_parser(context).parse_args(list(rest))
        except click.UsageError as error:
            pytest.fail(f"amulet {' '.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_and_target_of_make_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    unknown = {name for name in re.findall(rf"\b{PREFIX}([A-Z_]+[A-Z])\b", text) if name not in VARIABLES}
    # A family is named by its beginning, as in AMULET_API_KEY and AMULET_API_KEY_FILE.
    assert not {name for name in unknown if not any(known.startswith(name) for known in VARIABLES)}
    assert not {name for name in re.findall(r"`make ([a-z-]+)", text) if name not in targets}


def test_the_callers_page_and_the_readme_show_whole_programs() -> None:
    for block in (*blocks(ROOT / "docs/callers.md", "python"), *blocks(ROOT / "README.md", "python")):
        compile(block.text, str(block.page), "exec")


# What both staff pages name, as the console writes it in English.
NAMED_BY_THE_CONSOLE = (
    "Expert review", "Review the next one", "Skip", "What the model says", "cannot be told from this photograph",
    "Predictions", "Audit trail", "Roll back", "Export", "in domain", "unsure", "out of distribution",
    "Privacy requests", "Identity is checked", "Erase for good", "Refuse", "Extend", "Certificate (PDF)",
    "viewer", "reviewer", "model engineer", "approver", "privacy officer", "auditor", "administrator",
)  # fmt: skip


def test_the_staff_pages_name_things_as_the_console_does() -> None:
    english = (ROOT / "docs/staff/README.md").read_text("utf-8")
    thai = (ROOT / "docs/staff/th.md").read_text("utf-8")
    catalogues = []
    for path in ROOT.glob("console/*/locale/th/LC_MESSAGES/django.mo"):
        with path.open("rb") as file:
            catalogues.append(gettext.GNUTranslations(file))

    for name in NAMED_BY_THE_CONSOLE:
        assert name in english, name
        words = {catalogue.gettext(name) for catalogue in catalogues} - {name}
        assert any(word in thai for word in words), f"{name}: {words}"
    assert DISCLAIMER["en"].rstrip(".") in " ".join(english.split())
    assert DISCLAIMER["th"] in thai


def test_commands_are_read_as_a_shell_reads_them() -> None:
    text = "A=b amulet users create x --role y > z  # why\namulet status | jq .ready\nV=$(amulet x)\nmake demo\n"

    assert list(commands(Block(ROOT, "sh", text))) == [["users", "create", "x", "--role", "y"], ["status"]]

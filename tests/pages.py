"""The documentation as tests read it: its pages, their fenced blocks and their links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_FENCE: Final = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]+\]\((?P<target>[^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: Path
    language: str  # "sh", "python", or "" where none is named
    text: str


def pages() -> list[Path]:
    """Every page for people, the decisions included."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "client/README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def blocks(page: Path, *languages: str) -> list[Block]:
    found = [Block(page, each["language"], each["text"]) for each in _FENCE.finditer(page.read_text("utf-8"))]
    return [each for each in found if not languages or each.language in languages]


def links(page: Path) -> Iterator[str]:
    """Targets of relative links."""
    for each in _LINK.finditer(_FENCE.sub("", page.read_text("utf-8"))):
        if "://" not in each["target"]:
            yield each["target"]


def commands(block: Block) -> Iterator[list[str]]:
    """The `amulet …` lines of a shell block as words, without variables before and pipes and redirections after."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if "amulet " not in line or "$(" in line:
            continue
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        ends = [index for index, word in enumerate(words) if word in {"|", ">", "&&", ";"}]
        words = words[: min(ends, default=len(words))]
        if words and words[0] == "amulet":
            yield words[1:]

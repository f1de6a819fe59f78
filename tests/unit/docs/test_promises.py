"""Each test that the page of promises names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from tests.pages import ROOT

PAGE: Final = (ROOT / "docs/promises.md").read_text("utf-8")


def named(page: str) -> list[str]:
    return re.findall(r"`([\w/.]+\.py::[\w:]+)`", page)


@cache
def body_of(file: Path) -> list[ast.stmt]:
    return ast.parse(file.read_text("utf-8")).body


def missing(names: list[str]) -> Iterator[str]:
    """Those that no file defines."""
    for name in names:
        file, *path = name.split("::")
        place = ROOT / (file if file.startswith("tests/") else f"tests/unit/{file}")
        if not place.is_file():
            yield name
            continue
        body = body_of(place)
        for part in path:
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            found = next((node for node in body if isinstance(node, kinds) and node.name == part), None)
            if found is None:
                yield name
                break
            body = found.body


def test_each_test_that_is_named_exists() -> None:
    promises = [line for line in PAGE.splitlines() if line.startswith("| ") and line != "| promise | tests |"]

    assert len(promises) == 26
    assert [line for line in promises if not named(line)] == []
    assert list(missing(named(PAGE))) == []


def test_one_that_does_not_exist_is_named() -> None:
    wrong = ["gateway/test_fusion.py::test_that_nobody_wrote", "gateway/test_nothing.py::test_no_view_is_no_answer"]

    assert list(missing([*named(PAGE)[:2], *wrong])) == wrong

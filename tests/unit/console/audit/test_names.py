"""Every type of entry that the code writes has a text for people, and no other has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from console.audit import names
from console.registry import rule_names
from console.registry.models import State
from model_store.verification import RULES

CONSOLE = Path(__file__).parents[4] / "console"
WRITERS = {"record", "_record", "_move", "_told", "NewEntry"}
TYPE = re.compile(r"[a-z_]+\.[a-z_]+")


def calls() -> Iterator[ast.Call]:
    for file in CONSOLE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                if name in WRITERS:
                    yield node


def words(*nodes: ast.expr) -> Iterator[str]:
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                yield inner.value


def test_every_type_and_subject_of_an_entry_has_a_name_and_no_other() -> None:
    types, subjects = set(), set()
    for call in calls():
        named = {word.arg: word.value for word in call.keywords}
        types.update(words(*call.args, *(named[name] for name in named.keys() & {"action"})))
        subjects.update(words(*(named[name] for name in named.keys() & {"subject_type"})))
        if getattr(call.func, "attr", "") == "NewEntry":
            subjects.update(words(call.args[1]))
    # The one type that is put together: registry.version_{state}.
    states = {f"registry.version_{state}" for state in State} - {"registry.version_uploaded"}
    types = {word for word in types if TYPE.fullmatch(word)} - {"registry.version_"}
    assert types | states == set(names.TYPES)
    assert subjects == set(names.SUBJECTS)


def test_every_field_of_an_entry_that_the_code_names_has_a_name_for_people() -> None:
    fields = set()
    for call in calls():
        named = {word.arg: word.value for word in call.keywords if word.arg is not None}
        details = named.pop("details", None)
        if isinstance(details, ast.Dict):
            fields.update(key.value for key in details.keys if isinstance(key, ast.Constant))
        if getattr(call.func, "id", "") == "_record":  # the rest of its words are the entry's
            fields.update(named.keys() - {"actor", "action", "subject_type", "subject_id", "words"})
    assert len(fields) > 50
    assert fields <= set(names.DETAILS)


def test_every_rule_of_an_archive_has_a_name() -> None:
    assert set(rule_names.RULES) == {*RULES, "upload", "name"}

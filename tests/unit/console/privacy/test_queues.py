"""No message in a queue holds anything of a person: that is why an erasure need not search Redis or RabbitMQ."""

from __future__ import annotations

import ast
import base64
import inspect
import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from django.conf import settings

from console.celery_app import app, wake

CONSOLE = Path(__file__).parents[4] / "console"
SENDERS = {"delay", "apply_async", "send_task", "signature", "s", "si"}
TASK = "console.privacy.tasks.carry_out"


def tasks() -> dict[str, Any]:
    app.loader.import_default_modules()
    return {name: task for name, task in app.tasks.items() if name.startswith("console.")}


def test_every_task_takes_numbers_of_rows_and_nothing_else() -> None:
    assert TASK in tasks()
    for name, task in tasks().items():
        taken = inspect.signature(task.run).parameters
        hints = get_type_hints(task.run)
        assert {hints[parameter] for parameter in taken} <= {int}, name


def test_one_function_sends_tasks_and_the_clock_sends_none_with_arguments() -> None:
    sending = {
        str(file.relative_to(CONSOLE))
        for file in CONSOLE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SENDERS
    }
    assert sending == {"celery_app.py"}
    assert all(entry.keys() == {"task", "schedule"} for entry in settings.CELERY_BEAT_SCHEDULE.values())


@pytest.mark.parametrize("word", ["a-pseudonym", b"photograph", 1.5, True, None])
def test_a_word_is_not_sent(word: object) -> None:
    with pytest.raises(TypeError, match="numbers of rows"):
        wake(TASK, 1, word)  # type: ignore[arg-type]


def test_a_message_on_its_way_holds_its_number_and_nothing_of_a_row() -> None:
    queue = settings.AMULET.data_dir / "broker" / "queue"
    queue.mkdir(parents=True, exist_ok=True)
    before = set(queue.iterdir())
    wake(TASK, 4711)
    (file,) = set(queue.iterdir()) - before
    message = json.loads(file.read_text())
    file.unlink()
    arguments, named, then = json.loads(base64.b64decode(message["body"]))
    assert (arguments, named) == ([4711], {})
    assert not any(then.values())
    assert (message["headers"]["argsrepr"], message["headers"]["kwargsrepr"]) == ("(4711,)", "{}")

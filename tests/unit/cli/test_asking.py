"""Which version a name on the command line means."""

from __future__ import annotations

from typing import Any, cast

import pytest

from cli.asking import find_version
from cli.connection import ConsoleConnection, RemoteError


class Console:
    """Lists these versions, newest first, where the console would be."""

    def __init__(self, *states: str) -> None:
        self._versions = [{"id": number, "state": state} for number, state in enumerate(states)]

    def call(self, method: str, path: str, *, params: dict[str, str]) -> dict[str, Any]:
        assert (method, path, params) == ("GET", "versions/", {"version": "v1"})
        return {"results": self._versions, "next": None}


@pytest.mark.parametrize(
    ("states", "meant"),
    [
        (["approved"], 0),
        (["refused", "approved"], 1),  # the same archive pushed once more
        (["smoke_tested", "failed"], 0),
        (["refused", "refused"], 0),
    ],
)
def test_a_name_means_the_newest_version_that_was_not_refused(states: list[str], meant: int) -> None:
    assert find_version(cast(ConsoleConnection, Console(*states)), "v1")["id"] == meant


def test_a_name_that_there_is_not_is_one_sentence() -> None:
    with pytest.raises(RemoteError, match="there is no version v1: `amulet models list` shows those there are"):
        find_version(cast(ConsoleConnection, Console()), "v1")

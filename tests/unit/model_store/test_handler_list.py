"""The list of code that may run inside an archive, and the code of this repository."""

from __future__ import annotations

import pytest

from model_store.allow_handler import SOURCES, current
from model_store.errors import ArchiveRefused
from model_store.handler_list import HandlerList
from tests import tiny_archive


def test_the_handler_of_this_repository_is_on_the_list() -> None:
    accepted = HandlerList.load().accepted
    missing = [name for name, digest in current().items() if digest not in accepted[name]]
    assert not missing, (
        f"{', '.join(missing)} changed since it was last accepted. Have the change reviewed, run "
        "`python -m model_store.allow_handler --only --note 'why'`, and commit handlers_allowed.json with it."
    )


def test_the_list_knows_the_files_that_archives_are_built_from() -> None:
    assert set(SOURCES.values()) == {tiny_archive.HANDLER, tiny_archive.STUB}


def test_a_digest_counts_for_its_own_file_only() -> None:
    listed = HandlerList({"amulet_handler.py": {"a": "reviewed"}, "graph_pb2.py": {"b": "reviewed"}})
    assert listed.check({"amulet_handler.py": "a", "graph_pb2.py": "b"})
    with pytest.raises(ArchiveRefused, match=r"graph_pb2\.py"):
        listed.check({"amulet_handler.py": "a", "graph_pb2.py": "a"})
    with pytest.raises(ArchiveRefused, match=r"amulet_handler\.py"):
        listed.check({"amulet_handler.py": "b", "graph_pb2.py": "b"})

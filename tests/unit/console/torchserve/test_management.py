"""What the console looks at before TorchServe is asked for anything."""

from __future__ import annotations

import pytest
from django.conf import settings

from console.torchserve import connections
from console.torchserve.errors import BackendAway, BackendRefused
from console.torchserve.management import BackendVersion
from model_store.contents import sha256
from model_store.store import name_for

CONTENT = b"an archive"
KEY = BackendVersion("tiny", "v20260101_tiny_1.000", name_for(sha256(CONTENT)))


def test_a_file_of_the_model_store_that_has_changed_is_not_registered() -> None:
    file = settings.AMULET.model_store / KEY.file_name
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.write_bytes(b"another")
        for _ in range(2):
            with pytest.raises(BackendRefused, match="not the archive that was verified"):
                connections.management().register(KEY)
        file.write_bytes(CONTENT)
        with pytest.raises(BackendAway):  # there is no TorchServe in this test
            connections.management().register(KEY)
    finally:
        file.unlink()


@pytest.mark.parametrize("name", ["../a.mar", "/a.mar", "a", ".mar", "http://x/a.mar", "a.mar\n"])
def test_nothing_but_a_bare_name_is_registered(name: str) -> None:
    with pytest.raises(ValueError, match="bare name"):
        connections.management().register(BackendVersion("tiny", "v20260101_tiny_1.000", name))

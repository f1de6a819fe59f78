from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.journal.journal import Journal
from gateway.journal.writer import JournalSettings
from tests.fault.console_place import ConsolePlace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[ConsolePlace]:
    place = ConsolePlace(tmp_path / "console")
    place.start()
    yield place
    place.kill()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = await Journal.open(JournalSettings(tmp_path / "journal", free_bytes_min=0, segment_bytes_max=4000))
    yield journal
    await journal.close()

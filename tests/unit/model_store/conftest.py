from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.model_store.cast import Signer, entries_of, good_members, zip_of


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def maker(keys: Path) -> Signer:
    """Trains, signs, and is trusted."""
    return Signer.new(keys, "maker")


@pytest.fixture(scope="session")
def stranger(keys: Path) -> Signer:
    """Signs, and is not trusted."""
    return Signer.new(keys, "stranger")


@pytest.fixture(scope="session")
def _good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return good_members(tmp_path_factory.mktemp("good"))


@pytest.fixture
def good(_good: dict[str, bytes]) -> dict[str, bytes]:
    """The members of a good archive but the signature; each test's own."""
    return dict(_good)


@pytest.fixture(scope="session")
def good_archive(_good: dict[str, bytes], maker: Signer) -> bytes:
    return zip_of(entries_of({**_good, "model.sig": maker.sign(_good)}))

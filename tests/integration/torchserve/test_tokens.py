"""Tokens that live for seconds: nobody's prediction fails when one ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.errors import BackendUnavailable
from gateway.serving.tokens import Tokens
from gateway.serving.torchserve import GraphImage, TorchServe
from tests import tiny_archive
from tests.integration.torchserve.conftest import ARCHIVE
from tests.integration.torchserve.server import RunningTorchServe
from tests.tiny_archive import NAME, VERSION

pytestmark = pytest.mark.torchserve

TOKEN_S = 4.0
PHOTO = GraphImage(encoded=tiny_archive.photo_of("red"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[RunningTorchServe]:
    """A TorchServe whose tokens live for four seconds; the launcher's test for the real default is a unit test."""
    state = tmp_path_factory.mktemp("torchserve") / "state"
    with RunningTorchServe.start(state, model_store, token_expiration_min=TOKEN_S / 60) as running:
        renew(running, "management")
        running.register(ARCHIVE)
        yield running


def renew(server: RunningTorchServe, kind: str) -> None:
    """As another holder of the key file would."""
    answer = httpx.get(
        f"{server.management_url}/token",
        params={"type": kind},
        headers={"Authorization": f"Bearer {server.token('API')}"},
        trust_env=False,
    )
    assert answer.status_code == 200


async def predict(torchserve: TorchServe) -> None:
    await torchserve.predict(NAME, VERSION, [PHOTO], deadline_s=5)


async def test_no_prediction_fails_from_expiry_under_load(server: RunningTorchServe) -> None:
    tokens = Tokens(server.key_file, server.management_url)
    seen = set()
    async with TorchServe(server.inference_target, tokens) as torchserve, asyncio.TaskGroup() as group:
        renewing = group.create_task(tokens.run())
        ends_s = time.monotonic() + 2.5 * TOKEN_S

        async def caller() -> int:
            calls = 0
            while time.monotonic() < ends_s:
                await predict(torchserve)
                seen.add(await tokens.inference())
                calls += 1
            return calls

        calls = sum(await asyncio.gather(*(caller() for _ in range(4))))
        renewing.cancel()
    await tokens.close()

    assert len(seen) >= 3
    assert calls > 50


async def test_an_expired_token_is_replaced_by_the_call_that_finds_it(server: RunningTorchServe) -> None:
    """Negative control of the test above: nobody renews in the background, and the token really ends."""
    tokens = Tokens(server.key_file, server.management_url)
    async with TorchServe(server.inference_target, tokens) as torchserve:
        await predict(torchserve)
        before = await tokens.inference()
        await asyncio.sleep(TOKEN_S + 0.2)

        await predict(torchserve)

        assert await tokens.inference() != before
    await tokens.close()


async def test_a_token_that_another_gateway_renewed_is_taken_from_the_file(server: RunningTorchServe) -> None:
    mine, theirs = (Tokens(server.key_file, server.management_url) for _ in range(2))
    async with TorchServe(server.inference_target, mine) as torchserve:
        await predict(torchserve)
        held = await mine.inference()
        await theirs.replace(held)
        if await theirs.inference() == held:
            renew(server, "inference")

        await predict(torchserve)

        assert await mine.inference() == server.token("inference")
    await mine.close()
    await theirs.close()


async def test_refused_callers_share_one_renewal(server: RunningTorchServe) -> None:
    tokens = Tokens(server.key_file, server.management_url)
    renew(server, "inference")
    refused = await tokens.inference()

    with capture_logs() as log:
        await asyncio.gather(*(tokens.replace(refused) for _ in range(16)))

    assert [entry["event"] for entry in log] == ["torchserve_token_renewed"]
    assert await tokens.inference() != refused
    await tokens.close()


async def test_a_wrong_key_for_the_token_api_is_told_without_the_key(server: RunningTorchServe, tmp_path: Path) -> None:
    copy = tmp_path / "key_file.json"
    copy.write_text(server.key_file.read_text().replace(server.token("API"), "AAAAAAAA"))
    tokens = Tokens(copy, server.management_url)

    with capture_logs() as log, pytest.raises(BackendUnavailable) as refused:
        await tokens.replace(await tokens.inference())

    told = f"{refused.value} {refused.value.__context__!r} {log}"
    assert not any(secret in told for secret in ("AAAAAAAA", server.token("inference"), server.token("API")))
    await tokens.close()

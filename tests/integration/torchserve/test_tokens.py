"""Tokens that live for seconds: nobody's prediction fails when one ends."""

from __future__ import annotations

import asyncio
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
TOKENS = 3
CALLERS = 4
GIVE_UP_S = 120.0
PHOTO = GraphImage(encoded=tiny_archive.photo_of("red"))


class ShortLived(RunningTorchServe):
    """Its tokens may have ended before it answers for the first time, and before each call after that."""

    def token(self, kind: str) -> str:
        if kind == "management":
            try:
                renew(self, kind)
            except httpx.HTTPError as error:
                raise OSError("its token API cannot be reached") from error
        return super().token(kind)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[RunningTorchServe]:
    """A TorchServe whose tokens live for four seconds; the launcher's test for the real default is a unit test."""
    state = tmp_path_factory.mktemp("torchserve") / "state"
    with ShortLived.start(state, model_store, token_expiration_min=TOKEN_S / 60) as running:
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
    await torchserve.predict(NAME, VERSION, [PHOTO], deadline_s=20)


async def test_no_prediction_fails_from_expiry_under_load(server: RunningTorchServe) -> None:
    """Until each of the callers, who call without a pause, was answered under three tokens."""
    tokens = Tokens(server.key_file, server.management_url)
    async with TorchServe(server.inference_target, tokens) as torchserve, asyncio.TaskGroup() as group:
        renewing = group.create_task(tokens.run())

        async def caller() -> None:
            seen = set[str]()
            while len(seen) < TOKENS:
                await predict(torchserve)
                seen.add(await tokens.inference())

        async with asyncio.timeout(GIVE_UP_S):
            await asyncio.gather(*(caller() for _ in range(CALLERS)))
        renewing.cancel()
    await tokens.close()


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

"""Reading TorchServe's key file and renewing its token in time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import BackendUnavailable
from gateway.serving.tokens import Keys, Tokens
from tests.unit.gateway.serving.backend import FakeTorchServe

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("life_s", "before_s"), [(3600, 300), (600, 150), (60, 15), (6, 1.5), (1, 1)])
def test_a_token_is_renewed_when_a_quarter_of_its_life_is_left(life_s: float, before_s: float) -> None:
    keys = Keys("i", NOON + timedelta(seconds=life_s), "a", NOON, 0.0)
    assert keys.renew_s() == before_s


@pytest.mark.parametrize(
    ("ahead_s", "passed_s", "left_s"),
    [(0, 0, 3600), (0, 3000, 600), (-86_400, 3000, 600), (-86_400, 4000, -400), (3600, 0, 0), (86_400, 10, -82_810)],
)
def test_a_clock_that_is_set_ends_a_token_early_and_never_late(ahead_s: float, passed_s: float, left_s: float) -> None:
    """TorchServe counts by the wall clock, so what that says is over is over."""
    keys = Keys("i", NOON + timedelta(hours=1), "a", NOON, 100.0)
    assert keys.left_s(NOON + timedelta(seconds=passed_s + ahead_s), 100.0 + passed_s) == left_s


def test_keys_do_not_show_themselves() -> None:
    assert "secret" not in repr(Keys("secret-1", NOON, "secret-2", NOON, 0.0))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"inference": {"key": ""}}',
        b'{"inference": {"key": 7}, "API": {"key": "x"}}',
        b"\xff",
    ],
)
async def test_a_key_file_that_is_not_whole_is_unavailable(tmp_path: Path, content: bytes) -> None:
    key_file = tmp_path / "key_file.json"
    key_file.write_bytes(content)
    tokens = Tokens(key_file, "http://127.0.0.1:9")
    with pytest.raises(BackendUnavailable, match="not whole"):
        await tokens.inference()
    await tokens.close()


async def test_a_missing_key_file_is_unavailable_until_it_is_there(fake: FakeTorchServe, tokens: Tokens) -> None:
    kept = fake.key_file.read_text()
    fake.key_file.unlink()
    with pytest.raises(BackendUnavailable, match="cannot be read"):
        await tokens.inference()

    fake.key_file.write_text(kept)
    assert await tokens.inference() == "token-0"


async def test_an_expiry_with_nanoseconds_is_read(fake: FakeTorchServe, tokens: Tokens) -> None:
    """Java writes instants with nine digits of a second."""
    fake.key_file.write_text(
        '{"inference": {"key": "i", "expiration time": "2026-01-01T12:00:00.123456789Z"}, "API": {"key": "a"}}'
    )
    assert await tokens.inference() == "i"


async def test_it_is_renewed_in_the_background_before_it_ends(fake: FakeTorchServe, tokens: Tokens) -> None:
    fake.tokens_live_s = 1.5
    fake.write_keys("token-0")
    running = asyncio.create_task(tokens.run())

    async with asyncio.timeout(30):
        # Made anew is not yet read: the renewing task may be between the two.
        while fake.renewals < 2 or await tokens.inference() != fake.token:  # noqa: ASYNC110 - it happens there
            await asyncio.sleep(0.05)

    running.cancel()


async def test_a_restart_is_noticed(fake: FakeTorchServe, tokens: Tokens) -> None:
    assert await tokens.inference() == "token-0"
    running = asyncio.create_task(tokens.run())
    fake.write_keys("after-restart")

    async with asyncio.timeout(30):
        while await tokens.inference() != "after-restart":  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)

    running.cancel()
    assert fake.renewals == 0


async def test_a_newer_token_in_the_file_is_taken_before_one_is_asked_for(fake: FakeTorchServe, tokens: Tokens) -> None:
    refused = await tokens.inference()
    fake.write_keys("another-gateways")

    await tokens.replace(refused)

    assert await tokens.inference() == "another-gateways"
    assert fake.renewals == 0


async def test_a_cancelled_caller_does_not_strand_the_others(fake: FakeTorchServe, tokens: Tokens) -> None:
    refused = await tokens.inference()
    first, second = (asyncio.create_task(tokens.replace(refused)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()

    await asyncio.wait_for(second, 30)

    assert await tokens.inference() != refused


async def test_an_outage_is_told_once(fake: FakeTorchServe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.serving.tokens.LOOK_EVERY_S", 0.01)
    fake.key_file.unlink()
    looks = 0

    def now() -> datetime:
        nonlocal looks
        looks += 1  # it asks for the time with every look at the file
        return datetime.now(UTC)

    tokens = Tokens(fake.key_file, fake.management_url, now=now)

    with capture_logs() as log:
        running = asyncio.create_task(tokens.run())
        async with asyncio.timeout(30):
            while not log or looks < 5:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
            fake.write_keys("token-0")
            while fake.token != await tokens.inference():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        running.cancel()
    await tokens.close()

    assert [entry["event"] for entry in log] == ["torchserve_token_not_renewed"]

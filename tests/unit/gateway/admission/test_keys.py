"""API keys: who is known, and what a stranger learns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway import errors
from gateway.admission.keys import key_in, owner_of, still_valid
from gateway.snapshot import Key, Snapshot
from tests.unit.gateway.cast import KEY_SECRET, ApiKey, client, new_key, policy


def keys_of(*clients: object) -> dict[str, Key]:
    return dict(Snapshot.parse(policy(clients=clients).SerializeToString()).keys)  # type: ignore[arg-type]  # clients of any kind


@pytest.mark.parametrize(
    "metadata",
    [
        {"x-api-key": "amk_1"},
        {"x-api-key": "  amk_1 "},
        {"authorization": "Bearer amk_1"},
        {"authorization": "bearer  amk_1"},
        {"x-api-key": "amk_1", "authorization": "Bearer other"},
    ],
)
def test_a_key_is_found_in_either_place(metadata: dict[str, str]) -> None:
    assert key_in(metadata) == "amk_1"


@pytest.mark.parametrize(
    "metadata", [{}, {"x-api-key": ""}, {"authorization": "Basic abc"}, {"authorization": "Bearer "}]
)
def test_a_call_without_a_key_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(errors.KeyMissing):
        key_in(metadata)


def test_the_owner_of_a_key_is_found() -> None:
    key = new_key()

    assert owner_of(key.text, keys=keys_of(client(key)), secret=KEY_SECRET).client.client_id == "client-somchai"


def test_a_key_of_the_right_id_and_another_secret_is_unknown() -> None:
    key = new_key()
    forged = ApiKey(key.key_id, f"amk_{key.key_id}_{'A' * 43}")

    with pytest.raises(errors.KeyUnknown) as refused:
        owner_of(forged.text, keys=keys_of(client(key, revoked=True)), secret=KEY_SECRET)

    assert key.key_id not in refused.value.sentence


@pytest.mark.parametrize(
    "text", ["", "amk_", "x" * 10_000, "amk_zzz", "amk_0123456789ab_" + "A" * 42, "\udcff", "กุญแจ"]
)
def test_what_is_no_key_is_unknown(text: str) -> None:
    with pytest.raises(errors.KeyUnknown):
        owner_of(text, keys=keys_of(client(new_key())), secret=KEY_SECRET)


def test_a_revoked_key_is_told_so() -> None:
    key = new_key()

    with pytest.raises(errors.KeyRevoked):
        owner_of(key.text, keys=keys_of(client(key, revoked=True)), secret=KEY_SECRET)


@pytest.mark.parametrize(("ends_in_s", "valid"), [(3600, True), (-1, False)])
def test_a_key_ends_when_its_time_is_over(ends_in_s: float, valid: bool) -> None:
    key = new_key()
    owner = client(key)
    owner.keys[0].expires_at.FromDatetime(datetime.now(UTC) + timedelta(seconds=ends_in_s))
    keys = keys_of(owner)

    if valid:
        assert owner_of(key.text, keys=keys, secret=KEY_SECRET)
    else:
        with pytest.raises(errors.KeyRevoked):
            owner_of(key.text, keys=keys, secret=KEY_SECRET)


def test_an_open_call_loses_a_key_that_a_later_policy_revokes_or_no_longer_lists() -> None:
    key = new_key()
    (entry,) = keys_of(client(key)).values()

    assert still_valid(entry, keys_of(client(key))).key_id == key.key_id
    same_id = ApiKey(key.key_id, f"amk_{key.key_id}_{'A' * 43}")
    for later in (keys_of(client(key, revoked=True)), keys_of(client(new_key())), keys_of(client(same_id))):
        with pytest.raises(errors.KeyRevoked):
            still_valid(entry, later)

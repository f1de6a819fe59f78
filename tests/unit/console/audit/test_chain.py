"""What an entry commits to, worked out by hand, and proofs against a tree that is built another way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest

from console.audit import chain
from console.audit.merkle import Frontier, inclusion_path, root_by_path

LEAVES = [sha256(bytes([number])).digest() for number in range(24)]


def test_the_hash_of_an_entry_is_that_of_its_eight_lines() -> None:
    text = b"amulet-audit/1\n7\n2026-11-23T14:04:30.123456Z\nprediction.made\nsystem\n9f86\n6030\n"
    found = chain.entry_hash(
        sequence=7,
        time="2026-11-23T14:04:30.123456Z",
        type_="prediction.made",
        actor="system",
        previous="9f86",
        commitment="6030",
    )
    assert found == sha256(b"\0" + text).digest()


@pytest.mark.parametrize("field", ["time", "type_", "actor", "previous", "commitment"])
def test_no_field_of_an_entry_can_pass_for_two(field: str) -> None:
    fields = dict.fromkeys(("time", "type_", "actor", "previous", "commitment"), "x")
    with pytest.raises(ValueError, match="line break"):
        chain.entry_hash(sequence=1, **{**fields, field: "x\nx"})


def test_a_payload_has_one_text() -> None:
    assert chain.canonical({"b": [1.5, None], "a": "พระ"}) == '{"a":"พระ","b":[1.5,null]}'
    with pytest.raises(ValueError):
        chain.canonical({"a": float("nan")})
    with pytest.raises(TypeError):
        chain.canonical({"a": b"bytes"})


def test_a_commitment_needs_the_salt() -> None:
    assert chain.commitment_of(b"salt", "พระ") == sha256(b"salt" + "พระ".encode()).digest()
    salts = chain.new_salts(100)
    assert len(set(salts)) == 100
    assert {len(salt) for salt in salts} == {32}


def test_a_time_has_one_text_whatever_clock_it_was_read_from() -> None:
    moment = datetime(2026, 11, 23, 21, 4, 30, 123, timezone(timedelta(hours=7)))
    assert chain.time_text(moment) == chain.time_text(moment.astimezone(UTC)) == "2026-11-23T14:04:30.000123Z"


@pytest.mark.parametrize("action", ["a", "prediction.made", "a" * 64])
def test_an_act_has_a_short_plain_name(action: str) -> None:
    assert chain.TYPE_FORM.fullmatch(action)
    assert not chain.TYPE_FORM.fullmatch(f"{action} ")
    assert not chain.TYPE_FORM.fullmatch("a" * 65)


def tree(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\1" + tree(leaves[:half]) + tree(leaves[half:])).digest()


def frontier_of(leaves: list[bytes]) -> Frontier:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier


def proves(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    try:
        return root_by_path(leaf, index=index, size=size, path=path) == root
    except ValueError:  # of another length than a proof for that place
        return False


@pytest.mark.parametrize("size", range(len(LEAVES) + 1))
def test_a_leaf_is_proved_to_be_where_it_is_and_nowhere_else(size: int) -> None:
    leaves = LEAVES[:size]
    root = tree(leaves)
    frontier = frontier_of(leaves)
    assert frontier.root() == root
    assert Frontier.from_bytes(size, frontier.to_bytes()).root() == root
    for index in range(size):
        path = inclusion_path(frontier_of(leaves[:index]), leaves[index + 1 :])
        assert root_by_path(leaves[index], index=index, size=size, path=path) == root
        with pytest.raises(ValueError, match="too long"):
            root_by_path(leaves[index], index=index, size=size, path=[*path, root])
        if path:
            with pytest.raises(ValueError, match="too short"):
                root_by_path(leaves[index], index=index, size=size, path=path[:-1])
            assert [place for place in range(size) if proves(leaves[index], place, size, path, root)] == [index]


@pytest.mark.parametrize("index", [-1, 3])
def test_a_tree_has_no_leaf_beyond_its_size(index: int) -> None:
    with pytest.raises(ValueError, match="has none at"):
        root_by_path(LEAVES[0], index=index, size=3, path=[])


@pytest.mark.parametrize(("size", "content"), [(3, LEAVES[0]), (1, b""), (1, LEAVES[0][:31]), (0, LEAVES[0])])
def test_what_is_no_edge_of_a_tree_of_that_size_is_refused(size: int, content: bytes) -> None:
    with pytest.raises(ValueError, match="complete subtrees"):
        Frontier.from_bytes(size, content)

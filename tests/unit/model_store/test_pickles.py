"""Pickles are found wherever they stand; weights and sources are not taken for pickles."""

from __future__ import annotations

import collections
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.pickles import find_pickle
from tests import tiny_archive


class _Calls:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("canary",)


class _Builds:
    def __init__(self) -> None:
        self.state = 1


PICKLES = {
    "call": _Calls(),
    "object": _Builds(),
    "standard type": collections.OrderedDict(a=1),
    "array": np.arange(3),
    "function": print,
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickle_is_found_at_the_start_and_further_in(kind: str, protocol: int) -> None:
    content = pickle.dumps(PICKLES[kind], protocol=protocol)
    assert find_pickle(content) == 0
    if kind == "function" and protocol < 2:
        return  # imports and calls nothing: too short to tell from text further in
    hidden = b"\x08\x0a" + bytes(1000) + content + bytes(1000)
    found = find_pickle(hidden)
    assert found is not None
    assert 1002 <= found < 1002 + len(content)


@pytest.mark.parametrize("value", [[1, 2, 3], {"a": "b"}, "text", 1.5])
def test_at_the_start_even_a_harmless_pickle_counts(value: object) -> None:
    for protocol in range(6):
        assert find_pickle(pickle.dumps(value, protocol=protocol)) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"{}",
        tiny_archive.graph_bytes(),
        tiny_archive.photo_of("red"),
        *(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")) if path.name != Path(__file__).name),
        *(path.read_bytes() for path in sorted(Path("model_store").glob("*.py"))),
        tiny_archive.HANDLER.read_bytes(),
        tiny_archive.STUB.read_bytes(),
    ],
)
def test_graphs_photographs_and_sources_are_no_pickles(content: bytes) -> None:
    assert find_pickle(content) is None


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_no_pickles(seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=2_500_000).astype(np.float32)
    assert find_pickle(b"\x08\x0a" + weights.tobytes()) is None


BINBYTES = b"\x80\x04B" + (1_000_000).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("piece", "is_refused"),
    [
        (b"\x80\x02", True),  # a pickle at every other byte
        (b"\x80\x04V", True),  # each reading for the end of a line that never comes
        (BINBYTES, True),  # each copying a million bytes
        (b"cos\nsystem\n", True),  # an import on every line
        (b"c", False),  # a name without end: no regular expression may start over at every byte
        (b"\nc", False),
        (b"\n", False),
        (b"i.i", False),
    ],
)
def test_a_file_made_to_cost_much_does_not(piece: bytes, is_refused: bool) -> None:
    content = b"\x08\x0a" + piece * (20_000_000 // len(piece))
    began = time.process_time()
    found = find_pickle(content)
    assert (found is not None) == is_refused
    assert time.process_time() - began < 120.0  # linear: a few seconds; one that starts over at every byte: days


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=2000))
def test_it_never_fails(content: bytes) -> None:
    find_pickle(content)
    find_pickle(b"\x80\x04" + content)

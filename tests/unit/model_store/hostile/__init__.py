"""Archives that must never be served, each made from a good one by breaking one thing.

A module per kind; each ends in a table `CASES`: name -> (the reason it must be refused for,
how to make it). Where a payload could run, it writes a canary.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import onnx

from model_store.card import Card
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.unit.model_store.cast import Entry, Signer, entries_of, with_card, zip_of

Members: TypeAlias = dict[str, bytes]


@dataclass(frozen=True)
class Material:
    """What an attacker has: a good archive, keys, and a file whose existence gives a payload away."""

    good: Members
    maker: Signer  # trusted; an insider, or a stolen key
    stranger: Signer
    canary: Path

    @property
    def command(self) -> str:
        return f"{sys.executable} -c \"open({str(self.canary)!r}, 'w')\""

    @property
    def python(self) -> bytes:
        return f"open({str(self.canary)!r}, 'w').close()\n".encode()

    def signed(self, members: Members) -> bytes:
        """As the trusted key would sign it: later rules must hold on their own."""
        return zip_of(entries_of({**members, "model.sig": self.maker.sign(members)}))

    def entries(self) -> list[Entry]:
        return entries_of({**self.good, "model.sig": self.maker.sign(self.good)})


class Fires:
    """Pickles to a call of the shell."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


Make: TypeAlias = Callable[[Material], bytes]
Case: TypeAlias = tuple[words.Reason.ValueType, Make]


@dataclass(frozen=True)
class Cases:
    """Collects the cases of one module."""

    found: dict[str, Case] = field(default_factory=dict)

    def refused_for(self, reason: words.Reason.ValueType) -> Callable[[Make], Make]:
        def enter(make: Make) -> Make:
            self.add(make.__name__, reason, make)
            return make

        return enter

    def add(self, name: str, reason: words.Reason.ValueType, make: Make) -> None:
        assert name not in self.found
        self.found[name] = (reason, make)

    @property
    def table(self) -> Mapping[str, Case]:
        return MappingProxyType(self.found)


def changed_graph(change: Callable[[onnx.ModelProto], Any]) -> bytes:
    model = onnx.load_from_string(tiny_archive.graph_bytes())
    change(model)
    return model.SerializeToString(deterministic=True)


def with_graph(m: Material, content: bytes, change: Callable[[Card], Card] = lambda card: card) -> bytes:
    return m.signed(with_card({**m.good, "model.onnx": content}, change))

"""Turns, as a machine of states: whatever comes and goes, nobody waits for more than one of each other client."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.admission.turns import Turns

CLIENTS = ("a", "b", "c", "d")


@dataclass(eq=False)
class Waiting:
    client: str
    number: int
    passed_by: dict[str, int] = field(default_factory=dict)  # client -> how many were taken while it was its oldest


class TakingTurns(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.turns: Turns[Waiting] = Turns()
        self.own: dict[str, list[Waiting]] = {client: [] for client in CLIENTS}
        self.numbers = itertools.count()

    @rule(client=st.sampled_from(CLIENTS))
    def come(self, client: str) -> None:
        one = Waiting(client, next(self.numbers))
        self.own[client].append(one)
        self.turns.put(client, one)

    @precondition(lambda self: any(self.own.values()))
    @rule()
    def take(self) -> None:
        one = self.turns.take()
        assert self.own[one.client].pop(0) is one  # in the order in which its client sent them
        for oldest in (own[0] for own in self.own.values() if own):
            oldest.passed_by[one.client] = oldest.passed_by.get(one.client, 0) + 1
            others = {client: taken for client, taken in oldest.passed_by.items() if client != oldest.client}
            assert all(taken <= 1 for taken in others.values())

    @rule(client=st.sampled_from(CLIENTS), which=st.integers(0, 100))
    def leave(self, client: str, which: int) -> None:
        if self.own[client]:
            one = self.own[client].pop(which % len(self.own[client]))
            self.turns.discard(client, one)
            self.turns.discard(client, one)  # who is gone is gone

    @rule(client=st.sampled_from(CLIENTS))
    def drop(self, client: str) -> None:
        if self.own[client]:
            assert self.turns.drop_newest(client) is self.own[client].pop()

    @invariant()
    def it_holds_who_waits(self) -> None:
        assert len(self.turns) == sum(map(len, self.own.values()))
        assert set(self.turns.clients()) == {client for client, own in self.own.items() if own}


TestTakingTurns = TakingTurns.TestCase

"""What is made of the calls around a console that goes away."""

from __future__ import annotations

from benchmarks.whole_stack import TURNS, Call, in_parts

QUARTER_S = 10.0
BEGAN_S = 1_000.0


def calls(took_ms: dict[int, float], *, journal_ms: float = 0.0, error: str = "") -> list[Call]:
    """Four a second, each as long as its quarter says; 20 ms where nothing is said."""
    made = []
    for turn in range(int(4 * TURNS * QUARTER_S * 4)):
        due_s = BEGAN_S + turn / 4
        took_s = took_ms.get(int(turn / 4 / QUARTER_S), 20.0) / 1000
        made.append(Call(due_s, due_s + took_s, "id", "v1", error, journal_ms / 1000))
    return made


def test_every_quarter_is_in_its_part_and_every_absence_is_held_against_the_calm_before_it() -> None:
    away = {1: 30.0, 5: 40.0, 9: 20.0}
    found = in_parts(calls({**away, 4: 50.0, 2: 70.0, 11: 60.0}), began_s=BEGAN_S, quarter_s=QUARTER_S)
    assert (found["p99_calm_ms"], found["p99_away_ms"], found["p99_catching_up_ms"]) == (50.0, 40.0, 70.0)
    assert found["p99_away_to_calm"] == 0.8
    assert found["p99_away_to_calm_of_turns"] == [1.5, 0.8, 1.0]


def test_what_the_disk_took_is_told_apart_and_who_failed_has_no_time() -> None:
    made = calls({}, journal_ms=5.0) + calls({0: 900.0, 1: 900.0}, error="UNAVAILABLE: gone")
    found = in_parts(made, began_s=BEGAN_S, quarter_s=QUARTER_S)
    assert (found["p99_calm_ms"], found["p99_calm_without_journal_ms"]) == (20.0, 15.0)

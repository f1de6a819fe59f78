"""Growth is told from what each photograph more costs, whatever a training costs that has none."""

from __future__ import annotations

from benchmarks.training import BEFORE, Cost, growth, stages_of, table


def costs(*cpu_s: float) -> list[Cost]:
    return [Cost(photos, 0.0, cpu, 900.0, 20.0) for photos, cpu in zip((100, 200, 400), cpu_s, strict=False)]


def test_a_fixed_part_does_not_hide_what_grows() -> None:
    assert growth(costs(30.0, 40.0, 60.0)) == {"cpu_s_a_photo_more": [0.1, 0.1], "linear": True}
    assert growth(costs(30.0, 40.0, 80.0))["linear"] is False
    assert growth(costs(30.0, 40.0))["linear"] is None


def test_the_table_says_what_the_document_says() -> None:
    sizes = [{"photos": 200, "wall_s": 40.0, "cpu_s": 61.5, "peak_mib": 910.0, "archive_mib": 21.0}]
    sizes[0]["stages_s"] = {"Looking at photographs": 23.4}
    shown = table({"sizes": sizes, "cpu_s_a_photo_more": [0.2, 0.1], "linear": True})
    assert "61.5" in shown
    assert "Looking at photographs" in shown
    assert "23.4" in shown
    assert "size by size: 200, 100: linear" in shown


def test_a_stage_lasts_until_the_next_one_is_told_of() -> None:
    """Also where a stage comes back; what is no stage is kept for the message of a failure."""
    now = iter([0.0, 2.0, 3.0, 7.0, 8.0])
    lines = ["Reading\t0\t2\n", "Reading\t2\t2\n", "Looking\t0\t1\n", "a warning\n", "Reading\t0\t1\n"]

    took, rest = stages_of(lines, lambda: next(now))

    assert took == {BEFORE: 2.0, "Reading": 1.0 + 1.0, "Looking": 4.0}
    assert rest == "a warning\n"

"""Growth is told from what each photograph more costs, whatever a training costs that has none."""

from __future__ import annotations

from benchmarks.training import Cost, growth, table


def costs(*cpu_s: float) -> list[Cost]:
    return [Cost(photos, 0.0, cpu, 900.0, 20.0) for photos, cpu in zip((100, 200, 400), cpu_s, strict=False)]


def test_a_fixed_part_does_not_hide_what_grows() -> None:
    assert growth(costs(30.0, 40.0, 60.0)) == {"cpu_s_a_photo_more": [0.1, 0.1], "linear": True}
    assert growth(costs(30.0, 40.0, 80.0))["linear"] is False
    assert growth(costs(30.0, 40.0))["linear"] is None


def test_the_table_says_what_the_document_says() -> None:
    sizes = [{"photos": 200, "wall_s": 40.0, "cpu_s": 61.5, "peak_mib": 910.0, "archive_mib": 21.0}]
    shown = table({"sizes": sizes, "cpu_s_a_photo_more": [0.2, 0.1], "linear": True})
    assert "61.5" in shown
    assert "size by size: 200, 100: linear" in shown

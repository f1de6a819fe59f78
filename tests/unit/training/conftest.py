"""One small training for every test that looks at what a training leaves behind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.training.data.cast import picture, write_folder


@dataclass(frozen=True, slots=True)
class SmallRun:
    """A run, and what it was trained on: three classes of eight photographs, six of other things; TREE beside them."""

    run: Path
    data: Path
    outside: Path
    exports: Path  # where its exported backbone is kept


TREE = """
levels: {kind: {en: Kind, th: ชนิด}}
groups: {stone: {en: Stone fruit, th: ผลมีเมล็ดแข็ง}}
classes: {apple: {en: Apple, th: แอปเปิล, parent: stone}, cherry: {en: Cherry, th: เชอร์รี, parent: stone}}
"""


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """The whole pipeline with the real backbone, at its smallest.

    Its backbone is exported by whichever process of tests comes first, and kept for those beside it.
    """
    from training import pipeline
    from training.fitting.recipe import recipe_of, with_settings

    root = tmp_path_factory.mktemp("small-run")
    everybodys = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        everybodys = everybodys.parent
    exports = everybodys / "exports-of-small-run"
    data = write_folder(root / "data", {"apple": 8, "berry": 8, "cherry": 8})
    (data / "classes.yaml").write_text(TREE, "utf-8")
    outside = root / "other"
    outside.mkdir()
    for number in range(6):
        picture(9000 + number, width=128, height=128).rotate(90).save(outside / f"{number}.jpg")
    request = pipeline.Request(
        data=data,
        out=root / "run",
        recipe=with_settings(
            recipe_of("standard"), {"views": 1, "forest_trees": 10, "levels": ["head"], "input_px": 96}
        ),
        outside=(outside,),
        seed=5,
        name="fruit",
        folds=2,
        created_at=datetime(2026, 11, 25, 12, tzinfo=UTC),
        exports=exports,
    )
    pipeline.train(request)
    return SmallRun(request.out, data, outside, exports)

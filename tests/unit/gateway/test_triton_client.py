"""A client that is not ours: tritonclient, in its own environment, over a real port."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from protos.amulet.v1 import prediction_pb2 as pb
from protos.wording import DISCLAIMER
from tests import callers
from tests.tiny_archive import CLASSES, DETECTORS, GRID, VERSION
from tests.unit.gateway.cast import SOMCHAI, Gateway, photo

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv" / "callers" / "bin" / "python"
PROGRAM = Path(callers.__file__).with_name("triton.py")


async def told(target: str, photos: list[Path]) -> dict[str, Any]:
    if not PYTHON.exists():
        pytest.skip("tritonclient is not installed: run `make callers`")
    process = await asyncio.create_subprocess_exec(
        PYTHON, PROGRAM, target, SOMCHAI.text, *photos, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found: dict[str, Any] = json.loads(out)
    return found


async def test_tritonclient_works_unchanged_and_hears_what_amulet_v1_says(gateway: Gateway, tmp_path: Path) -> None:
    contents = {"green": photo("green", side_px=200), "grey": photo("grey")}
    files = []
    for name, content in contents.items():
        files.append(tmp_path / f"{name}.png")
        files[-1].write_bytes(content)
        with Image.open(BytesIO(content)) as image:
            np.save(f"{files[-1]}.npy", np.asarray(image.convert("RGB")))
    thai = (*SOMCHAI.metadata, ("accept-language", "th"))

    said = await told(f"127.0.0.1:{gateway.listening.grpc_port}", files)

    assert (said["live"], said["ready"], said["model_ready"], said["unknown_ready"]) == (True, True, True, False)
    assert said["server"] == "amulet"
    assert "amulet_verdict" in said["extensions"]
    assert said["versions"] == [VERSION]
    assert said["outputs"]["probabilities"] == ["FP64", [-1, len(CLASSES)]]
    batch = said["batch"]
    assert (batch["id"], batch["version"], batch["classes"]) == ("one", VERSION, list(CLASSES))
    assert batch["display_names"][0] == "แดง"
    assert batch["disclaimer"] == DISCLAIMER["th"]
    assert set(batch["outputs"]) == set(said["outputs"])
    for row, content in enumerate(contents.values()):
        ours = await gateway.predict(
            content, metadata=thai, top_k=50, explain=pb.Explain(method=pb.Explain.METHOD_GRAD_CAM)
        )
        compare(batch["outputs"], row, ours)
    assert batch["outputs"]["verdict"] == ["IN_DOMAIN", "OUT_OF_DISTRIBUTION"]
    # A PNG loses nothing, so its pixels give the very same numbers.
    for name in ("probabilities", *(f"score_{detector}" for detector in DETECTORS), "verdict", "heatmap"):
        assert said["pixels"]["outputs"][name][0] == batch["outputs"][name][0]
    assert said["refusal"][0] == "StatusCode.INVALID_ARGUMENT"
    assert said["stranger"][0] == "StatusCode.UNAUTHENTICATED"
    for unknown in ("shared", "classes"):
        assert said[unknown][0] == "StatusCode.INVALID_ARGUMENT"
    assert "which this server does not read" in said["shared"][1]
    assert "cannot be given so" in said["classes"][1]


def compare(outputs: dict[str, list[Any]], row: int, ours: pb.PredictResponse) -> None:
    probabilities = {one.class_id: one.probability for one in ours.candidates}
    assert outputs["probabilities"][row] == [probabilities[class_id] for class_id in CLASSES]
    assert outputs["class_id"][row] == ours.candidates[0].class_id
    for score in ours.ood_scores:
        assert outputs[f"score_{score.detector}"][row] == score.score
    assert outputs["will_be_reviewed"][row] == ours.will_be_reviewed
    assert np.shape(outputs["heatmap"][row]) == (GRID, GRID)
    assert np.ravel(outputs["heatmap"][row]).tolist() == list(ours.heat_maps[0].values)

"""What was fitted, as a run keeps it: tensors that its network is made from again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import torch

from training.errors import ModelUnreadable
from training.fitting import checkpoints
from training.fitting.recipe import RECIPES, Recipe, with_settings
from training.fitting.version import Fitted
from training.models.backbones import Backbone, spec_of
from training.models.heads import LinearHead, Network

CHECKPOINT: Final = "checkpoint.pt"


def write_checkpoint(folder: Path, network: Network, fitted: Fitted, recipe: Recipe) -> None:
    """Tensors and plain values only: `torch.load(..., weights_only=True)` reads it."""
    content = checkpoints.content_of(
        {
            "network": network.state_dict(),
            "temperature": fitted.temperature,
            "mahalanobis_means": torch.from_numpy(fitted.mahalanobis.means),
            "mahalanobis_narrowing": torch.from_numpy(fitted.mahalanobis.spread.narrowing),
            "mahalanobis_rest": fitted.mahalanobis.spread.rest,
            "references": torch.from_numpy(fitted.nearest.references),
            "recipe": json.dumps(recipe.document()),
        }
    )
    (folder / CHECKPOINT).write_bytes(content)


def read_network(run: Path) -> Network:
    """The network of a RUN folder, to be asked only. Raises ModelUnreadable where its checkpoint is missing."""
    state = checkpoints.read(run / CHECKPOINT)
    if state is None:
        raise ModelUnreadable(f"{run} has no {CHECKPOINT}, which its network is made from: train the run again")
    recipe = with_settings(RECIPES["standard"], json.loads(state["recipe"]))
    classes, size = state["network"]["head.weight"].shape
    empty = LinearHead(np.zeros((classes, size), np.float32), np.zeros(classes, np.float32))
    network = Network(Backbone(spec_of(recipe.backbone), recipe.levels), empty)
    network.load_state_dict(state["network"])
    return network.eval().requires_grad_(False)

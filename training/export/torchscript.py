"""A run's network for programs that run TorchScript: probabilities and embedding, pixels in.

Detectors and heat map stay with the ONNX graph: whoever takes this form decides without them.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import torch
from torch import nn

from model_store.card import Card
from training.fitting import saved
from training.models.heads import Network


class _Scripted(nn.Module):
    def __init__(self, network: Network, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """image: uint8 [N, H, W, 3] at the model's size -> probabilities [N, classes], embedding [N, size]."""
        embedding = self.network.embedding(self.network.backbone.normalised(image))
        return torch.softmax(self.network.head(embedding) / self.temperature, dim=1), embedding


def write(run: Path, card: Card, out: Path) -> None:
    """Trace the network of a RUN folder. Raises ModelUnreadable where its checkpoint is missing."""
    network = saved.read_network(run)
    scripted = _Scripted(network, card.temperature)
    example = torch.zeros(2, card.input.height_px, card.input.width_px, 3, dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript old; this form is for those who still run it
        traced = torch.jit.trace(scripted, example, check_trace=False)  # type: ignore[no-untyped-call]
        content = io.BytesIO()  # on a full disk torch itself ends in a RuntimeError that names no file
        torch.jit.save(traced, content)
    out.write_bytes(content.getvalue())

"""What the gateway asks of a backend and gets from it, whoever the backend is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

TOP_CLASS: Final = -1


@dataclass(frozen=True, slots=True)
class GraphImage:
    pixels: NDArray[np.uint8]  # [height, width, 3], RGB, at the model's size
    target: int = TOP_CLASS  # index of the class that the heat map explains


@dataclass(frozen=True, slots=True)
class GraphOutput:
    probabilities: NDArray[np.float64]  # [classes], calibrated, sum to 1
    scores: Mapping[str, float]  # detector -> higher is further out
    embedding: NDArray[np.float32] | None  # [dimensions]; None where it was not asked for
    heat_map: NDArray[np.float32] | None  # [rows, columns], at least 0; None where it was not asked for


@dataclass(frozen=True, slots=True)
class GraphRun:
    outputs: tuple[GraphOutput, ...]  # one per image, in order
    graph_ms: float  # the graph's run, which a batch shares
    round_trip_ms: float


class Backend(Protocol):
    async def run(
        self,
        *,
        backend_name: str,
        version: str,
        images: Sequence[GraphImage],
        heat_map: bool,
        embedding: bool,
        timeout_s: float,
    ) -> GraphRun:
        """Run the graph once over the images of one request.

        Raises BackendUnavailable, ModelNotReady or DeadlineExceeded; may try again within
        timeout_s when a worker died or a token expired.
        """
        ...

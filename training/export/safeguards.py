"""What detectors and heat maps add to a graph's time: against the same graph without them, turn about.

A profile says it too, but it takes a few microseconds itself for each node, and theirs are the smallest of all.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from training.export.subgraph import as_far_as

BARE: Final = ("logits", "probabilities", "embedding")
_TURNS: Final = 300
_WARM_TURNS: Final = 10


def added_share(graph: onnx.ModelProto, images: NDArray[np.uint8], *, turns: int = _TURNS) -> float:
    """The share of the whole graph's time that all but BARE takes: processor's time, one thread, one photograph a call.

    images: uint8 [n, H, W, 3].  turns: each runs both graphs on one photograph; the median of their ratios counts.
    """
    whole = _session(graph)
    bare = _session(as_far_as(graph, BARE))
    ratios = []
    for turn in range(_WARM_TURNS + turns):
        image = images[turn % len(images)][np.newaxis]
        feeds = {"image": image, "target": np.array([-1], np.int64)}
        calls = [(whole, feeds), (bare, {"image": image})]
        took = {}
        for session, given in calls if turn % 2 else reversed(calls):
            began_s = time.thread_time()
            session.run(None, given)
            took[session] = time.thread_time() - began_s
        ratios.append(took[bare] / took[whole])
    return 1.0 - float(np.median(ratios[_WARM_TURNS:]))


def _session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])

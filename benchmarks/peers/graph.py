"""What every peer does with a photograph: our rule of decoding, and one run of the graph.

The decoding is that of the gateway without its checks: scaled JPEG decoding, the largest
centred square, bicubic. One thread a process: the peers run in as many processes as
there are cores.
"""

import io
import os
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


class Graph:
    def __init__(self, path: str = "") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = Path(path or os.environ["BENCH_GRAPH"]).read_bytes()
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.side_px = self.session.get_inputs()[0].shape[1]
        self.names = [output.name for output in self.session.get_outputs() if output.name != "embedding"]

    def pixels(self, photo: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(photo))
        image.draft("RGB", (self.side_px, self.side_px))
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(square.resize((self.side_px, self.side_px), Image.Resampling.BICUBIC, reducing_gap=None))

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        targets = np.full(len(images), -1, dtype=np.int64)
        values = self.session.run(self.names, {"image": images, "target": targets})
        return dict(zip(self.names, values, strict=True))

    def answer(self, photo: bytes) -> dict[str, object]:
        found = self.run(self.pixels(photo)[np.newaxis])
        return {name: values[0].tolist() for name, values in found.items()}

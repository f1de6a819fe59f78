"""What rounding the weights moves on average is taken back, layer by layer.

A rounded weight is a little too large or too small for every photograph alike, and what it is multiplied with is hardly
ever negative: the errors of a convolution's weights do not cancel, they move the mean of its channels, and the next
convolution's on top. The biases are moved against it, each after all that come before (Nagel and others 2019,
Data-Free Quantization, section 4.2, with photographs in place of statistics; decision 0164).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from training.export.subgraph import as_far_as

Pixels = NDArray[np.uint8]  # [H, W, 3], of the model's size


def correct(
    model: ModelProto, whole: ModelProto, photographs: Sequence[Pixels], *, progress: Callable[[int, int], None]
) -> None:
    """Move the biases of a quantised graph, in place, until each convolution's channels have the mean of `whole`'s.

    model: static QDQ, biases of 32 bits with a scale a channel, nodes named as in `whole`; a convolution without such a
    bias stays as it is.  photographs: to take the means over; a dozen of all kinds are enough.
    """
    biased = list(_biased(model))
    if not biased:
        return
    before = {node.name: node.output[0] for node in whole.graph.node}
    wanted = _means(as_far_as(whole, [before[each.convolution.name] for each in biased]), photographs)
    for number, (each, mean) in enumerate(zip(biased, wanted, strict=True)):
        progress(number, len(biased))
        (found,) = _means(as_far_as(model, [each.convolution.output[0]]), photographs)
        steps = numpy_helper.to_array(each.bias) + np.rint((mean - found) / each.scale)
        limits = np.iinfo(np.int32)
        moved = steps.clip(limits.min, limits.max).astype(np.int32)
        each.bias.CopyFrom(numpy_helper.from_array(moved, each.bias.name))
    progress(len(biased), len(biased))


@dataclass(frozen=True, slots=True)
class _Biased:
    """A convolution, its bias in steps, and what a step of each channel is worth."""

    convolution: NodeProto
    bias: TensorProto  # int32 [channels]; it is moved in place
    scale: NDArray[np.float64]  # [channels]


def _biased(model: ModelProto) -> Iterator[_Biased]:
    """In the graph's order, which is that of its layers."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        widened = made_by.get(node.input[2]) if node.op_type == "Conv" and len(node.input) == 3 else None
        if widened is None or widened.op_type != "DequantizeLinear":
            continue
        bias, scale = (constants.get(name) for name in widened.input[:2])
        if bias is not None and scale is not None and bias.data_type == TensorProto.INT32:
            yield _Biased(node, bias, numpy_helper.to_array(scale).astype(np.float64))


def _means(model: ModelProto, photographs: Sequence[Pixels]) -> list[NDArray[np.float64]]:
    """Of each output [1, channels, H, W] the mean of its channels over all photographs, [channels]."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    sums: list[NDArray[np.float64] | float] = [0.0] * len(session.get_outputs())
    for image in photographs:
        found = session.run(None, {"image": image[np.newaxis]})
        sums = [so_far + one.mean(axis=(0, 2, 3), dtype=np.float64) for so_far, one in zip(sums, found, strict=True)]
    return [np.asarray(total) / len(photographs) for total in sums]

"""Convolutions of groups of channels as convolutions of all channels, with zeros for what a group does not see."""

from __future__ import annotations

from pathlib import Path


def ungroup(path: Path) -> None:
    """Rewrite an ONNX file, quantised or in part in float, in place; what it computes stays.

    rknn-toolkit2 (2.5) dies of grouped convolutions whose weights come with their scales ("clip_truncate < 0").
    """
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    constants = {entry.name: entry for entry in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        groups = [attribute for attribute in node.attribute if node.op_type == "Conv" and attribute.name == "group"]
        if not groups or groups[0].i == 1:
            continue
        number = groups[0].i
        name = node.input[1]
        weights = constants[makers[name].input[0] if name in makers else name]  # int8, before they are dequantised
        blocks = numpy_helper.to_array(weights)  # [out, in / groups, height, width]
        out, seen = blocks.shape[0] // number, blocks.shape[1]
        dense = np.zeros((blocks.shape[0], seen * number, *blocks.shape[2:]), blocks.dtype)
        for group in range(number):
            rows = slice(group * out, (group + 1) * out)
            dense[rows, group * seen : (group + 1) * seen] = blocks[rows]
        weights.CopyFrom(numpy_helper.from_array(dense, weights.name))
        groups[0].i = 1
    onnx.save(model, path)

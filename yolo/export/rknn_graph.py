"""Quantised ONNX graphs as rknn-toolkit2 (2.5) takes them without loss, and without dying of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yolo.export.onnx_integers import drop_unused

if TYPE_CHECKING:
    import onnx

SYMMETRIC = 127 / 128
"""What has the zero point 0 the toolkit takes for a range of -128 to 127 scales, and makes it symmetric: the scale it
uses is 128 / 127 of the one given."""


def adapt(path: Path) -> None:
    """Rewrite an ONNX file, quantised or in part in float, in place: what the toolkit makes of it is what it computed.

    But weights of 127 scales become 126: the grid that the toolkit rounds to ends there.
    """
    import onnx

    model = onnx.load(path)
    ungroup(model.graph)
    keep_scales(model.graph)
    del model.graph.value_info[:]  # shapes of before
    onnx.save(model, path)


def ungroup(graph: onnx.GraphProto) -> None:
    """Make convolutions of groups of channels ones of all channels, with zeros for what a group does not see.

    The toolkit dies of grouped convolutions whose weights come with their scales ("clip_truncate < 0").
    """
    import numpy as np
    from onnx import numpy_helper

    constants = {entry.name: entry for entry in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
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


def keep_scales(graph: onnx.GraphProto) -> None:
    """Give what has the zero point 0 a scale that the toolkit makes the right one of, and weights that fit it.

    Otherwise it rounds every weight once more, to steps 0.8% wider (v9-t trained for INT8 on bccd: AP50-95 0.6113 on
    validation and 0.6034 on test images, with this 0.6158 and 0.6111; as training simulates it 0.6163 and 0.6116).
    """
    import numpy as np
    from onnx import numpy_helper

    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    changed: dict[str, str] = {}

    def replace(name: str, values: np.ndarray) -> str:
        """The name of a constant in another's place, which others may use as it was."""
        if name not in changed:
            changed[name] = f"{name}_symmetric"
            graph.initializer.append(numpy_helper.from_array(values, changed[name]))
        return changed[name]

    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or constants[node.input[2]].any():
            continue
        values, scale = node.input[:2]
        node.input[1] = replace(scale, (constants[scale] * SYMMETRIC).astype(constants[scale].dtype))
        if values in constants:
            finer = np.rint(constants[values] / SYMMETRIC).clip(-128, 127)
            node.input[0] = replace(values, finer.astype(np.int8))
    drop_unused(graph)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolo.export.ungroup import ungroup

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper


@pytest.mark.parametrize("quantised", [True, False])
def test_a_grouped_convolution_gives_the_same_with_one_group(quantised: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = generator.integers(-127, 128, (6, 2, 3, 3), np.int8)
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(generator.random(6, np.float32) + 0.5, "scales"),
        numpy_helper.from_array(np.zeros(6, np.int8), "zeros"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["weights", "scales", "zeros"], ["real"], axis=0),
        helper.make_node("Conv", ["x", "real"], ["y"], group=2, pads=[1, 1, 1, 1]),
    ]
    if not quantised:
        constants, nodes = [numpy_helper.from_array(weights.astype(np.float32), "real")], nodes[1:]
    entry = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 5, 5])
    end = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 6, 5, 5])
    graph = helper.make_graph(nodes, "g", [entry], [end], constants)
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    images = generator.random((1, 4, 5, 5), np.float32)

    def run() -> np.ndarray:
        return onnxruntime.InferenceSession(str(path)).run(None, {"x": images})[0]

    before = run()
    ungroup(path)
    (node,) = (node for node in onnx.load(path).graph.node if node.op_type == "Conv")
    assert [attribute.i for attribute in node.attribute if attribute.name == "group"] == [1]
    np.testing.assert_allclose(run(), before, rtol=1e-5)

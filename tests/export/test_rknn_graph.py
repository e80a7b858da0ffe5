from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolo.export.rknn_graph import adapt, ungroup

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
    model = onnx.load(path)
    ungroup(model.graph)
    onnx.save(model, path)
    (node,) = (node for node in model.graph.node if node.op_type == "Conv")
    assert [attribute.i for attribute in node.attribute if attribute.name == "group"] == [1]
    np.testing.assert_allclose(run(), before, rtol=1e-5)


def as_the_toolkit_takes_it(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What it dequantises and rounds again: to steps such that -128 of the scales given are -127 of its own."""
    steps = scales * 128 / 127
    return np.rint(values * scales / steps).clip(-127, 127) * steps


def test_the_toolkit_s_second_rounding_changes_nothing(tmp_path: Path) -> None:
    weights = np.arange(-127, 128, dtype=np.int8)[None].repeat(3, 0)
    scales = np.array([0.01, 0.3, 7], np.float32)
    constants = {
        "weights": weights, "scales": scales, "zeros": np.zeros(3, np.int8),
        "scale": np.float32(0.25), "zero": np.int8(0), "other": np.int8(5),
    }  # fmt: skip
    pairs = [("x", "zero", "y"), ("y", "other", "z")]  # of one scale, symmetric and not
    nodes = [helper.make_node("DequantizeLinear", ["weights", "scales", "zeros"], ["real"], axis=0)]
    for source, zero, target in pairs:
        nodes += [
            helper.make_node("QuantizeLinear", [source, "scale", zero], [f"{target}_levels"]),
            helper.make_node("DequantizeLinear", [f"{target}_levels", "scale", zero], [target]),
        ]
    entry = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    shapes = {"real": [3, 255], "z": [1]}
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "g", [entry], ends, tensors)
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    adapt(path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    found = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    first, *others = model.graph.node
    values, steps = (found[name] for name in first.input[:2])
    wanted = weights.clip(max=126) * scales[:, None]
    np.testing.assert_allclose(as_the_toolkit_takes_it(values, steps[:, None]), wanted, rtol=1e-6)
    assert np.abs(as_the_toolkit_takes_it(weights, scales[:, None]) - wanted).max() > 0.4 * 7  # as it was
    assert [found[node.input[1]].item() for node in others] == [0.25 * 127 / 128] * 2 + [0.25] * 2
    assert len(found) == 7  # the weights and their scales of before are gone

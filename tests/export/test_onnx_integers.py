from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.quantization.test_integers import Operators
from yolo.errors import UserError
from yolo.export.onnx_integers import compute_in_integers, whole_steps
from yolo.export.parity import random_images
from yolo.quantization.integers import Integers
from yolo.quantization.post_training import calibrated_graph, copied, exported_graph, quantized_graph
from yolo.quantization.rewrites import average_by_convolution

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper


@pytest.mark.slow
@torch.no_grad()
def test_onnxruntime_answers_as_in_integers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = random_images(12, (64, 64))
    prepared, _ = calibrated_graph(exported_graph(Operators(), images[:1]), images[:6].split(1), [])
    integers = Integers(copied(prepared))
    graph = quantized_graph(average_by_convolution(prepared), int8_weights=True)
    path = tmp_path / "a.onnx"
    torch.onnx.export(graph.eval(), (images[:1],), str(path), opset_version=18, external_data=False, dynamo=True)
    differing = [share_of_differences(integers, path, images)]
    proto = onnx.load(path)
    compute_in_integers(proto.graph)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    differing.append(share_of_differences(integers, path, images))
    assert differing[0] > 0 == differing[1]
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "merged.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options)
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "merged.onnx").graph.node)
    assert kinds["QLinearConv"] == 4
    assert kinds["FusedConv"] == 1  # with the clamp that is narrower than its range, in float
    assert not {"Conv", "Mul", "Add", "Sigmoid", "Concat", "AveragePool"} & set(kinds), kinds


def share_of_differences(network: Integers, path: Path, images: Tensor) -> float:
    """Share of the numbers in the outputs that differ."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options)
    (entry,) = session.get_inputs()
    answers = [session.run(None, {entry.name: image[None].numpy()}) for image in images]
    wanted = [network(image[None]) for image in images]
    pairs = [pair for found, ours in zip(answers, wanted, strict=True) for pair in zip(found, ours, strict=True)]
    assert all(len(np.unique(found)) > 10 for found, _ in pairs)
    return float(np.mean([(found != ours.numpy()).mean() for found, ours in pairs]))


def test_biases_become_whole_steps() -> None:
    scale = np.array([0.5, 0.25])
    assert whole_steps(np.array([0.75, -0.375], np.float32), scale).tolist() == [2, -2]  # half away from 0
    with pytest.raises(UserError, match=r"no room for the bias 1\.074e\+09 of a channel"):
        whole_steps(np.array([2**30, 0], np.float32), scale)


CONSTANTS: dict[str, Any] = {
    "w": np.arange(-8, 8, dtype=np.int8).reshape(4, 4, 1, 1), "ws": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
    "wz": np.zeros(4, np.int8), "s": np.float32(0.05), "z": np.int8(-3), "t": np.float32(0.07), "u": np.int8(9),
    "b": np.array([0.3, -0.2, 0, 1], np.float32), "c": np.array([0.1, -0.2, 0, 2], np.float32),
}  # fmt: skip


def test_convolutions_keep_their_function() -> None:
    """Quantised ones, and one of float images behind them."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        helper.make_node("Conv", ["d", "dw", "b"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "t", "u"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "t", "u"], ["yd"]),
        helper.make_node("Sigmoid", ["yd"], ["float"]),
        helper.make_node("Conv", ["float", "dw", "c"], ["end"]),
    ]
    shape = [1, 4, 2, 2]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "yd", "end")]
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in CONSTANTS.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    compute_in_integers(model.graph)
    onnx.checker.check_model(model, full_check=True)
    images = np.random.default_rng(0).random(shape, np.float32)
    found, end = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": images})

    weights = CONSTANTS["w"][:, :, 0, 0] * CONSTANTS["ws"][:, None].astype(np.float64)
    rounded = np.rint(images / np.float32(0.05)) * 0.05
    wanted = np.einsum("oc,bchw->bohw", weights, rounded) + CONSTANTS["b"][:, None, None]
    wanted = np.rint(wanted / 0.07).clip(-128 - 9, 127 - 9) * 0.07
    assert np.abs(found - wanted).max() < 0.5 * 0.07  # no level is another
    behind = np.einsum("oc,bchw->bohw", weights, 1 / (1 + np.exp(-found))) + CONSTANTS["c"][:, None, None]
    np.testing.assert_allclose(end, behind, atol=1e-5)
    types = {entry.name: entry.data_type for entry in model.graph.initializer}
    assert onnx.TensorProto.INT8 not in types.values()
    assert "c" in types  # of what takes float images
    assert "b" not in types


@torch.no_grad()
def test_a_channel_without_weights_keeps_its_bias(tmp_path: Path) -> None:
    """Its scale could be any; with the least there is its bias would not fit 32 bits."""
    torch.manual_seed(0)
    network, images = nn.Conv2d(3, 4, 3), random_images(4, (16, 16))
    network.weight[1] = 0
    network.bias[1] = 3.0
    prepared, _ = calibrated_graph(exported_graph(network, images[:1]), images.split(1), [])
    graph = quantized_graph(copied(prepared), int8_weights=True)
    path = tmp_path / "a.onnx"
    torch.onnx.export(graph.eval(), (images[:1],), str(path), opset_version=18, external_data=False, dynamo=True)
    proto = onnx.load(path)
    compute_in_integers(proto.graph)
    onnx.save(proto, path)
    assert share_of_differences(Integers(prepared), path, images) == 0
    session = onnxruntime.InferenceSession(str(path))
    (found,) = session.run(None, {session.get_inputs()[0].name: images[:1].numpy()})
    np.testing.assert_allclose(found[:, 1], 3, atol=0.02)

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.quantization.test_integers import Operators
from yolo.export.onnx_integers import compute_in_integers, whole_biases, whole_steps
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
    assert all(len(np.unique(found)) > 50 for found, _ in pairs)
    return float(np.mean([(found != ours.numpy()).mean() for found, ours in pairs]))


def test_a_bias_that_fits_becomes_whole_steps() -> None:
    scale = np.array([0.5, 0.25])
    np.testing.assert_array_equal(whole_steps(np.array([0.75, -0.375], np.float32), scale), [2, -2])  # half away from 0
    assert whole_steps(np.array([2**30, 0], np.float32), scale) is None


@pytest.mark.parametrize("bias", [0.3, 1e9])
def test_a_quantised_convolution_keeps_its_function(bias: float) -> None:
    weights = np.arange(-8, 8, dtype=np.int8).reshape(4, 4, 1, 1)
    constants = {
        "w": weights, "ws": np.array([0.1, 0.2, 0.3, 0.4], np.float32), "wz": np.zeros(4, np.int8),
        "s": np.float32(0.05), "z": np.int8(-3), "b": np.array([bias, -0.2, 0, 1], np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        helper.make_node("Conv", ["d", "dw", "b"], ["y"]),
        helper.make_node("Conv", ["y", "dw", "b"], ["float"]),
    ]
    shape = [1, 4, 2, 2]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "y", "float")]
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    images = np.random.default_rng(0).random(shape, np.float32)

    def run() -> list[np.ndarray]:
        onnx.checker.check_model(model, full_check=True)
        return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": images})

    before = run()
    unchanged = onnx.ModelProto()
    unchanged.CopyFrom(model)
    whole_biases(unchanged.graph)
    kinds = Counter(node.op_type for node in unchanged.graph.node)
    assert kinds["DequantizeLinear"] == (3 if bias < 1 else 2)  # not of what takes float images
    compute_in_integers(model.graph)
    types = {entry.name: entry.data_type for entry in model.graph.initializer}
    assert onnx.TensorProto.INT8 not in types.values()
    for found, wanted in zip(run(), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.5 * 0.05 * 0.4 * 2)

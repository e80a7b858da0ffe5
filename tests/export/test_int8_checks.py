from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from tests.export.tflite_files import convolution_tensors, edited, needs_tflite, small_file
from yolo.export.int8_checks import check_int8, file_convolutions, graph_convolutions
from yolo.export.litert import convert
from yolo.models.exportable import SiLU
from yolo.quantization.post_training import calibrated_graph, copied, exported_graph, quantized_graph
from yolo.quantization.rewrites import rewrite_for_xnnpack
from yolo.runtime.tflite_file import read_model

pytestmark = [needs_tflite, pytest.mark.slow]
CLASSES = 3
"""Outputs of the class branches' last convolutions."""


def failures(change: Callable[[Any], None], folder: Path) -> list[str]:
    """Of the small network's file after a change."""
    (folder / "a.tflite").write_bytes(edited(small_file("raw", "int8").content, change))
    return check_int8(small_graph(), folder / "a.tflite")


def small_graph() -> GraphModule:
    """What the file is made of."""
    prepared = copied(small_file("raw", "int8").written.quantized.body.module)  # type: ignore[union-attr]
    return quantized_graph(rewrite_for_xnnpack(prepared))


def numbers(model: Any, tensor: Any, dtype: Any) -> np.ndarray:
    return np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(dtype).copy()


def store(model: Any, tensor: Any, values: np.ndarray) -> None:
    model.buffers[tensor.buffer].data = values.view(np.uint8)


def test_a_good_file_passes(tmp_path: Path) -> None:
    assert failures(lambda model: None, tmp_path) == []
    operators = small_file("raw", "int8").written.operators
    in_graph = list(graph_convolutions(small_graph()))
    assert len(in_graph) == sum(operators[name] for name in ("CONV_2D", "DEPTHWISE_CONV_2D")) == 19


def test_a_changed_bias(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        bias = convolution_tensors(model, CLASSES)[2]
        values = numbers(model, bias, np.int32)
        values[1] += 2
        store(model, bias, values)

    (failure,) = failures(change, tmp_path)
    assert failure.startswith("INT8 biases: that of channel 1 of conv2d")
    assert "steps away (1 is allowed)" in failure


def test_a_changed_scale_of_weights(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        scales = convolution_tensors(model, CLASSES)[1].quantization.scale
        scales[2] *= 1.001

    (failure,) = failures(change, tmp_path)
    assert failure.startswith("INT8 scales: the weights of conv2d")


def test_many_weights_changed_by_one(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        weight = convolution_tensors(model, CLASSES)[1]
        values = numbers(model, weight, np.int8)
        store(model, weight, np.where(values > 0, values - 1, values + 1).astype(np.int8))

    (failure,) = failures(change, tmp_path)
    assert failure.startswith("INT8 weights: those of conv2d")


def test_changed_weights(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        weight = convolution_tensors(model, CLASSES)[1]
        values = numbers(model, weight, np.int8)
        values[0] += -2 if values[0] > 0 else 2
        store(model, weight, values)

    (failure,) = failures(change, tmp_path)
    assert failure.startswith("INT8 weights: those of conv2d")
    assert failure.endswith("are not in the file")


def post_training_file(network: nn.Module, folder: Path) -> tuple[GraphModule, Path]:
    """The quantised graph and the file of a network that maps [1, 3, 16, 16]."""
    calibration = [torch.rand(1, 3, 16, 16) for _ in range(4)]
    prepared, _ = calibrated_graph(exported_graph(network, calibration[0]), calibration, [])
    graph = quantized_graph(prepared)
    path = folder / "a.tflite"
    path.write_bytes(convert(_Last(graph), (16, 16), quantized=True))
    return graph, path


def test_equal_biases_survive(tmp_path: Path) -> None:
    """Those of a new network's class branches, which LiteRT's converter alone quantises wrongly."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), SiLU(), nn.Conv2d(8, 5, 1))
    assert network[2].bias is not None
    nn.init.constant_(network[2].bias, -3.0)
    graph, path = post_training_file(network, tmp_path)
    assert check_int8(graph, path) == []

    biases = [convolution.bias for convolution in file_convolutions(read_model(path))]
    assert any(bias is not None and np.allclose(bias, -3, atol=0.01) for bias in biases)


class _Last(nn.Module):
    """Channels last outside."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

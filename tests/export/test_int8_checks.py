from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.export.tflite_files import convolution_tensors, edited, needs_tflite, small_file
from yolo.export.int8_checks import check_int8, file_convolutions, graph_convolutions
from yolo.export.int8_ranges import tensor_range
from yolo.export.litert import convert
from yolo.models.exportable import SiLU
from yolo.runtime.tflite_file import read_model

pytestmark = [needs_tflite, pytest.mark.slow]
CLASSES = 3
"""Outputs of the class branches' last convolutions."""


def failures(change: Callable[[Any], None], folder: Path) -> list[str]:
    """Of the small network's file after a change."""
    small = small_file("raw", "int8")
    (folder / "a.tflite").write_bytes(edited(small.content, change))
    return check_int8(small.written.quantized.body, folder / "a.tflite")  # type: ignore[union-attr]


def numbers(model: Any, tensor: Any, dtype: Any) -> np.ndarray:
    return np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(dtype).copy()


def store(model: Any, tensor: Any, values: np.ndarray) -> None:
    model.buffers[tensor.buffer].data = values.view(np.uint8)


def test_a_good_file_passes(tmp_path: Path) -> None:
    assert failures(lambda model: None, tmp_path) == []
    small = small_file("raw", "int8")
    in_graph = list(graph_convolutions(small.written.quantized.body))  # type: ignore[union-attr]
    assert len(in_graph) == sum(small.written.operators[name] for name in ("CONV_2D", "DEPTHWISE_CONV_2D")) == 19


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


def test_a_changed_scale_and_zero_point_of_activations(tmp_path: Path) -> None:
    for change in (_other_scale, _other_zero_point):
        place, one, other = failures(change, tmp_path)
        assert re.fullmatch(r"INT8 ranges: conv2d\w* has others in the file", place)
        assert "of the network's tensors are not in the file, the first with scale" in one
        assert "of the file's tensors are not the network's, the first with scale" in other
        assert one.startswith("INT8 ranges: 1 of ")
        assert other.startswith("INT8 ranges: 1 of ")


def _silu_input(model: Any) -> Any:
    """Of the first SiLU: a tensor with a range of its own."""
    return model.subgraphs[0].tensors[model.subgraphs[0].operators[1].outputs[0]]


def _other_scale(model: Any) -> None:
    _silu_input(model).quantization.scale[0] *= 1.01


def _other_zero_point(model: Any) -> None:
    _silu_input(model).quantization.zeroPoint[0] += 1


def test_ranges_in_the_wrong_place(tmp_path: Path) -> None:
    """One tensor has the range of another, or two have each other's: the file still has every range."""
    from ai_edge_litert.tools import flatbuffer_utils

    small = small_file("raw", "int8")
    model = read_model(small.at(tmp_path))
    tensors = [tensor for tensor in model.subgraphs[0].tensors if tensor_range(model, tensor) is not None]
    body, spoiled = small.written.quantized.body, 0  # type: ignore[union-attr]
    for one, other in itertools.pairwise(tensors):
        first, second = one.quantization, other.quantization
        if first.scale[0] == second.scale[0]:
            continue
        for one_has, other_has in ((second, first), (second, second)):
            one.quantization, other.quantization = one_has, other_has
            (tmp_path / "a.tflite").write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
            assert any(failure.startswith("INT8 ranges: ") for failure in check_int8(body, tmp_path / "a.tflite"))
            spoiled += 1
        one.quantization, other.quantization = first, second
    assert spoiled > 50


def test_ranges_in_the_wrong_place_are_named(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        first, second = (graph.tensors[graph.operators[number].outputs[0]] for number in (1, 5))  # inputs of SiLUs
        first.quantization, second.quantization = second.quantization, first.quantization

    found = failures(change, tmp_path)
    assert sum(bool(re.fullmatch(r"INT8 ranges: conv2d\w* has others in the file", failure)) for failure in found) == 2
    for where in ("the network in the file", "the file in the network"):
        assert any(f"INT8 ranges: 2 operators of {where} have others, the first MUL, by" in text for text in found)


def test_equal_biases_survive(tmp_path: Path) -> None:
    """Those of a new network's class branches, which LiteRT's converter alone quantises wrongly."""
    from yolo.quantization.post_training import exported_graph, quantize_after_training

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), SiLU(), nn.Conv2d(8, 5, 1))
    assert network[2].bias is not None
    nn.init.constant_(network[2].bias, -3.0)
    calibration = [torch.rand(1, 3, 16, 16) for _ in range(4)]
    graph, _ = quantize_after_training(exported_graph(network, calibration[0]), calibration, [])
    path = tmp_path / "a.tflite"
    path.write_bytes(convert(_Last(graph), (16, 16), quantized=True))
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

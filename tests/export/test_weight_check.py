from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.tflite_files import convolution_tensors, edited, export, needs_tflite, small_file
from yolo.export import litert
from yolo.export.tflite import TFLiteConfig
from yolo.export.weight_check import weight_failures

pytestmark = [needs_tflite, pytest.mark.slow]
CLASSES = 3


def other_scale(model: Any) -> None:
    convolution_tensors(model, CLASSES)[1].quantization.scale[1] *= 1.02


def other_number(model: Any) -> None:
    weights = convolution_tensors(model, CLASSES)[1]
    model.buffers[weights.buffer].data[0] ^= 2


def other_bias(model: Any) -> None:
    buffer = model.buffers[convolution_tensors(model, CLASSES)[2].buffer]
    values = np.asarray(buffer.data, np.uint8).view(np.float32).copy()
    values[0] += 0.01
    buffer.data = values.view(np.uint8)


def other_weights(model: Any) -> None:
    """Of another convolution of this shape."""
    (graph,) = model.subgraphs
    one = convolution_tensors(model, CLASSES)[1]
    (other,) = (t for t in graph.tensors if list(t.shape) == list(one.shape) and t.buffer != one.buffer)
    one.buffer, other.buffer = other.buffer, one.buffer


@pytest.mark.parametrize("change", [other_scale, other_number, other_bias, other_weights])
def test_spoiled_weights_are_found(change: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(edited(small_file("full", "dynamic").content, change))
    (failure,) = weight_failures(small_file("full", "fp32").content, tmp_path / "a.tflite")
    assert failure.startswith("weights: those of ")
    assert failure.endswith("are not the network's, the first CONV_2D")


@pytest.mark.parametrize("quantization", ["dynamic", "fp16"])
def test_weights_that_are_rounded_pass(quantization: str, tmp_path: Path) -> None:
    path = small_file("full", quantization).at(tmp_path)
    assert weight_failures(small_file("full", "fp32").content, path) == []


def test_a_file_of_another_network(tmp_path: Path) -> None:
    path = small_file("full", "dynamic").at(tmp_path)
    fewer = edited(small_file("full", "fp32").content, lambda model: model.subgraphs[0].operators.pop(1))
    assert weight_failures(fewer, path) == ["weights: the file has others than the network"]


def test_the_writer_refuses_spoiled_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    small = small_file("full", "dynamic")
    monkeypatch.setattr(litert, "convert", lambda *_, **__: small_file("full", "fp32").content)
    monkeypatch.setattr(litert, "smaller_weights", lambda *_: edited(small.content, other_scale))
    *_, written = export(small.network, TFLiteConfig(form="full", quantization="dynamic"))
    assert written.failures == ("weights: those of 1 operators are not the network's, the first CONV_2D",)

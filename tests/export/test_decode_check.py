from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.tflite_files import edited, export, needs_tflite, small_file
from yolo.export import litert
from yolo.export.decode_check import decode_failures
from yolo.export.tflite import TFLiteConfig

pytestmark = [needs_tflite, pytest.mark.slow]
ANCHORS, BINS = 120, 4


def constant(model: Any, shape: list[int]) -> Any:
    """The buffer of the only float constant of a shape, and its numbers."""
    (graph,) = model.subgraphs
    (tensor,) = (t for t in graph.tensors if list(t.shape) == shape and model.buffers[t.buffer].data is not None)
    buffer = model.buffers[tensor.buffer]
    return buffer, np.asarray(buffer.data, np.uint8).view(np.float32).copy()


def changed(shape: list[int], change: Callable[[np.ndarray], None]) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        buffer, values = constant(model, shape)
        change(values)
        buffer.data = values.view(np.uint8)

    return edit


def other_operator(model: Any) -> None:
    """ADD in the place of the last SUB."""
    (graph,) = model.subgraphs
    from ai_edge_litert.tools import flatbuffer_utils

    kinds = [flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in graph.operators]
    last = graph.operators[len(kinds) - 1 - kinds[::-1].index("SUB")]
    add = graph.operators[kinds.index("ADD")]
    last.opcodeIndex, last.builtinOptions, last.builtinOptionsType = (
        add.opcodeIndex, add.builtinOptions, add.builtinOptionsType,
    )  # fmt: skip


def shift(values: np.ndarray) -> None:
    values += 3


def one_bin(values: np.ndarray) -> None:
    values[-1] += 0.5


def one_stride(values: np.ndarray) -> None:
    values[-1] *= 1.25


SPOILED = {
    "anchors 3 pixels away": changed([1, ANCHORS, 2], shift),
    "one bin": changed([1, 1, 1, BINS], one_bin),
    "the stride of an anchor": changed([1, ANCHORS, 1], one_stride),
    "an operator": other_operator,
}


@pytest.mark.parametrize(("form", "quantization"), [("split", "int8"), ("full", "dynamic")])
def test_a_spoiled_decode_is_found(form: str, quantization: str, tmp_path: Path) -> None:
    small, path = small_file(form, quantization), tmp_path / "a.tflite"
    assert decode_failures(small.exportable, small.at(tmp_path)) == []
    for name, change in SPOILED.items():
        path.write_bytes(edited(small.content, change))
        (failure,) = decode_failures(small.exportable, path)
        assert failure.startswith("decode: of the same logits, boxes differ by "), name


def test_the_writer_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    small = small_file("split", "int8")
    spoiled = edited(small.content, SPOILED["anchors 3 pixels away"])
    monkeypatch.setattr(litert, "convert", lambda *_, **__: spoiled)
    *_, written = export(small.network, TFLiteConfig(quantization="int8"))
    (failure,) = written.failures
    assert failure.startswith("decode: ")


def test_a_file_without_a_decode(tmp_path: Path) -> None:
    small = small_file("raw", "int8")
    assert decode_failures(small.exportable, small.at(tmp_path)) == [
        "decode: the file does not end in a softmax and a sigmoid of float numbers"
    ]

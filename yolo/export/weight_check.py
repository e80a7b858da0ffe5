"""Whether a .tflite file of smaller weights has those of the float file that it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {0: np.float32, 1: np.float16, 9: np.int8}
"""numpy's by those of schema.fbs that weights have."""
HALF = 0.501
"""Steps that rounding changes a number by, and what float32 adds."""

Weights = tuple[str, NDArray[np.float64], NDArray[np.float64]]
"""Name of an operator, numbers, and their steps; 0 in float32."""


def weight_failures(float_file: bytes, path: Path) -> list[str]:
    """The checks that a file fails, a sentence each.

    Args:
        float_file: what it was made of.
        path: the file of weights in 16 or 8 bits.
    """
    from yolo.runtime.tflite_file import read_model, tables_of

    wanted = list(_weights(tables_of(float_file, path)))
    found = list(_weights(read_model(path)))
    if [(name, numbers.shape) for name, numbers, _ in wanted] != [(name, numbers.shape) for name, numbers, _ in found]:
        return ["weights: the file has others than the network"]
    wrong = [
        name
        for (name, numbers, _), (_, stored, steps) in zip(wanted, found, strict=True)
        if not (np.abs(stored - numbers) <= HALF * steps).all()  # so that NaN fails
    ]
    return [f"weights: those of {len(wrong)} operators are not the network's, the first {wrong[0]}"] if wrong else []


def _weights(model: Any) -> Iterator[Weights]:
    """Of each operator in turn the float constants that it takes, or those that stand for them."""
    from yolo.runtime.tflite_file import operator_name

    (graph,) = model.subgraphs
    constants = {
        number: number for number, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None
    }
    for operator in graph.operators:
        name = operator_name(model, operator)
        taken = [constants[index] for index in operator.inputs if index in constants]
        if name == "DEQUANTIZE" and taken:
            constants[operator.outputs[0]] = taken[0]
            continue
        for index in taken:
            tensor = graph.tensors[index]
            if tensor.type in TYPES:
                yield name, *_numbers(model, tensor)


def _numbers(model: Any, tensor: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a constant stands for, and the steps of its type there."""
    content = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    stored = np.frombuffer(content, TYPES[tensor.type]).reshape(tensor.shape)
    numbers = stored.astype(np.float64)
    if stored.dtype == np.float32:
        return numbers, np.zeros_like(numbers)
    if stored.dtype == np.float16:
        return numbers, np.spacing(np.abs(stored)).astype(np.float64)
    shape = [1] * stored.ndim
    shape[tensor.quantization.quantizedDimension] = -1
    scale = np.asarray(tensor.quantization.scale, np.float64).reshape(shape)  # zero points are 0
    return numbers * scale, scale

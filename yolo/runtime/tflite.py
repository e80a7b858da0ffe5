"""TFLite files, run by LiteRT on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from yolo.errors import UserError
from yolo.forms import INPUT
from yolo.quiet import quiet_descriptors
from yolo.runtime.network import ExportedNetwork, require_outputs
from yolo.runtime.tflite_file import SIGNATURE, read_record

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

__all__ = ["open_network", "read_record"]


def open_network(path: Path) -> ExportedNetwork:
    """The network in the file, on as many threads as torch has.

    Raises:
        UserError: the file is missing, no TFLite, without our record, or not what the record says; or there is no
            ai-edge-litert.
    """
    record = read_record(path)
    interpreter = open_interpreter(path)
    found = interpreter.get_signature_list().get(SIGNATURE, {"inputs": None})["inputs"]
    if found != [INPUT]:
        raise UserError(f"{path}: its inputs are {found}, expected {INPUT!r}")
    runner = interpreter.get_signature_runner(SIGNATURE)
    image, outputs = runner.get_input_details()[INPUT], runner.get_output_details()
    if list(image["shape"]) != [1, *record.image_size, 3]:
        raise UserError(f"{path}: its input is {image['shape'].tolist()}, by its record images of {record.image_size}")
    maps = record.form == "raw"
    order = (0, 3, 1, 2) if maps else (0, 1, 2)
    shapes = {name: _reordered(entry["shape"].tolist(), order) for name, entry in outputs.items()}
    require_outputs({name: shapes.get(name, []) for name in record.outputs}, record, str(path))
    wanted = [outputs[name] for name in record.outputs]

    def run(images: NDArray[np.float32]) -> list[NDArray[Any]]:
        interpreter.set_tensor(image["index"], to_numbers(images.transpose(0, 2, 3, 1), image))
        interpreter.invoke()
        found = (from_numbers(interpreter.get_tensor(entry["index"]), entry) for entry in wanted)
        return [values.transpose(order) for values in found]

    return ExportedNetwork(record, run, path.stat().st_size)


def _reordered(shape: list[int], order: Sequence[int]) -> list[int]:
    return [shape[axis] for axis in order] if len(shape) == len(order) else shape


def to_numbers(values: NDArray[np.float32], tensor: Any) -> NDArray[Any]:
    """float32 to the numbers of a tensor: int8 by its scale and zero point, or as they are."""
    if tensor["dtype"] != np.int8:
        return np.ascontiguousarray(values, tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    return np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(np.int8)


def from_numbers(values: NDArray[Any], tensor: Any) -> NDArray[np.float32]:
    """The inverse."""
    if tensor["dtype"] != np.int8:
        return values.astype(np.float32, copy=False)
    scale, zero_point = tensor["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


def open_interpreter(path: Path) -> Interpreter:
    """The file, ready to run on as many threads as torch has. UserError when LiteRT cannot."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_descriptors():  # which delegate it made
            interpreter = Interpreter(str(path), num_threads=torch.get_num_threads())
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path}: LiteRT cannot run it ({' '.join(str(error).split())[:200]})") from error
    return interpreter

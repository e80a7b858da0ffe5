"""SavedModel folders, run by TensorFlow on the CPU, in an environment of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from yolo.environments import Environment, Worker
from yolo.errors import UserError
from yolo.forms import INPUT
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.network import ExportedNetwork

ENVIRONMENT = Environment(
    "A SavedModel", "tensorflow", "YOLO_TFLITE_PYTHON", ".venv-tflite", "scripts/setup_tflite_export.sh"
)
GRAPH = "saved_model.pb"
"""The file that makes a folder a SavedModel."""
RECORD = Path("assets.extra", "yolo.json")
"""Where the record lies in the folder: where TensorFlow leaves room for what it does not read."""


def read_record(path: Path) -> ExportRecord:
    """What the folder says about itself. UserError when it is none of `yolo export`."""
    if not (path / GRAPH).is_file():
        raise UserError(f"{path}: a folder without {GRAPH}, so no SavedModel")
    try:
        text = (path / RECORD).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: has no record of `yolo export` in it ({RECORD}), which says what its inputs and outputs mean"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path / RECORD}: cannot be read ({error})") from error
    return ExportRecord.from_json(text, str(path))


def open_network(path: Path) -> ExportedNetwork:
    """The network in the folder, on as many threads as torch has.

    Raises:
        UserError: the folder holds no SavedModel, none with our record, or not what the record says; or there is no
            TensorFlow.
    """
    record = read_record(path)
    inputs = {INPUT: [1, *record.image_size, 3]}
    outputs = {name: [1, *_channels_last(shape)] for name, shape in record.outputs.items()}
    arguments = (path, str(torch.get_num_threads()), json.dumps(inputs), json.dumps(outputs))
    with _of(path):
        worker = Worker(ENVIRONMENT.python(), "tensorflow_model.py", *arguments)

    def run(images: NDArray[np.float32]) -> list[NDArray[Any]]:
        with _of(path):
            found = worker([images.transpose(0, 2, 3, 1)])
        return [array.transpose(0, 3, 1, 2) if array.ndim == 4 else array for array in found]

    return ExportedNetwork(record, run, sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an output in TensorFlow: of maps [C, h, w], (h, w, C); others are as in the record."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


@contextlib.contextmanager
def _of(path: Path) -> Iterator[None]:
    """Name the folder in what went wrong."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error

"""ONNX files, run by onnxruntime on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from yolo.errors import UserError
from yolo.forms import INPUT
from yolo.runtime.metadata import RECORD_KEY, ExportRecord
from yolo.runtime.network import ExportedNetwork, require_outputs

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def read_record(path: Path) -> ExportRecord:
    """What the file says about itself. UserError when it is none of `yolo export`."""
    return _record(_session(path), path)


def open_network(path: Path) -> ExportedNetwork:
    """The network in the file, on as many threads as torch has.

    Raises:
        UserError: the file is missing, no ONNX, without our record, or not what the record says; or there is no
            onnxruntime.
    """
    session = _session(path)
    record = _record(session, path)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shapes = {entry.name: entry.shape for entry in inputs}
    if [entry.name for entry in inputs] != [INPUT] or inputs[0].type not in TYPES:
        raise UserError(f"{path}: its inputs are {shapes}, expected {INPUT!r} of floating-point numbers")
    if list(inputs[0].shape)[1:] != [3, *record.image_size]:
        raise UserError(f"{path}: its inputs are {shapes}, by its record images of {record.image_size}")
    require_outputs({entry.name: entry.shape for entry in outputs}, record, str(path))
    dtype, names = TYPES[inputs[0].type], list(record.outputs)

    def run(images: NDArray[np.float32]) -> list[NDArray[Any]]:
        with _refused(path, "onnxruntime cannot run it"):
            return session.run(names, {INPUT: images.astype(dtype, copy=False)})

    return ExportedNetwork(record, run, path.stat().st_size)


def _record(session: InferenceSession, path: Path) -> ExportRecord:
    stored = session.get_modelmeta().custom_metadata_map
    if RECORD_KEY not in stored:
        raise UserError(f"{path}: has no record of `yolo export` in it, which says what its inputs and outputs mean")
    return ExportRecord.from_json(stored[RECORD_KEY], str(path))


def _session(path: Path) -> InferenceSession:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{path}: ONNX files need onnxruntime: pip install 'yolo[export]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what it refuses is said by its exception
    with _refused(path, "not an ONNX file that onnxruntime can run"):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _refused(path: Path, what: str) -> Iterator[None]:
    """Turn what onnxruntime says of a file into a UserError."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    about_files = (errors.InvalidProtobuf, errors.InvalidGraph, errors.NoSuchFile, errors.NotImplemented)
    try:
        yield
    except (*about_files, errors.Fail, errors.InvalidArgument, errors.RuntimeException) as error:
        raise UserError(f"{path}: {what} ({' '.join(str(error).split())[:200]})") from error

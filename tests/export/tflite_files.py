"""TFLite files of a small network, each converted once in a process, and what spoils them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.export.random_network import card_of, randomise
from tests.export.small_network import SmallNetwork
from yolo.export.config import Source, Written
from yolo.export.parity import random_images
from yolo.export.tflite import TFLiteConfig, write
from yolo.models.detection_model import DetectionModel
from yolo.models.exportable import ExportableModel
from yolo.quantization.calibration import Calibration
from yolo.runtime.metadata import ExportRecord

SMALL = "tests.export.small_network.SmallNetwork"
SIZE = (64, 96)
needs_tflite = pytest.mark.skipif(find_spec("litert_torch") is None, reason="litert-torch is not installed")


@dataclass(frozen=True)
class Small:
    """A file and what it was made of."""

    network: DetectionModel
    exportable: ExportableModel
    record: ExportRecord
    content: bytes
    written: Written

    def at(self, folder: Path) -> Path:
        """The file in a folder."""
        path = folder / "a.tflite"
        path.write_bytes(self.content)
        return path


@cache
def small_network() -> DetectionModel:
    return randomise(SmallNetwork(3))


def calibration(number: int = 8) -> Calibration:
    pixels = (random_images(number, SIZE, seed=7) * 255).byte().permute(0, 2, 3, 1).numpy()
    return Calibration("random images", [lambda image=image: image for image in pixels])


@cache
def small_file(form: Any = "split", quantization: Any = "fp32", xnnpack_optimize: bool = True) -> Small:
    network = small_network()
    config = TFLiteConfig(form=form, quantization=quantization, xnnpack_optimize=xnnpack_optimize)
    return Small(network, *export(network, config))


def export(network: DetectionModel, config: TFLiteConfig) -> tuple[ExportableModel, ExportRecord, bytes, Written]:
    """A file by the writer alone, without the checks of the command."""
    exportable = ExportableModel(network, SIZE, config.output_form)
    record = ExportRecord.of(exportable, "small", card_of(SMALL, 3, SIZE), quantization=config.numbers)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.tflite"
        written = write(Source(exportable, record, calibration()), config, path)
        return exportable, record, path.read_bytes(), written


def edited(content: bytes, change: Callable[[Any], None]) -> bytes:
    """The file after `change` to its tables."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    change(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def convolution_tensors(model: Any, channels: int) -> tuple[Any, Any, Any]:
    """Input, weights and bias of the first ungrouped convolution with so many output channels."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    (graph,) = model.subgraphs
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == BuiltinOperator.CONV_2D:
            tensors = [graph.tensors[index] for index in operator.inputs]
            if tensors[1].shape[0] == channels:
                return tuple(tensors)  # type: ignore[return-value]
    raise AssertionError(f"no convolution with {channels} outputs")

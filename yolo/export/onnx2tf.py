"""SavedModel and float32 TFLite files by onnx2tf, in the environment that its pins ask for."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yolo.export import onnx
from yolo.export.config import Source
from yolo.export.onnx import OnnxConfig

if TYPE_CHECKING:
    from yolo.environments import Environment

SCRIPT = "onnx2tf_convert.py"


@dataclass(frozen=True)
class Converted:
    """What onnx2tf made of a network.

    Input is `images` float32 [1, H, W, 3]. Outputs have the record's names, and its order in the TFLite file; maps
    are NHWC, the others of the record's shapes.
    """

    saved_model: Path
    """Folder, without a record in it."""
    tflite: Path
    """float32, without a record in it."""
    saved_model_operators: dict[str, int]
    tflite_operators: dict[str, int]


def require() -> None:
    """UserError unless everything that converting takes is installed here and there."""
    from yolo.environments import run_worker

    onnx.require(OnnxConfig())
    _environment().require_package()
    run_worker(_environment().python(), SCRIPT)


def convert(source: Source, folder: Path) -> Converted:
    """Convert by way of an ONNX file.

    Args:
        source: its model in float32.
        folder: for all files; exists.

    Raises:
        UserError: one of the converters refuses the network.
    """
    from yolo.environments import run_worker

    intermediate = folder / "model.onnx"
    onnx.write(source, OnnxConfig(form=source.record.form), intermediate)
    run_worker(_environment().python(), SCRIPT, intermediate, folder)
    operators = json.loads((folder / "operators.json").read_text(encoding="utf-8"))
    return Converted(folder / "saved_model", folder / "float32.tflite", operators["saved_model"], operators["tflite"])


def _environment() -> Environment:
    from yolo.runtime.saved_model import ENVIRONMENT

    return replace(ENVIRONMENT, purpose="Converting with onnx2tf", package="onnx2tf")

"""The formats of `yolo export`, a row each."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from yolo.export import onnx, rknn, saved_model, tflite
from yolo.export.config import FormatConfig


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        module: has `require(config)`, which raises UserError unless everything that writing takes is there, and
            `write(source, config, path)`, which gives a `Written`.
        config: the format's options.
        suffix: of its files; empty where they are folders.
    """

    module: ModuleType
    config: type[FormatConfig]
    suffix: str


FORMATS = {
    "onnx": Format(onnx, onnx.OnnxConfig, ".onnx"),
    "tflite": Format(tflite, tflite.TFLiteConfig, ".tflite"),
    "saved_model": Format(saved_model, saved_model.SavedModelConfig, ""),
    "rknn": Format(rknn, rknn.RknnConfig, ".rknn"),
}

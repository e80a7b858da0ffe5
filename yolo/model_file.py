"""A trained detector in a file or folder: a checkpoint, or what `yolo export` made of one."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

from yolo.errors import UserError
from yolo.models.checkpoint import CARD_KEY, ModelCard, load_model, read_checkpoint
from yolo.models.detection_model import DetectionModel

RUNTIMES = {
    ".onnx": "yolo.runtime.onnx",
    ".tflite": "yolo.runtime.tflite",
    ".rknn": "yolo.runtime.rknn",
    "": "yolo.runtime.saved_model",
}
"""Modules with `read_record` and `open_network`, by the ending of their files; empty for folders."""


def open_model(path: str | Path) -> tuple[DetectionModel, ModelCard]:
    """The network in eval mode and what is known about it. UserError when the file cannot be used."""
    runtime = _runtime(path)
    if runtime is None:
        return load_model(path)
    network = runtime.open_network(Path(path))
    return network, network.record.card


def read_card(path: str | Path) -> ModelCard:
    """What is known about a network, without it. UserError when the file cannot be used."""
    runtime = _runtime(path)
    if runtime is None:
        return ModelCard.from_dict(read_checkpoint(path)[CARD_KEY])
    return cast(ModelCard, runtime.read_record(Path(path)).card)


def require_size(model: DetectionModel, size: tuple[int, int]) -> None:
    """UserError when an input of `size` (height, width) is not what the network was exported for."""
    if model.fixed_size not in (None, size):
        assert model.fixed_size is not None
        height, width = model.fixed_size
        raise UserError(
            f"the network is made for images of {height} x {width} (height x width) alone, the size asked for is "
            f"{size[0]} x {size[1]}: leave it out, or make one for it"
        )


def is_exported(path: str | Path) -> bool:
    """Whether the name is that of an exported file, which has its own arithmetic and runs on the CPU."""
    return _runtime_name(path) is not None


def device_for(path: str | Path, device: str) -> str:
    """`device`, or cpu for an exported file. UserError when another is asked for than such a file runs on."""
    if not is_exported(path):
        return device
    if device not in ("auto", "cpu"):
        raise UserError(f"device {device} was asked for, but {path} runs on the CPU: leave it out")
    return "cpu"


def _runtime(path: str | Path) -> Any:
    module = _runtime_name(path)
    return None if module is None else importlib.import_module(module)


def _runtime_name(path: str | Path) -> str | None:
    """Module of the file's kind, None for a checkpoint."""
    if Path(path).is_dir():
        return RUNTIMES[""]
    suffix = Path(path).suffix.lower()
    return RUNTIMES.get(suffix) if suffix else None

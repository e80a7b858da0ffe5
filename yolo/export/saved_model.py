"""SavedModel folders, by onnx2tf."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from yolo.export import onnx2tf
from yolo.export.config import FormatConfig, Source, Written


@dataclass(frozen=True)
class SavedModelConfig(FormatConfig):
    """Options of SavedModel folders."""


def require(_config: SavedModelConfig) -> None:
    """UserError that names what to install unless everything that writing takes is there."""
    onnx2tf.require()


def write(source: Source, _config: SavedModelConfig, path: Path) -> Written:
    """Write the folder, with the record in it.

    Args:
        source: its model in float32.
        path: of the folder, which does not exist.

    Raises:
        UserError: a converter refuses the network.
    """
    from yolo.runtime.saved_model import RECORD

    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        converted = onnx2tf.convert(source, Path(place))
        stored = converted.saved_model / RECORD
        stored.parent.mkdir()
        stored.write_text(source.record.to_json(), encoding="utf-8")
        converted.saved_model.rename(path)
    return Written(converted.saved_model_operators)

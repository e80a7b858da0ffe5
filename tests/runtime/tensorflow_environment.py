"""Whether there is an environment with TensorFlow and onnx2tf, and what takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo.errors import UserError
from yolo.export import onnx2tf


def missing() -> str:
    """Why what takes the environment cannot be tested, in a sentence; empty when it can."""
    try:
        onnx2tf.require()
    except UserError as error:
        return str(error)
    return ""


MISSING = missing()
needs_tensorflow = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def write_folder(path: Path, record: str | bytes | None) -> Path:
    """A folder that looks like a SavedModel to what only reads records."""
    (path / "assets.extra").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"no graph")
    if record is not None:
        content = record.encode() if isinstance(record, str) else record
        (path / "assets.extra" / "yolo.json").write_bytes(content)
    return path

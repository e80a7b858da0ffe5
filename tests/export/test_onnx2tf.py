from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.export.random_network import card_of, randomise
from tests.runtime.tensorflow_environment import needs_tensorflow
from yolo.errors import UserError
from yolo.export import onnx2tf
from yolo.export.config import Source
from yolo.export.parity import random_images
from yolo.models.exportable import ExportableModel
from yolo.runtime import saved_model, tflite
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.tflite_file import write_record

pytest.importorskip("onnx")
pytest.importorskip("ai_edge_litert")


@pytest.mark.skipif(sys.platform == "win32", reason="a script of the shell in the place of Python")
def test_an_interpreter_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr("yolo.environments.find_spec", lambda name: None)
    monkeypatch.setenv("YOLO_TFLITE_PYTHON", str(python))
    with pytest.raises(UserError, match=r"needs onnx2tf, which .*python does not have: bash scripts/setup_tflite_"):
        onnx2tf.require()
    monkeypatch.setattr("yolo.environments.Environment.require_package", lambda _: None)
    with pytest.raises(UserError, match=r"onnx2tf_convert.py failed with status 1: .* lacks onnx2tf and"):
        onnx2tf.require()


@pytest.mark.slow
@needs_tensorflow
def test_maps_of_a_tflite_file(tmp_path: Path) -> None:
    """Names, order and layout are the record's; also where a map has as many channels as rows and columns."""
    card = card_of("v9-t", 3, (512, 512))
    exportable = ExportableModel(randomise(card.network.build(3)), (512, 512), "raw")
    record = ExportRecord.of(exportable, "v9-t", card)
    assert record.outputs["box_logits_0"] == (64, 64, 64)
    converted = onnx2tf.convert(Source(exportable, record), tmp_path)
    saved = converted.saved_model
    (saved / saved_model.RECORD).parent.mkdir()
    (saved / saved_model.RECORD).write_text(record.to_json())
    assert converted.tflite_operators["CONV_2D"] > 100
    write_record(converted.tflite, record)
    images = random_images(1, (512, 512))
    with torch.inference_mode():
        wanted = exportable(images)
    for open_network, path in ((tflite.open_network, converted.tflite), (saved_model.open_network, saved)):
        maps = open_network(path)(images)[0]
        for level, pair in zip(maps, zip(wanted[::2], wanted[1::2], strict=True), strict=True):
            np.testing.assert_allclose(level, torch.cat(pair, 1), atol=1e-3)
    interpreter = tflite.open_interpreter(converted.tflite)
    assert [entry["name"] for entry in interpreter.get_input_details()] == ["images"]
    assert [entry["name"] for entry in interpreter.get_output_details()] == list(record.outputs)

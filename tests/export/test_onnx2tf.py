from __future__ import annotations

import json
import subprocess
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
from yolo.export.model import ExportableModel
from yolo.export.parity import random_images

pytest.importorskip("onnx")
RUN = """
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

model = Interpreter(sys.argv[1])
model.allocate_tensors()
(image,), outputs = model.get_input_details(), model.get_output_details()
model.set_tensor(image["index"], np.load(sys.argv[2]))
model.invoke()
np.savez(sys.argv[3], **{output["name"]: model.get_tensor(output["index"]) for output in outputs})
names = [entry["name"] for entry in (image, *outputs)]
print(json.dumps([names, sorted(model.get_signature_list()["serving_default"]["outputs"])]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a script of the shell in the place of Python")
def test_an_interpreter_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr("yolo.environments.find_spec", lambda name: None)
    monkeypatch.setenv("YOLO_TFLITE_PYTHON", str(python))
    with pytest.raises(UserError, match=r"onnx2tf_convert.py failed with status 1: .* lacks onnx2tf and"):
        onnx2tf.require()


@pytest.mark.slow
@needs_tensorflow
def test_maps_of_a_tflite_file(tmp_path: Path) -> None:
    """Names, order and layout are the record's; also where a map has as many channels as rows and columns."""
    card = card_of("v9-t", 3, (512, 512))
    exportable = ExportableModel(randomise(card.network.build(3)), (512, 512), "raw")
    record = exportable.record("v9-t", card)
    assert record.outputs["box_logits_0"] == (64, 64, 64)
    converted = onnx2tf.convert(Source(exportable, record), tmp_path)
    assert (converted.saved_model / "saved_model.pb").is_file()
    assert converted.tflite_operators["CONV_2D"] > 100
    images = random_images(1, (512, 512))
    np.save(tmp_path / "images.npy", images.permute(0, 2, 3, 1).numpy())
    arguments = (converted.tflite, tmp_path / "images.npy", tmp_path / "outputs.npz")
    done = subprocess.run([onnx2tf._python(), "-c", RUN, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["images", *record.outputs], sorted(record.outputs)]
    with torch.inference_mode():
        wanted = dict(zip(record.outputs, exportable(images), strict=True))
    with np.load(tmp_path / "outputs.npz") as outputs:
        for name in record.outputs:
            np.testing.assert_allclose(outputs[name].transpose(0, 3, 1, 2), wanted[name], atol=1e-3)

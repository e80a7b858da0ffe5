from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.export.tflite_files import SIZE, edited, needs_tflite, small_file
from yolo.errors import UserError
from yolo.model_file import open_model, read_card
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.tflite import from_numbers, open_interpreter, open_network, to_numbers
from yolo.runtime.tflite_file import sealed, write_record


@needs_tflite
@pytest.mark.slow
@pytest.mark.parametrize(("form", "quantization"), [("split", "fp32"), ("raw", "fp32"), ("raw", "int8")])
def test_takes_the_place_of_a_network(form: Any, quantization: Any, tmp_path: Path) -> None:
    small = small_file(form, quantization)
    path = small.at(tmp_path)
    network, card = open_model(path)
    assert card == small.record.card == read_card(path)
    assert network.cost == (small.record.parameters, len(small.content))
    images = torch.rand(3, 3, *SIZE)
    together = network.decode(network(images)[0])
    assert together.shape == (3, 4 + 3, sum(h * w for h, w in small.record.levels))
    alone = network.decode(network(images[1:2])[0])[0]
    assert torch.allclose(alone, together[1], atol=1e-4)  # whatever came before
    with pytest.raises(UserError, match=r"the file takes images \[B, 3, 64, 96\]"):
        network(torch.zeros(1, 3, 96, 64))


def test_numbers_of_int8_tensors() -> None:
    tensor = {"dtype": np.int8, "quantization": (1 / 255, -128)}
    pixels = np.arange(256, dtype=np.float32) / 255
    assert np.array_equal(to_numbers(pixels, tensor), np.arange(-128, 128))
    assert np.array_equal(to_numbers(np.float32([-0.1, 1.1]), tensor), [-128, 127])
    np.testing.assert_allclose(from_numbers(to_numbers(pixels, tensor), tensor), pixels, atol=1e-6)
    exact = {"dtype": np.float32, "quantization": (0.0, 0)}
    assert np.array_equal(from_numbers(to_numbers(pixels, exact), exact), pixels)


@needs_tflite
@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"image_size": (64, 64)}, "by its record images of (64, 64)"),
        ({"levels": ((9, 9), (2, 3))}, "by its record they are"),
        ({"form": "raw"}, "by its record they are"),
        ({"class_names": ("a", "b"), "category_ids": (1, 2), "dataset_names": ("a", "b")}, "by its record they are"),
    ],
)
def test_a_record_of_another_file_is_refused(changes: dict[str, Any], fragment: str, tmp_path: Path) -> None:
    """Of files with two outputs, whose seal is whole."""
    path = small_file().at(tmp_path)
    stored: ExportRecord = replace(small_file().record, **changes)
    if len(stored.outputs) != 2:
        stored = replace(stored, strides=stored.strides[:1], levels=stored.levels[:1])
    _record(path, stored)
    with pytest.raises(UserError) as error:
        open_network(path)
    assert str(error.value).startswith(f"{path}: ")
    assert fragment in str(error.value)


def _record(path: Path, record: ExportRecord) -> None:
    path.write_bytes(edited(path.read_bytes(), lambda model: setattr(model, "metadata", None)))
    write_record(path, record)


@needs_tflite
@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "signatureDefs", None),
        lambda model: setattr(model.signatureDefs[0], "signatureKey", "another"),
        lambda model: setattr(model.signatureDefs[0], "inputs", []),
        lambda model: model.signatureDefs[0].outputs.pop(),
        lambda model: setattr(model.signatureDefs[0].outputs[0], "tensorIndex", 1),
        lambda model: setattr(model.signatureDefs[0].inputs[0], "name", "pictures"),
        lambda model: setattr(model.operatorCodes[0], "builtinCode", 9999),
        lambda model: setattr(model.subgraphs[0].operators[3], "inputs", [0, 0, 0]),
    ],
)
def test_a_file_that_is_whole_and_wrong(change: Callable[[Any], None], tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(sealed(edited(small_file().content, change)))
    with pytest.raises(UserError) as error:
        open_network(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@needs_tflite
@pytest.mark.slow
def test_an_onnx_file_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(b"\x08\x08\x12\x04yolo" + bytes(99))
    with pytest.raises(UserError, match=r"a\.tflite: not a TFLite file"):
        open_network(path)


@needs_tflite
@pytest.mark.slow
def test_runs_on_as_many_threads_as_torch_and_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    interpreter = open_interpreter(small_file().at(tmp_path))
    interpreter.invoke()
    assert capfd.readouterr() == ("", "")

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.export.small_network import SmallNetwork
from tests.export.tflite_files import SIZE, Small, calibration, export, needs_tflite, small_file
from yolo.errors import UserError
from yolo.export.parity import random_images
from yolo.export.tflite import TFLiteConfig, require
from yolo.models.detection_model import Maps
from yolo.runtime.tflite import open_network, read_record

# Boxes in pixels and scores, of any anchor and on average: of the network that the file was made of.
BARS = {
    "fp32": (1e-2, 1e-4, 1e-3, 1e-5),
    "fp16": (2.0, 5e-2, 0.05, 1e-3),
    "dynamic": (48.0, 0.3, 2.0, 0.02),
    "int8": (96.0, 0.5, 8.0, 0.06),
}


def decoded(small: Small, folder: Path, images: Tensor) -> tuple[Tensor, Tensor]:
    """Of the file and of its network."""
    file = open_network(small.at(folder))
    with torch.no_grad():
        return file.decode(file(images)[0]), small.network.decode(small.network(images)[0])


@needs_tflite
@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "quantization"),
    [("split", "fp32"), ("full", "fp32"), ("raw", "fp32"), ("split", "fp16"), ("full", "dynamic"), ("split", "int8"),
     ("raw", "int8")],
)  # fmt: skip
def test_the_file_computes_what_the_network_computes(form: Any, quantization: Any, tmp_path: Path) -> None:
    small = small_file(form, quantization)
    found, wanted = decoded(small, tmp_path, random_images(3, SIZE))
    difference = (found - wanted).abs()
    boxes, scores = difference[:, :4], difference[:, 4:]
    measured = [float(value) for value in (boxes.max(), scores.max(), boxes.mean(), scores.mean())]
    assert all(value < bar for value, bar in zip(measured, BARS[quantization], strict=True)), measured
    assert len(found[:, 4:].unique()) > 10
    assert small.written.failures == ()
    assert small.written.notes == ("XNNPACK takes all operators",)
    assert read_record(small.at(tmp_path)) == small.record
    assert not {"CONV_3D", "GATHER", "GATHER_ND", "RESIZE_NEAREST_NEIGHBOR"} & set(small.written.operators)


@needs_tflite
@pytest.mark.slow
def test_an_int8_file_computes_what_its_graph_computes(tmp_path: Path) -> None:
    small = small_file("split", "int8")
    file = open_network(small.at(tmp_path))
    assert small.written.quantized is not None
    for images in random_images(3, SIZE, seed=5)[:, None]:
        boxes, scores = file(images)[0]
        wanted_boxes, wanted_scores = small.written.quantized(images)
        assert (boxes - wanted_boxes).abs().mean() < 0.4
        assert (scores - wanted_scores).abs().mean() < 8e-3


@needs_tflite
@pytest.mark.slow
def test_sizes_and_numbers_of_the_files(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    sizes = {kind: len(small_file("split", kind).content) for kind in ("fp32", "fp16", "int8")}
    assert sizes["int8"] < sizes["fp16"] < sizes["fp32"]
    for form, kind, dtypes in (("raw", "int8", {"int8"}), ("split", "int8", {"float32"}), ("raw", "fp32", {"float32"})):
        interpreter = Interpreter(str(small_file(form, kind).at(tmp_path)))
        (image,) = interpreter.get_input_details()
        outputs = interpreter.get_output_details()
        assert image["name"] == "images"
        assert image["shape"].tolist() == [1, *SIZE, 3]
        assert image["dtype"].__name__ == ("int8" if kind == "int8" else "float32")
        assert [output["name"] for output in outputs] == list(small_file(form, kind).record.outputs)
        assert {output["dtype"].__name__ for output in outputs} == dtypes
        if kind == "int8":
            assert image["quantization"] == (pytest.approx(1 / 255), -128)


@needs_tflite
@pytest.mark.slow
def test_boxes_and_scores_of_all_levels_share_ranges(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    outputs = Interpreter(str(small_file("raw", "int8").at(tmp_path))).get_output_details()
    ranges = [output["quantization"] for output in outputs]
    assert ranges[0] == ranges[2]
    assert ranges[1] == ranges[3]


@needs_tflite
@pytest.mark.slow
def test_what_xnnpack_does_not_take_is_named(tmp_path: Path) -> None:
    notes = small_file("split", "int8", xnnpack_optimize=False).written.notes
    assert notes == ("XNNPACK takes all operators but {'AVERAGE_POOL_2D': 3, 'RESIZE_NEAREST_NEIGHBOR': 1}",)


class Unruly(SmallNetwork):
    """Has an operator for which INT8 has no rule."""

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        return super().forward(0.5 + 0.5 * torch.cos(3 * images))


@needs_tflite
@pytest.mark.slow
def test_an_operator_without_a_rule_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Unruly(3).eval()
    *_, content, written = export(network, TFLiteConfig(form="raw", quantization="int8"))
    assert written.notes[0] == "no INT8 rule for aten.cos.default, which stays in float"
    assert written.failures == ()
    assert written.operators["COS"] == 1
    (tmp_path / "a.tflite").write_bytes(content)
    file, images = open_network(tmp_path / "a.tflite"), next(iter(calibration()))
    with torch.no_grad():
        for found, wanted in zip(file(images)[0], network(images)[0], strict=True):
            assert (found - wanted).abs().mean() < 0.1 * wanted.std()


def test_scores_beside_boxes_are_refused_in_int8() -> None:
    with pytest.raises(UserError, match="--form is full, which --quantization int8 does not have"):
        TFLiteConfig(form="full", quantization="int8")
    assert TFLiteConfig(quantization="int8").output_form == "split"


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("yolo.export.tflite.find_spec", lambda name: None if name == "torchao" else found("sys"))
    require(TFLiteConfig())
    with pytest.raises(UserError, match=r"needs torchao: pip install 'yolo\[tflite\]'"):
        require(TFLiteConfig(quantization="int8"))
    monkeypatch.setattr("yolo.export.tflite.find_spec", lambda name: None)
    with pytest.raises(UserError, match="ai-edge-litert and litert-torch and ai-edge-quantizer"):
        require(TFLiteConfig())

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.export.own_dataset import write_own_dataset
from tests.export.random_network import random_checkpoint
from tests.export.tflite_files import SMALL, convolution_tensors, edited, needs_tflite
from yolo import Detector
from yolo.export import litert
from yolo.export import tflite as tflite_export
from yolo.models.checkpoint import allow_network

CLASSES = 3
EXPORT = ["export", "-c=a.ckpt", "-f=tflite", f"--network={SMALL}"]
INT8 = ["-q=int8", "--calibration-images=pictures"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of a small network, and pictures."""
    random_checkpoint(tmp_path / "a.ckpt", SMALL, classes=CLASSES)
    (tmp_path / "pictures").mkdir()
    for index in range(12):
        image = np.random.default_rng(index).integers(0, 255, (4, 6, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"pictures/{index:02d}.png"), cv2.resize(image, (60, 40)))
    return tmp_path


@needs_tflite
@pytest.mark.slow
def test_an_int8_file(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        done = run_yolo(*EXPORT, *INT8, "--num-calibration=10", "--images=pictures", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "calibrated with 10 images, fewer than the 100 advised" in caplog.text
    for words in ("form split, int8", "torch, quantised", "XNNPACK takes all operators", "accuracy was not measured"):
        assert words in done.stdout
    document = json.loads((folder / "a.tflite.json").read_text())
    assert document["parity"]["failures"] == document["file"]["failures"] == []
    assert document["parity"]["conversion"]["file"]["scores_mean"] < 0.01
    assert document["parity"]["score_levels"] > 20
    assert document["file"]["operators"]["CONV_2D"] == 16
    record = document["record"]
    assert (record["quantization"], record["form"], len(record["calibration"])) == ("int8", "split", 64)
    image = cv2.imread(str(folder / "pictures/03.png"))[..., ::-1]
    found, wanted = (
        Detector.load(folder / name, device="cpu")(image, confidence=0.3) for name in ("a.tflite", "a.ckpt")
    )
    assert len(found) > 0
    assert abs(len(found) - len(wanted)) <= max(3, 0.5 * len(wanted))
    assert sorted(path.name for path in folder.iterdir()) == ["a.ckpt", "a.tflite", "a.tflite.json", "pictures"]


def _one_level(model: Any) -> None:
    """Class logits that say nothing."""
    for _, weight, bias in class_convolutions(model):
        for tensor in (weight, bias):
            model.buffers[tensor.buffer].data = np.zeros_like(model.buffers[tensor.buffer].data)


def class_convolutions(model: Any) -> list[Any]:
    found = []
    (graph,) = model.subgraphs
    for operator in graph.operators:
        tensors = [graph.tensors[index] for index in operator.inputs if index >= 0]
        if len(tensors) == 3 and tensors[1].shape is not None and list(tensors[1].shape) == [CLASSES, 1, 1, 8]:
            found.append(tensors)
    assert len(found) == 2
    return found


def _changed_bias(model: Any) -> None:
    bias = convolution_tensors(model, CLASSES)[2]
    values = np.asarray(model.buffers[bias.buffer].data, np.uint8).view(np.int32).copy()
    values[0] += 50
    model.buffers[bias.buffer].data = values.view(np.uint8)


@needs_tflite
@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "sentences"),
    [
        (_one_level, ["file, batch 1: all scores are the same", "INT8 weights: those of conv2d"]),
        (_changed_bias, ["INT8 biases: that of channel 0 of conv2d", "steps away (1 is allowed)"]),
    ],
)
def test_a_spoiled_int8_file_is_not_handed_over(
    spoil: Callable[[Any], None], sentences: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.tflite").write_text("the last one")
    convert = litert.convert
    monkeypatch.setattr(litert, "convert", lambda *arguments, **options: edited(convert(*arguments, **options), spoil))
    before = sorted(folder.rglob("*"))
    done = run_yolo(*EXPORT, *INT8, cwd=folder)
    assert done.returncode == 1
    lines = [line.partition("error: a.ckpt was not exported: ")[2] for line in done.stderr.splitlines()]
    for sentence in sentences:
        assert any(sentence in line for line in lines), done.stderr
    assert sorted(folder.rglob("*")) == before
    assert (folder / "a.tflite").read_text() == "the last one"


@needs_tflite
@pytest.mark.slow
def test_hardswish_is_another_network_that_is_measured(folder: Path) -> None:
    allow_network(SMALL)
    data = write_own_dataset(folder / "data", folder / "a.ckpt")
    done = run_yolo(*EXPORT, "--hardswish", *data, cwd=folder)
    assert done.returncode == 0, done.stderr
    document = json.loads((folder / "a.tflite.json").read_text())
    assert document["record"]["network"] == f"{SMALL} with HardSwish"
    assert document["file"]["operators"]["HARD_SWISH"] == 12
    assert document["parity"]["stages"][-1]["boxes"] < 1e-2  # against the changed network
    assert document["accuracy"]["checkpoint"]["ap"] > 0.7  # the one that was trained
    assert document["accuracy"]["drop"] > 0.01
    done = run_yolo(*EXPORT, "--hardswish", *data, "--max-drop=0.01", cwd=folder)
    assert done.returncode == 1
    assert "AP50-95 falls from" in done.stderr


@needs_tflite
@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["-q=int8"], ["--quantization int8 takes images to calibrate with", "--calibration-images FOLDER"]),
        ([*INT8, "--form=full"], ["--form is full, which --quantization int8 does not have"]),
        (["-q=int8", "--calibration-images=nowhere"], ["--calibration-images is nowhere", "no folder"]),
        (["-q=int8", "--calibration-images=broken"], ["a.png"]),
        (["--calibration-images=pictures"], ["--calibration-images is for --quantization int8, which is fp32"]),
        (["-q=int4"], ["quantization", "int4"]),
        (["--opset=17", "--half"], ["--opset is an option of --format onnx, which is tflite"]),
        (["--output=a.onnx"], ["a.onnx", "ends in .tflite"]),
        (["--hardswish"], ["--hardswish changes what the network computes, so it takes a dataset"]),
        (["--format=onnx", "--hardswish"], ["--hardswish is an option of --format tflite, which is onnx"]),
        (["--format=onnx", "--no-xnnpack-optimize"], ["--no-xnnpack-optimize is an option of --format tflite"]),
    ],
)
def test_impossible_requests(
    arguments: list[str], fragments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("began to work")

    monkeypatch.setattr(tflite_export, "write", never)
    (folder / "broken").mkdir()
    (folder / "broken/a.png").write_text("no image")
    before = sorted(folder.rglob("*"))
    assert_user_error(run_yolo(*EXPORT, *arguments, cwd=folder), *fragments)
    assert sorted(folder.rglob("*")) == before


def test_hardswish_needs_a_silu(folder: Path) -> None:
    name = "tests.models.test_checkpoint.TinyNetwork"
    random_checkpoint(folder / "a.ckpt", name)
    allow_network(name)
    data = write_own_dataset(folder / "data", folder / "a.ckpt", images=1)
    done = run_yolo("export", "-c=a.ckpt", "-f=tflite", "--hardswish", *data, cwd=folder)
    assert_user_error(done, "--hardswish: the network has no torch.nn.SiLU")


def test_without_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_export, "find_spec", lambda name: None)
    done = run_yolo(*EXPORT, *INT8, cwd=folder)
    assert_user_error(done, "needs ai-edge-litert and litert-torch", "and torchao: pip install 'yolo[tflite]'")

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.export.own_dataset import own_checkpoint, write_own_dataset
from tests.export.random_network import random_checkpoint
from tests.runtime.tensorflow_environment import needs_tensorflow, write_folder
from yolo import Detector, environments
from yolo.export import onnx2tf, saved_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--quantization=fp16"], ["--quantization is fp16", "SavedModel files are fp32"]),
        (["--opset=13"], ["--opset", "--format onnx", "saved_model"]),
        (["--output=a.onnx"], ["a.onnx", "the name of a folder"]),
        (["--output=b.ckpt"], ["b.ckpt", "the name of a folder"]),
        (["--output=."], ["--output is .", "the name of a folder"]),
        (["--output=full"], ["full", "exists and is no SavedModel of `yolo export`"]),
        (["--output=a.txt"], ["a.txt", "exists and is no SavedModel of `yolo export`"]),
        (["--output=strange"], ["strange", "exists and is no SavedModel of `yolo export`"]),
        (["--output=nowhere/model"], ["no folder nowhere"]),
    ],
)
def test_impossible_requests(
    arguments: list[str], fragments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("began to work")

    monkeypatch.setattr(onnx2tf, "require", lambda: None)
    monkeypatch.setattr(saved_model, "write", never)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    write_folder(tmp_path / "strange", None)
    for name in ("a.ckpt", "a.txt"):
        (tmp_path / name).write_text("never read")
    before = sorted(tmp_path.rglob("*"))
    done = run_yolo("export", "--checkpoint=a.ckpt", "--format=saved_model", *arguments, cwd=tmp_path)
    assert_user_error(done, *fragments)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "find_spec", lambda name: None)
    monkeypatch.delenv("YOLO_TFLITE_PYTHON", raising=False)
    done = run_yolo("export", "-c", "a.ckpt", "--format=saved_model", cwd=tmp_path)
    assert_user_error(done, "onnx2tf needs onnx2tf", "bash scripts/setup_tflite_export.sh")


@pytest.mark.slow
@pytest.mark.parametrize("before", ["nothing", "an empty folder", "one of ours"])
def test_the_folder_stands_when_it_is_complete(before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a converter that fails leaves: what was there."""

    def fail(source: Any, config: Any, path: Path) -> None:
        write_folder(path, source.record.to_json())
        raise OSError(28, "No space left on device")

    target = tmp_path / "a_saved_model"
    if before != "nothing":
        target.mkdir()
    if before == "one of ours":
        target.rmdir()
        write_folder(target, "{}")
    monkeypatch.setattr(onnx2tf, "require", lambda: None)
    monkeypatch.setattr(saved_model, "write", fail)
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    files = sorted(tmp_path.rglob("*"))
    done = run_yolo("export", "-c", checkpoint, "--format=saved_model")
    assert_user_error(done, "No space left on device")
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.slow
@needs_tensorflow
def test_a_folder_detects_like_its_checkpoint(tmp_path: Path) -> None:
    checkpoint = own_checkpoint(tmp_path)
    target = write_folder(tmp_path / "a_saved_model", "{}")  # an earlier one, which gives way
    data = write_own_dataset(tmp_path / "data", checkpoint)
    done = run_yolo("export", "-c", checkpoint, "--format=saved_model", *data, "--max-drop=0.001")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", target.name, f"{target.name}.json", "data"]
    document = json.loads((tmp_path / f"{target.name}.json").read_text())
    assert document["record"] == json.loads((target / "assets.extra" / "yolo.json").read_text())
    assert document["file"]["operators"]["Conv2D"] > 100
    assert document["file"]["bytes"] == sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    image = np.random.default_rng(0).integers(0, 255, (50, 90, 3), np.uint8)
    found, wanted = (Detector.load(path, device="cpu")(image, confidence=0.05) for path in (target, checkpoint))
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.02)
    accuracy = document["accuracy"]
    assert accuracy["checkpoint"]["ap"] > 0.5
    assert accuracy["file"]["ap"] == pytest.approx(accuracy["checkpoint"]["ap"], abs=0.001)

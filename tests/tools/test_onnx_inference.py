from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import run_yolo
from tests.export.random_network import random_checkpoint

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SCRIPT = Path(__file__).parents[2] / "tools" / "onnx_inference.py"
LINE = re.compile(r"^  \[\d+\] (.+): ([\d.]+) \[(.+)\]$", re.MULTILINE)


def detect(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its files in all forms, an image."""
    folder = tmp_path_factory.mktemp("tool")
    checkpoint = random_checkpoint(folder / "a.ckpt", "v9-t")
    for form in ("full", "split", "raw"):
        done = run_yolo("export", "-c", checkpoint, "--form", form, "--size", "64", "96", "-o", folder / f"{form}.onnx")
        assert done.returncode == 0, done.stderr
    image = np.random.default_rng(0).integers(0, 255, (53, 131, 3), np.uint8)
    cv2.imwrite(str(folder / "image.png"), image)
    done = run_yolo("predict", "-c", checkpoint, "-s", folder / "image.png", "-o", folder, "--no-draw", "--save-json",
                    "--size", "64", "96", "--device=cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("form", ["full", "split", "raw"])
def test_finds_what_predict_finds(folder: Path, form: str) -> None:
    done = detect("--model", folder / f"{form}.onnx", "--image", folder / "image.png")
    assert done.returncode == 0, done.stderr
    wanted = json.loads((folder / "predictions.json").read_text())[0]["detections"]
    found = LINE.findall(done.stdout)
    assert f"Found {len(wanted)} detections" in done.stdout
    assert len(found) == len(wanted) > 3
    for (name, score, box), detection in zip(found, wanted, strict=True):
        assert name == detection["name"]
        assert float(score) == pytest.approx(detection["score"], abs=6e-4)
        assert list(map(float, box.split(", "))) == pytest.approx(detection["box"], abs=0.07)


def test_draws_and_takes_every_flag(folder: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\nthree\n")
    done = detect(
        "--model", folder / "full.onnx", "--image", folder / "image.png", "--output", tmp_path / "out.png",
        "--conf-thresh", "0.3", "--iou-thresh", "0.4", "--num-classes", "3", "--input-size", "64", "96",
        "--class-names", names,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = LINE.findall(done.stdout)
    assert found
    assert {name for name, _, _ in found} <= {"one", "two", "three"}
    assert min(float(score) for _, score, _ in found) >= 0.3
    drawn, image = (cv2.imread(str(path)) for path in (tmp_path / "out.png", folder / "image.png"))
    assert drawn.shape == image.shape
    assert (drawn != image).any()


def test_a_file_of_somebody_else(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "full.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "b.onnx")
    done = detect("--model", tmp_path / "b.onnx", "--image", folder / "image.png", "--iou-thresh", "0.65")
    assert done.returncode == 0, done.stderr
    found = LINE.findall(done.stdout)
    assert found
    assert all(re.fullmatch(r"Class \d", name) for name, _, _ in found)


def with_record(folder: Path, name: str, record: str) -> Path:
    """The file with another record in it, or none."""
    model = onnx.load(folder / "raw.onnx")
    del model.metadata_props[:]
    if record:
        onnx.helper.set_model_props(model, {"yolo": record})
    onnx.save(model, folder / name)
    return folder / name


def test_damaged_files_and_those_of_others(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "short.onnx").write_bytes((folder / "full.onnx").read_bytes()[:100_000])
    node, value = onnx.helper.make_node("Relu", ["x"], ["y"]), onnx.helper.make_tensor_value_info
    for name, shape in (("flat", [1, 10]), ("picture", [1, 3, 64, 96])):
        graph = onnx.helper.make_graph([node], "g", [value("x", 1, shape)], [value("y", 1, shape)])
        opset = [onnx.helper.make_opsetid("", 17)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / f"{name}.onnx")
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe")
    program, image = runpy.run_path(str(SCRIPT)), ["--image", str(folder / "image.png")]
    for arguments, sentence in (
        (["--model", tmp_path / "short.onnx"], "not an ONNX file that onnxruntime can run"),
        (["--model", tmp_path / "flat.onnx"], "its input is [1, 10], expected images"),
        (["--model", tmp_path / "picture.onnx"], "its outputs are not those of a detector"),
        (["--model", with_record(folder, "none.onnx", "")], "its outputs are not those of a detector"),
        (["--model", with_record(folder, "broken.onnx", "{")], "its record is not as `yolo export` writes it"),
        (["--model", with_record(folder, "list.onnx", "[1]")], "its record is not as `yolo export` writes it"),
        (["--model", with_record(folder, "form.onnx", '{"form": "x"}')], "its form is 'x'"),
        (["--model", with_record(folder, "bare.onnx", '{"form": "raw"}')], "its outputs are not those of a detector"),
        (["--model", folder / "full.onnx", "--input-size", "64", "64"], "--input-size is [64, 64], the file takes"),
        (["--model", folder / "full.onnx", "--class-names", tmp_path / "names.txt"], "names.txt: not a text file"),
        (["--model", folder / "full.onnx", "--output", tmp_path / "a.foo"], "a.foo: cannot be written"),
    ):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments), *image])
        with pytest.raises(SystemExit) as ended:
            program["main"]()
        assert str(ended.value).startswith("error: ")
        assert sentence in str(ended.value)


def test_wrong_input(folder: Path, tmp_path: Path) -> None:
    names, broken = tmp_path / "names.txt", tmp_path / "broken.png"
    names.write_text("one\n")
    broken.write_text("no image")
    model, image = ["--model", folder / "full.onnx"], ["--image", folder / "image.png"]
    (tmp_path / "same.png").symlink_to(folder / "image.png")
    for arguments, sentence in (
        ([*model, "--image", "none.png"], "none.png: no such file"),
        (["--model", "none.onnx", *image], "none.onnx: no such file"),
        ([*model, "--image", broken], "not an image"),
        ([*model, *image, "--num-classes", "4"], "--num-classes is 4, the file has 3"),
        ([*model, *image, "--class-names", names], "1 names for 3 classes"),
        ([*model, *image, "--output", tmp_path / ".." / tmp_path.name / "same.png"], "the image itself"),
    ):
        done = detect(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert sentence in done.stderr

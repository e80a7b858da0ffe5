from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Run, assert_user_error, run_yolo
from tests.export.own_dataset import own_checkpoint, write_own_dataset
from tests.export.random_network import random_checkpoint
from tests.export.tflite_files import SMALL
from tests.processes import Launched
from tests.tiny_dataset import write_dataset
from yolo import Detector
from yolo.cli import main
from yolo.commands.measurement import measure
from yolo.commands.validate import parse
from yolo.errors import UserError
from yolo.export import onnx as onnx_export
from yolo.export.bars import BARS, Bars
from yolo.models.checkpoint import allow_network

onnx = pytest.importorskip("onnx")
DATA = ["--data.format=yolo", "--data.root=data", "--data.num_workers=0"]
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best checkpoint of the tiny run as a file."""
    path = tmp_path_factory.mktemp("exported") / "best.onnx"
    done = run_yolo("export", "-c", tiny_run.best, "-o", path, "--dynamic-batch", "--simplify")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file and its checkpoint, which finds things in noise."""
    checkpoint = random_checkpoint(tmp_path_factory.mktemp("pair") / "a.ckpt", "v9-t")
    done = run_yolo("export", "-c", checkpoint)
    assert done.returncode == 0, done.stderr
    return checkpoint.with_suffix(".onnx"), checkpoint


@pytest.mark.slow
def test_prints_and_keeps_the_comparison(tmp_path: Path, pictures: Path) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    done = run_yolo("export", "--checkpoint", checkpoint, "--images", pictures, "--opset=13")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "a.onnx", "a.onnx.json", "pictures"]
    document = json.loads((tmp_path / "a.onnx.json").read_text())
    assert document["parity"]["source"] == "images of --images"
    assert str(tmp_path) not in (tmp_path / "a.onnx.json").read_text()
    assert document["accuracy"] is None
    assert document["parity"]["images"] == 16
    assert document["parity"]["failures"] == []
    stored = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert json.loads(stored["yolo"]) == document["record"]
    for words in ("file, batch 1", "accuracy was not measured", "form full, fp32", "16 images of"):
        assert words in done.stdout
    assert "Warning" not in done.stderr


@pytest.mark.slow
def test_a_network_in_float_needs_no_torchao(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", SMALL)
    code = "import sys; sys.modules['torchao'] = None; from yolo.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "export", "-c", str(checkpoint), "--network", SMALL]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.onnx").is_file()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(20):
        image = np.random.default_rng(index).integers(0, 255, (40, 60, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


def test_validates_like_its_checkpoint(exported: Path, tiny_run: Run) -> None:
    options, data, _ = parse(["-c", str(exported), "--workers=0"])
    assert (data.format, data.shapes_val) == ("shapes", 9)
    found = measure(options, data).as_dict()
    wanted = measure(replace(options, checkpoint=tiny_run.best), data).as_dict()
    assert found == pytest.approx(wanted, abs=1e-4)


def test_compares_with_its_checkpoint(exported: Path, tiny_run: Run) -> None:
    done = run_yolo("compare", tiny_run.best, exported, "--samples=100", "--device=cpu", "--data.num_workers=0")
    assert done.returncode == 0, done.stderr  # the checkpoint's precision is not asked of the file
    assert "no difference shown" in done.stdout
    done = run_yolo("compare", tiny_run.best, exported, "--precision=bf16-mixed", "--data.num_workers=0")
    assert_user_error(done, "--precision is bf16-mixed", "best.onnx")


def test_benchmark_of_a_file(exported: Path, tmp_path: Path) -> None:
    done = run_yolo("validate", "-c", exported, "--benchmark", "--benchmark-runs=2", "--benchmark-warmup=1",
                    "--no-plots", "--no-report", "-o", tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "weights: 0.0 MB" in done.stdout  # so small is this network
    assert json.loads((tmp_path / "metrics.json").read_text())["benchmark"]["weights"] == exported.stat().st_size


@pytest.mark.slow
def test_predicts_like_its_checkpoint(pair: tuple[Path, Path], pictures: Path, tmp_path: Path) -> None:
    found: list[Any] = []
    for name, checkpoint in zip(("file", "checkpoint"), pair, strict=True):
        folder = tmp_path / name
        done = run_yolo("predict", "-c", checkpoint, "-s", pictures, "-o", folder, "--no-draw",
                        "--save-json", "--device=cpu", "--batch-size=3")  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(json.loads((folder / "predictions.json").read_text()))
    assert any(entry["detections"] for entry in found[0])
    for one, other in zip(*found, strict=True):
        assert [d["name"] for d in one["detections"]] == [d["name"] for d in other["detections"]]
        for key in ("score", "box"):
            values = [np.array([d[key] for d in entry["detections"]]) for entry in (one, other)]
            np.testing.assert_allclose(*values, atol=0.02)


def test_detector(pair: tuple[Path, Path]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 90, 3), np.uint8)
    found, wanted = (Detector.load(path, device="cpu")(image) for path in pair)
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.02)
    with pytest.raises(UserError, match="made for images of 64 x 64"):
        Detector.load(pair[0], image_size=96)


def test_other_sizes_of_a_file_are_refused(exported: Path, tmp_path: Path) -> None:
    for command in (["validate"], ["predict", "-s", str(exported)]):
        done = run_yolo(*command, "-c", exported, "-o", tmp_path / "out", "--size", "96")
        assert_user_error(done, "made for images of 64 x 64", "96 x 96")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_rectangular_raw_file(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    done = run_yolo("export", "-c", checkpoint, "--size", "64", "96", "--form=raw", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    image = np.random.default_rng(0).integers(0, 255, (50, 90, 3), np.uint8)
    found = Detector.load(tmp_path / "a.onnx", device="cpu")(image, confidence=0.05)
    wanted = Detector.load(checkpoint, device="cpu", image_size=(64, 96))(image, confidence=0.05)
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.02)


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "tests.models.test_checkpoint.TinyNetwork")
    done = run_yolo("export", "-c", checkpoint, "--network=tests.models.test_checkpoint.TinyNetwork")
    assert done.returncode == 0, done.stderr
    done = run_yolo("validate", "-c", tmp_path / "a.onnx", "--data.format=shapes", "--data.shapes_val=3",
                    "--workers=0", "-o", tmp_path / "out", "--no-plots", "--no-report")  # fmt: skip
    assert_user_error(done, "5 classes", "3 (class 0, class 1")  # the file needs no import, but this is not its data


@pytest.mark.parametrize(
    ("section", "values", "fragment"),
    [
        ("data", {"nonsense": 1}, "nonsense"),
        ("data", {"format": "evil"}, "evil"),
        ("model", {"nms_iou_threshold": 7}, "7"),
        ("trainer", {"image_loader": "os.system"}, "os.system"),
        ("data", {"format": "coco", "root": "/no/such"}, "/no/such"),
    ],
)
def test_a_record_with_impossible_options(
    section: str, values: dict[str, Any], fragment: str, exported: Path, tmp_path: Path
) -> None:
    proto = onnx.load(exported)
    record = json.loads(proto.metadata_props[0].value)
    record["config"][section] |= values
    if section == "trainer":
        record["config"]["data"] |= {"format": "yolo", "root": str(tmp_path / "data")}
    onnx.helper.set_model_props(proto, {"yolo": json.dumps(record)})
    onnx.save(proto, tmp_path / "a.onnx")
    assert_user_error(run_yolo("validate", "-c", tmp_path / "a.onnx", "-o", tmp_path / "out"), fragment)


@pytest.mark.slow
def test_a_file_that_computes_something_else_is_not_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    (tmp_path / "a.onnx").write_text("the last one")
    write = onnx_export.write

    def spoil(source: Any, config: Any, path: Path) -> Any:
        written = write(source, config, path)
        proto = onnx.load(path)
        bias = next(t for t in proto.graph.initializer if t.name.endswith("head.cls.0.2.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
        onnx.save(proto, path)
        return written

    monkeypatch.setattr(onnx_export, "write", spoil)
    with pytest.raises(SystemExit) as end:
        main(["export", "-c", str(checkpoint)])
    assert end.value.code == 1
    assert "a.ckpt was not exported: file, batch 1: scores differ by" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "a.onnx"]
    assert (tmp_path / "a.onnx").read_text() == "the last one"


@pytest.mark.slow
def test_a_dataset_is_measured_on(tmp_path: Path) -> None:
    checkpoint = own_checkpoint(tmp_path)
    data = write_own_dataset(tmp_path / "data", checkpoint)
    done = run_yolo("export", "-c", checkpoint, *data, "--max-drop=0.001")
    assert done.returncode == 0, done.stderr
    assert "accuracy was not measured" not in done.stdout
    document = json.loads((tmp_path / "a.onnx.json").read_text())
    accuracy, parity = document["accuracy"], document["parity"]
    assert (parity["source"], parity["images"], accuracy["images"]) == ("validation images", 6, 6)
    assert accuracy["file"]["ap"] == pytest.approx(accuracy["checkpoint"]["ap"], abs=1e-4)
    assert accuracy["checkpoint"]["ap"] > 0.9
    assert accuracy["file"]["size"] == (tmp_path / "a.onnx").stat().st_size
    assert f"{accuracy['file']['ap']:.6f}" in done.stdout
    assert "root" not in document["record"]["config"]["data"]
    for path in (tmp_path / "a.onnx", tmp_path / "a.onnx.json"):
        assert not any(place in path.read_bytes() for place in (str(tmp_path).encode(), b"confidential"))
    # The file is measured like its checkpoint, and nobody knows on what.
    assert_user_error(run_yolo("validate", "-c", tmp_path / "a.onnx"), "a.onnx does not know its dataset")
    options, given, _ = parse(["-c", str(tmp_path / "a.onnx"), *data])
    assert measure(options, given).as_dict()["mAP"] == pytest.approx(accuracy["file"]["ap"], abs=1e-9)
    for flag in ("--precision=32-true", "--device=cuda"):
        done = run_yolo("validate", "-c", tmp_path / "a.onnx", *data, flag, "-o", tmp_path / "out")
        assert_user_error(done, flag.strip("-").partition("=")[0], "a.onnx", "leave it out")
    done = run_yolo("predict", "-c", tmp_path / "a.onnx", "-s", tmp_path / "data/images/val", "--device=cuda")
    assert_user_error(done, "device cuda", "runs on the CPU")
    assert_user_error(run_yolo("export", "-c", tmp_path / "a.onnx"), "a.onnx", "not a readable checkpoint")


@pytest.mark.slow
def test_a_file_that_falls_too_far_is_not_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = own_checkpoint(tmp_path)
    data = write_own_dataset(tmp_path / "data", checkpoint)
    write = onnx_export.write

    def blind(source: Any, config: Any, path: Path) -> Any:
        """Never finds class 2."""
        written = write(source, config, path)
        proto = onnx.load(path)
        for tensor in proto.graph.initializer:
            if re.fullmatch(r".*head\.cls\.\d\.2\.bias", tensor.name):
                bias = onnx.numpy_helper.to_array(tensor).copy()
                bias[2] = -30
                tensor.CopyFrom(onnx.numpy_helper.from_array(bias, tensor.name))
        onnx.save(proto, path)
        return written

    monkeypatch.setattr(onnx_export, "write", blind)
    monkeypatch.setitem(BARS, "fp32", Bars(1e9, 1.0, 1e9, 1.0, 1.0))
    before = sorted(tmp_path.iterdir())
    done = run_yolo("export", "-c", checkpoint, *data, "--max-drop=0.01")
    assert done.returncode == 1
    for words in ("was not exported: AP50-95 falls from 0.9", "(checkpoint) to 0.6", "--max-drop allows 0.01"):
        assert words in done.stderr
    assert "AP50-95" in done.stdout
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that nothing is written into: a checkpoint, its dataset, another one, and what is of no use."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("empty", "broken", "folder.onnx"):
        (folder / name).mkdir()
    (folder / "broken" / "a.png").write_text("no image")
    allow_network(SMALL)
    write_own_dataset(folder / "data", random_checkpoint(folder / "a.ckpt", SMALL), images=1)
    write_dataset(folder / "other")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--format=gguf"], ["format", "gguf", "onnx"]),
        (["--quantization=int8"], ["int8 of ONNX files takes a checkpoint of yolo qat-finetune"]),
        (["--half", "--quantization=int8"], ["--half makes a 16-bit file", "int8"]),
        (["--quantization=fp16"], ["--quantization is fp16", "16 bits by --half"]),
        (["--opset=12"], ["--opset is 12", "13 to 20"]),
        (["--form=boxes"], ["form", "boxes"]),
        (["--half"], ["--half", "GPU", "CPU"]),
        (["--half", "--device=cpu"], ["--half", "CPU"]),
        (["--device=tpu"], ["--device is 'tpu'", "auto, cpu or cuda"]),
        (["--size=100"], ["100", "multiples of 32"]),
        (["--output=a.tflite"], ["a.tflite", "ends in .onnx"]),
        (["--output=nowhere/a.onnx"], ["nowhere/a.onnx", "no folder nowhere"]),
        (["--output=folder.onnx"], ["folder.onnx", "is a folder"]),
        (["--images=nowhere"], ["--images is nowhere", "no folder"]),
        (["--images=empty"], ["empty", "no images"]),
        (["--images=broken"], ["a.png"]),
        (["--num-calibration=7"], ["--num-calibration is for --quantization int8"]),
        (["--max-drop=0.01"], ["--max-drop takes a dataset", "--data.root"]),
        (["--max-drop=2", *DATA], ["--max-drop is 2", "between 0 and 1"]),
        (["--data.val_split=some.txt"], ["--data.val_split says nothing without a dataset"]),
        ([*DATA, "--data.val_images=nowhere"], ["nowhere", "no such image folder"]),
        ([*DATA, "--data.letterbox=corner"], ["letterbox"]),
        ([*DATA, "--output=data/a.onnx"], ["--output lies in the dataset folder"]),
        ([*DATA, "--config=none.yaml"], ["none.yaml"]),
        (["--data.format=yolo", "--data.root=other"], ["2 classes (a, b", "3 (class 0"]),
        (["--data.format=yolo", "--data.root=empty"], ["empty"]),
        (["--checkpoint=none.ckpt"], ["none.ckpt", "no such checkpoint file"]),
        (["--checkpoint=broken/a.png"], ["a.png", "not a readable checkpoint"]),
    ],
)
def test_impossible_requests(
    arguments: list[str], fragments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("began to work")

    monkeypatch.setattr(onnx_export, "write", never)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = sorted(place.rglob("*"))
    network = f"--network={SMALL}"
    assert_user_error(run_yolo("export", "--checkpoint=a.ckpt", network, *arguments, cwd=place), *fragments)
    assert sorted(place.rglob("*")) == before


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "v9-t")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")  # root, whom tests may run as, is never refused

    (tmp_path / "closed").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    done = run_yolo("export", "-c", checkpoint, "-o", tmp_path / "closed" / "a.onnx")
    assert_user_error(done, "closed/a.onnx, which cannot be written: Permission denied")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    done = run_yolo("export", "-c", checkpoint)
    assert_user_error(done, "needs onnx and onnxruntime: pip install 'yolo[export]'")


@pytest.mark.slow
def test_ended_in_the_middle_it_leaves_nothing(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    export = Launched("export", "-c", checkpoint, cwd=tmp_path)
    export.wait_until(lambda: any(path.suffix == ".partial" for path in tmp_path.iterdir()))
    export.send_signal(signal.SIGTERM)
    assert export.finish().returncode == 143
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]

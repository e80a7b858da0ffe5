from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scripts.validate_tflite import main
from tests.conftest import run_yolo
from tests.export.own_dataset import own_checkpoint, write_own_dataset
from yolo.commands.measurement import measure
from yolo.commands.validate import parse

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file, a YOLO dataset, and a COCO dataset of the same images."""
    folder = tmp_path_factory.mktemp("script")
    checkpoint = own_checkpoint(folder)
    data = write_own_dataset(folder / "data", checkpoint)
    assert run_yolo("export", "-c", checkpoint).returncode == 0
    done = run_yolo(
        "validate", "-c", checkpoint, *data, "-o", folder / "out", "--no-plots", "--no-report", "--device=cpu"
    )
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "data/images/val", folder / "coco/val2017")
    (folder / "coco/annotations").mkdir()
    shutil.copy(folder / "out/ground_truth.json", folder / "coco/annotations/instances_val2017.json")
    return folder


def numbers(folder: Path) -> dict:
    path = folder / "a_metrics.json"
    document = json.loads(path.read_text())
    path.unlink()
    return document


def yolo_flags(folder: Path) -> list[str]:
    return [f"--model={folder / 'a.onnx'}", f"--images-dir={folder / 'data/images/val'}",
            f"--labels-dir={folder / 'data/labels/val'}"]  # fmt: skip


@pytest.mark.slow
def test_the_numbers_are_those_of_validate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*yolo_flags(folder), "--num-classes=3"])
    assert "a.onnx on 6 images" in capsys.readouterr().out
    found = numbers(folder)
    options, data, _ = parse(["-c", str(folder / "a.onnx"), f"--data.root={folder / 'data'}", "--data.format=yolo",
                              "--iou=0.65", "--workers=0"])  # fmt: skip
    assert found["summary"]["AP"] == pytest.approx(measure(options, data).as_dict()["mAP"], abs=1e-12)
    assert found["summary"]["AP"] > 0.9
    own_root = [f"--model={folder / 'a.onnx'}", f"--coco-root={folder / 'coco'}"]
    files = [f"--images-dir={folder / 'coco/val2017'}",
             f"--ann-file={folder / 'coco/annotations/instances_val2017.json'}"]  # fmt: skip
    for flags in (own_root, [own_root[0], *files]):
        main(flags)
        assert numbers(folder)["summary"]["AP"] == pytest.approx(found["summary"]["AP"], abs=1e-3)  # boxes are rounded


def test_the_first_images_alone(folder: Path) -> None:
    (folder / "data/labels/val/11.txt").rename(folder / "11.txt")
    (folder / "data/labels/val/11.txt").write_text("1 0.5 0.5 0.9 0.9\n" * 3)  # the last one is wrong
    main([*yolo_flags(folder), "--num-images=5"])
    five = numbers(folder)
    main(yolo_flags(folder))
    assert five["settings"]["images"] == five["images"] == 5
    assert five["summary"]["AP"] > numbers(folder)["summary"]["AP"] + 0.01
    shutil.move(folder / "11.txt", folder / "data/labels/val/11.txt")


def test_labels_without_names_mean_the_classes_of_the_file(folder: Path) -> None:
    (folder / "data/data.yaml").rename(folder / "kept.yaml")
    main([*yolo_flags(folder), "--conf-threshold=0.4"])
    found = numbers(folder)
    assert [entry["name"] for entry in found["classes"]] == ["class 0", "class 1", "class 2"]
    assert (found["settings"]["confidence"], found["settings"]["operating_confidence"]) == (0.4, 0.4)
    (folder / "kept.yaml").rename(folder / "data/data.yaml")


@pytest.mark.parametrize(
    ("flags", "fragment"),
    [
        (["--num-classes=80"], "--num-classes is 80"),
        (["--num-images=0"], "--num-images is 0"),
        (["--conf-threshold=2"], "--conf-threshold is 2"),
        (["--data-format=coco"], "COCO format needs --ann-file"),
        (["--ann-file=a.json"], "YOLO format does not take --ann-file"),
        (["--data-format=voc"], "--data-format"),
        (["--model=none.onnx"], "none.onnx: no such file"),
        (["--labels-dir=nowhere"], "nowhere"),
    ],
)
def test_wrong_flags(flags: list[str], fragment: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*yolo_flags(folder), *flags])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    assert fragment in error
    assert not (folder / "a_metrics.json").exists()


def test_a_folder_where_the_numbers_go(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a_metrics.json").mkdir()
    try:
        with pytest.raises(SystemExit) as ended:
            main(yolo_flags(folder))
    finally:
        (folder / "a_metrics.json").rmdir()
    assert ended.value.code == 2
    assert "a_metrics.json, which is a folder, expected a file" in capsys.readouterr().err

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_FIT, Run, assert_user_error, run_yolo
from tests.tiny_dataset import write_dataset
from yolo.commands.validate import parse
from yolo.models.checkpoint import CARD_KEY


def printed(output: str) -> dict[str, float]:
    """Quality and operating point of a dashboard."""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in output.splitlines()]
    tables = [
        dict(zip(row, rows[at + 2], strict=True))
        for at, row in enumerate(rows)
        if row[0] == "AP50-95" or row[0].startswith("P@")
    ]
    return {name: float(value) for table in tables for name, value in table.items() if value != "-"}


def test_prints_what_fit_printed(tiny_run: Run, tmp_path: Path) -> None:
    done = run_yolo("validate", "-c", tiny_run.best, "-o", tmp_path, cwd=tiny_run.folder)
    assert done.returncode == 0, done.stderr
    fitted, measured = printed(tiny_run.output), printed(done.stdout)
    assert {"AP50-95", "AP50", "AP75", "AR@100", "P@0.25", "R@0.25", "F1@0.25", "best F1"} <= set(measured)
    assert measured == pytest.approx(fitted, abs=1e-6)
    assert f"mAP {measured['AP50-95']:.6f}  mAP50 {measured['AP50']:.6f}" in tiny_run.output


def test_options_come_from_the_checkpoint_unless_given(tiny_run: Run) -> None:
    options, data, _ = parse(["--checkpoint", str(tiny_run.best), "--max-det", "7"])
    assert (options.max_det, options.conf) == (7, None)
    assert (data.format, data.shapes_val, data.batch_size) == ("shapes", 9, 8)
    _, data, _ = parse(["--checkpoint", str(tiny_run.best), "--data.shapes_val=5"])
    assert (data.shapes_val, data.shapes_train) == (5, 24)


def test_another_dataset_forgets_the_paths_of_the_first(tiny_run: Run, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("data:\n  format: coco\n  root: a\n  val_images: b\n")
    assert parse(["--checkpoint", str(tiny_run.best), "--config", str(config)])[1].val_images == "b"
    _, data, _ = parse(["--checkpoint", str(tiny_run.best), "--data.root", "elsewhere", "--data.format=yolo"])
    assert (data.root, data.format, data.val_images) == ("elsewhere", "yolo", None)


def test_a_data_section_from_a_file_is_another_dataset(tiny_run: Run, tmp_path: Path) -> None:
    contents = torch.load(tiny_run.best, weights_only=True)
    contents[CARD_KEY]["config"]["data"].update(val_images="images/test", data_fraction=0.5, letterbox="center")
    torch.save(contents, tmp_path / "first.ckpt")
    (tmp_path / "data.yaml").write_text("root: elsewhere\nformat: yolo\n")
    _, data, _ = parse(["-c", str(tmp_path / "first.ckpt"), "--data", str(tmp_path / "data.yaml")])
    assert (data.root, data.val_images, data.data_fraction) == ("elsewhere", None, 1.0)


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["checkpoint"]),
        (["--checkpoint", "none.ckpt"], ["none.ckpt", "no such checkpoint file"]),
        (["--checkpoint", __file__], ["test_validate.py", "not a readable checkpoint"]),
    ],
)
def test_wrong_input(arguments: list[str], fragments: list[str]) -> None:
    assert_user_error(run_yolo("validate", *arguments), *fragments)


def test_wrong_data(tiny_run: Run) -> None:
    done = run_yolo("validate", "--checkpoint", tiny_run.best, "--data.format=coco", "--data.root=/no/such")
    assert_user_error(done, "/no/such")


def test_other_classes_are_refused(tiny_run: Run, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    (tmp_path / "images/val").mkdir(parents=True)
    (tmp_path / "labels/val").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images/val/a.png"), np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "labels/val/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("val: images/val\nnames: [lorry]\n")
    done = run_yolo("validate", "--checkpoint", tiny_run.best, "--data.format=yolo", f"--data.root={tmp_path}")
    assert_user_error(done, "lorry")


def test_every_option_is_taken(tiny_run: Run, tmp_path: Path) -> None:
    done = run_yolo(
        "validate", "--checkpoint", tiny_run.best, "--conf", "0.25", "--iou", "0.5", "--max-det", "20", "--conf-prod",
        "0.5", "--size", "96", "64", "--device", "cpu", "--precision", "32-true", "--batch-size", "2", "--workers", "0",
        "--output", tmp_path / "out", "--no-plots", "--save-json", "--tile", "64", "--overlap", "0.1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the embedded dataset (shapes)" in done.stdout
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    settings = document["settings"]
    assert (settings["confidence"], settings["iou"], settings["max_detections"]) == (0.25, 0.5, 20)
    assert (settings["batch_size"], settings["image_size"]) == (2, [96, 64])
    assert settings["tile"] == {"size": 64, "overlap": 0.1}
    assert document["confidence"] == 0.5


def test_benchmark(tiny_run: Run, tmp_path: Path) -> None:
    done = run_yolo("validate", "-c", tiny_run.best, "--device=cpu", "--batch-size=2", "--workers=0", "-o", tmp_path,
                    "--no-plots", "--benchmark", "--benchmark-warmup", "0", "--benchmark-runs", "2")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Benchmark on cpu" in done.stdout
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert [entry["batch"] for entry in document["benchmark"]["batches"]] == [1, 2]
    assert "benchmark at batch 2" in (tmp_path / "report.html").read_text()


def test_results_go_neither_into_the_dataset_nor_over_the_checkpoint(tiny_run: Run, tmp_path: Path) -> None:
    write_dataset(tmp_path / "set")
    data = ["--data.format=coco", f"--data.root={tmp_path / 'set'}", "--data.val_images=images/val"]
    for output in (tmp_path / "set", tmp_path / "set/images/val", tmp_path / "set/new"):
        done = run_yolo("validate", "-c", tiny_run.best, *data, "-o", output)
        assert_user_error(done, "--output lies in the dataset folder")
    (tmp_path / "report.html").write_bytes(tiny_run.best.read_bytes())
    done = run_yolo("validate", "-c", tmp_path / "report.html", "-o", tmp_path)
    assert_user_error(done, "report.html overwritten")
    assert_user_error(run_yolo("validate", "-c", tiny_run.best, "-o", tiny_run.best / "x"), "--output is", "is a file")


def test_letters_and_defaults() -> None:
    text = run_yolo("validate", "--help").stdout
    for option in ("-c CHECKPOINT", "-o OUTPUT", "--no-plots", "--no-json", "--benchmark-runs", "validation_results"):
        assert option in text
    assert "-c CONFIG" not in text


@pytest.mark.slow
def test_the_files_hold_the_evaluation(tiny_run: Run, tmp_path: Path) -> None:
    done = run_yolo("validate", "-c", tiny_run.best, "--device=cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "validation_results"
    again = run_yolo("evaluate", "--gt", folder / "ground_truth.json", "--detections", folder / "predictions.json",
                     "--no-json", "--no-plots", cwd=tmp_path)  # fmt: skip
    assert printed(again.stdout) == printed(done.stdout)
    assert json.loads((folder / "metrics.json").read_text())["settings"]["checkpoint"] == str(tiny_run.best)


@pytest.mark.slow
def test_config_of_the_run(tiny_run: Run, tmp_path: Path) -> None:
    config = tiny_run.folder / "config.yaml"
    done = run_yolo("validate", "--checkpoint", tiny_run.best, "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert printed(done.stdout) == pytest.approx(printed(tiny_run.output), abs=1e-6)
    done = run_yolo("validate", "--checkpoint", tiny_run.best, "--config=quickstart", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--device", "warp"], ["--device is 'warp'", "auto, cpu, cuda, mps"]),
        (["--precision", "nonsense"], ["precision", "nonsense"]),
        (["--iou", "65"], ["nms_iou_threshold is 65", "between 0 and 1"]),
        (["--data.letterbox=corner"], ["letterbox is 'corner'", "'center'"]),
        (["--size", "64", "64", "64"], ["--size has 3 numbers"]),
        (["--tile", "64", "--overlap", "1"], ["overlap is 1"]),
        (["--tile", "64", "--overlap", "7"], ["overlap is 7"]),
        (["--overlap", "0.3"], ["--overlap 0.3 is that of the windows of --tile"]),
        (["--benchmark", "--tile", "64"], ["--benchmark measures", "--tile is 64"]),
        (["--conf", "0.5"], ["--conf is 0.5", "--conf-prod, 0.25"]),
        (["--max-d", "3"], ["--max-d"]),
        (["--benchmark", "--devices", "2"], ["--benchmark measures one device", "--devices is 2"]),
        (["--benchmark-runs", "0"], ["--benchmark-runs is 0", "at least 1"]),
        (["--batch-size", "0"], ["batch_size is 0"]),
        (["--output", "{config}"], ["run.yaml, which is a file"]),
        (["--config", "{config}"], ["unknown option data.nonsense"]),
    ],
)
def test_wrong_options(tiny_run: Run, tmp_path: Path, arguments: list[str], fragments: list[str]) -> None:
    (tmp_path / "run.yaml").write_text("data:\n  nonsense: 1\n")
    arguments = [argument.format(config=tmp_path / "run.yaml") for argument in arguments]
    assert_user_error(run_yolo("validate", "--checkpoint", tiny_run.best, *arguments), *fragments)


@pytest.mark.slow
def test_a_run_on_a_fraction_is_measured_on_the_same_images(tmp_path: Path) -> None:
    network = "tests.models.test_checkpoint.TinyNetwork"
    options = [
        "--data.data_fraction=0.4",
        "--data.shapes_val=20",
        "--seed_everything=3",
        f"--model.model_config={network}",
    ]
    fitted = run_yolo(*TINY_FIT, *options, cwd=tmp_path)
    assert fitted.returncode == 0, fitted.stderr
    best = tmp_path / "runs/quickstart/version_0/checkpoints/best.ckpt"
    measured = run_yolo("validate", "--checkpoint", best, cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr
    assert printed(measured.stdout) == pytest.approx(printed(fitted.stdout), abs=1e-6)
    assert parse(["--checkpoint", str(best)])[1].data_fraction == 0.4
    assert parse(["--checkpoint", str(best), "--data.root=elsewhere"])[1].data_fraction == 1.0


def test_leaves_nothing_behind_unless_asked(tiny_run: Run, tmp_path: Path) -> None:
    done = run_yolo("validate", "--checkpoint", tiny_run.best, "--no-plots", "--no-json", "--no-report",
                    cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []

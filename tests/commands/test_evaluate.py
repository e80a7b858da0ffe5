from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.test_validate import printed
from tests.conftest import assert_user_error, run_yolo
from tests.evaluation.test_coco_files import FOUND, GT, write


@pytest.mark.slow
def test_numbers_and_files(tmp_path: Path) -> None:
    truth, found = write(tmp_path, GT, "gt.json"), write(tmp_path, [FOUND], "found.json")
    third = {"image_id": 7, "category_id": 2, "bbox": [10, 10, 20, 20], "score": 0.9}
    write(tmp_path, [FOUND, third], "found.json")
    done = run_yolo("evaluate", "--gt", truth, "--detections", found, "--conf-prod=0.5", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    # Of the two cats one is found; the owl is a crowd, which is no object.
    assert printed(done.stdout)["R@0.5"] == pytest.approx(0.5)
    assert printed(done.stdout)["P@0.5"] == pytest.approx(1.0)
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert document["confidence"] == 0.5
    assert document["class_names"] == ["cat", "owl"]
    assert document["settings"]["detections"] == str(found)
    assert not (tmp_path / "out" / "predictions.json").exists()


def test_known_answers(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "known_answers" / "coco128"
    done = run_yolo("evaluate", "--gt", folder / "gt.json", "--detections", folder / "detections.json", "--no-json",
                    "--no-plots", "--no-report", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = json.loads((folder / "expected.json").read_text())["stats"]
    names = {"AP50-95": "AP", "AP50": "AP50", "AP75": "AP75", "AR@100": "AR100", "APs": "APs", "APl": "APl"}
    assert {key: printed(done.stdout)[key] for key in names} == pytest.approx(
        {key: expected[name] for key, name in names.items()}, abs=1e-6
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_no_detections_at_all(tmp_path: Path) -> None:
    truth, found = write(tmp_path, GT, "gt.json"), write(tmp_path, [], "found.json")
    done = run_yolo("evaluate", "--gt", truth, "--detections", found, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert printed(done.stdout)["AP50-95"] == 0


def test_wrong_input(tmp_path: Path) -> None:
    truth, found = write(tmp_path, GT, "gt.json"), write(tmp_path, [FOUND | {"score": None}], "found.json")
    assert_user_error(run_yolo("evaluate", "--gt", truth, "--detections", found, cwd=tmp_path), "score None")
    assert_user_error(run_yolo("evaluate", "--gt", truth), "detections")
    assert_user_error(run_yolo("evaluate", "--gt", truth, "--detections", found, "--conf-prod=3"), "--conf-prod is 3")
    assert_user_error(run_yolo("evaluate", "--gt", truth, "--detections", found, "-o", truth), "which is a file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json", "gt.json"]


def test_its_own_files_are_not_overwritten(tmp_path: Path) -> None:
    truth, found = write(tmp_path, GT, "metrics.json"), write(tmp_path, [FOUND], "predictions.json")
    before = truth.read_bytes()
    arguments = ["evaluate", "--gt", truth, "--detections", found, "--no-plots", "--no-report"]
    assert_user_error(run_yolo(*arguments, "-o", tmp_path), "metrics.json overwritten, which is an input")
    assert truth.read_bytes() == before
    assert run_yolo(*arguments, "--no-json", "-o", tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "predictions.json"]


def test_help_promises_no_images() -> None:
    assert "images with" not in " ".join(run_yolo("evaluate", "--help").stdout.split())


def test_needs_no_torch(tmp_path: Path) -> None:
    truth, found = write(tmp_path, GT, "gt.json"), write(tmp_path, [FOUND], "found.json")
    code = (
        "import sys; from yolo.cli import main;"
        f"main(['evaluate', '--gt', {str(truth)!r}, '--detections', {str(found)!r}, '--no-plots', '-o', 'out']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not {"torch", "lightning", "cv2"} & set(done.stderr.split())

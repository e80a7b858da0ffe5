from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.export.own_dataset import own_checkpoint, write_own_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sensitivity")
    (folder / "options.json").write_text(json.dumps(write_own_dataset(folder / "data", own_checkpoint(folder), 4)))
    return folder


@pytest.mark.slow
def test_parts_worst_first_and_their_loss_of_map(place: Path) -> None:
    data = json.loads((place / "options.json").read_text())
    done = run_yolo(
        "sensitivity", "-c", "a.ckpt", *data, "--map", "--depth=1", "--num-images=2", "-o", "s.json", cwd=place
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((place / "s.json").read_text())
    assert report["images"] == 2
    losses = [part["map_loss"] for part in report["parts"]]
    assert losses == sorted(losses, reverse=True)
    assert {part["name"] for part in report["parts"]} == {"all parts", "images", "backbone", "top_down", "bottom_up",
                                                           "head"}  # fmt: skip
    by_name = {part["name"]: part for part in report["parts"]}
    assert by_name["all parts"]["map_loss"] > 0
    assert by_name["images"]["map_loss"] == pytest.approx(0, abs=1e-6)
    assert by_name["all parts"]["boxes"] < by_name["backbone"]["boxes"]
    assert all(part["name"] in done.stdout for part in report["parts"])
    assert "AP50-95 lost" in done.stdout


@pytest.mark.slow
def test_without_a_dataset(place: Path) -> None:
    images = ["--calibration-images", "data/images/val"]
    done = run_yolo("sensitivity", "-c", "a.ckpt", *images, "--num-images=1", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "head.box.0" in done.stdout
    assert "AP50-95" not in done.stdout


@pytest.mark.slow
def test_what_is_refused(place: Path) -> None:
    images = ["--calibration-images", "data/images/val"]
    for options, sentence in (
        ([], "images are needed: --calibration-images FOLDER"),
        ([*images, "--map"], "--map takes a dataset"),
        ([*images, "--num-images=0"], "--num-images is 0"),
        ([*images, "--output=nowhere/s.json"], "there is no folder"),
        ([*images, "--output=data"], "--output is data, which is a folder, expected a file"),
        ([*images, "--output=a.ckpt"], "a.ckpt overwritten, which is an input of this command"),
        (["--calibration-images=nowhere"], "nowhere, which is no folder"),
    ):
        assert_user_error(run_yolo("sensitivity", "-c", "a.ckpt", *options, cwd=place), sentence)


@pytest.mark.slow
def test_ranges_are_of_as_many_images_as_asked(place: Path) -> None:
    reports = []
    for number in (1, 4):
        options = ["--calibration-images=data/images/val", f"--num-calibration={number}", "--num-images=4", "--depth=1"]
        done = run_yolo("sensitivity", "-c", "a.ckpt", *options, "-o", "s.json", cwd=place)
        assert done.returncode == 0, done.stderr
        reports.append(json.loads((place / "s.json").read_text()))
    assert reports[0]["images"] == reports[1]["images"] == 4
    assert reports[0]["parts"] != reports[1]["parts"]

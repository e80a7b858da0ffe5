from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import TINY_FIT, Run, assert_user_error, run_yolo
from tests.test_docs import NETWORK
from yolo import Detector
from yolo.commands.predict_sources import list_images
from yolo.errors import UserError


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, size in (("a.jpg", (48, 96)), ("b.png", (100, 60))):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (*size, 3), np.uint8))
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_folder(tiny_run: Run, images: Path, tmp_path: Path) -> None:
    done = run_yolo(
        "predict", "--checkpoint", tiny_run.best, "--source", images, "--conf", "0.001", "--iou", "0.65",
        "--max-det", "9", "--save-json", "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [(Path(e["path"]).name, e["size"]) for e in entries] == [("a.jpg", [48, 96]), ("b.png", [100, 60])]
    found = Detector.load(tiny_run.best)(images / "a.jpg", confidence=0.001, max_detections=9)
    assert entries[0]["detections"] == found.to_dicts()
    assert 0 < len(found) <= 9
    drawn = cv2.imread(str(tmp_path / "out" / "a.jpg"))
    assert drawn.shape == (48, 96, 3)
    assert (np.abs(drawn.astype(int) - cv2.imread(str(images / "a.jpg"))) > 60).any()


def test_no_draw(tiny_run: Run, images: Path, tmp_path: Path) -> None:
    done = run_yolo(
        "predict", "--checkpoint", tiny_run.best, "--source", images / "a.jpg", "--no-draw", "--output", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_truncated_image(tiny_run: Run, images: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((images / "a.jpg").read_bytes()[:900])
    done = run_yolo("predict", "--checkpoint", tiny_run.best, "--source", broken, "--output", tmp_path / "out")
    assert_user_error(done, "broken.jpg")


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--source", "x.jpg"], ["checkpoint"]),
        (["--checkpoint", "none.ckpt", "--source", __file__], ["none.ckpt", "no such checkpoint file"]),
        (["--checkpoint", "none.ckpt", "--source", "/no/such"], ["/no/such: no such image or folder"]),
        (["--checkpoint", "none.ckpt", "--source", __file__, "--conf", "high"], ["conf", "high"]),
        (["--checkpoint", "none.ckpt", "--source", __file__, "--nonsense"], ["--nonsense"]),
    ],
)
def test_wrong_input(arguments: list[str], fragments: list[str]) -> None:
    assert_user_error(run_yolo("predict", *arguments), *fragments)


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images in this folder"):
        list_images(tmp_path, {".jpg"})


def test_originals_are_not_overwritten(tiny_run: Run, images: Path) -> None:
    before = (images / "a.jpg").read_bytes()
    done = run_yolo("predict", "--checkpoint", tiny_run.best, "--source", images, "--output", images)
    assert_user_error(done, "a.jpg", "would overwrite")
    assert (images / "a.jpg").read_bytes() == before


def test_output_that_is_a_file(tiny_run: Run, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_yolo("predict", "--checkpoint", tiny_run.best, "--source", images, "--output", tmp_path / "file")
    assert_user_error(done, "file")


def test_confidence_out_of_range(tiny_run: Run, images: Path) -> None:
    done = run_yolo("predict", "--checkpoint", tiny_run.best, "--source", images, "--conf", "7")
    assert_user_error(done, "confidence is 7", "between 0 and 1")


def test_a_network_of_ones_own_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ["--model.model_config=named_network.MyNetwork", '--model.network_args={"width": 4}']
    assert run_yolo(*TINY_FIT, *own, "--trainer.max_epochs=1", cwd=tmp_path).returncode == 0
    del sys.modules["named_network"]  # as in a new process
    command = ["predict", "--checkpoint", "runs/quickstart/version_0/checkpoints/best.ckpt", "--source", "a.jpg"]
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((32, 32, 3), np.uint8))
    assert_user_error(run_yolo(*command, cwd=tmp_path), "named_network.MyNetwork", "--network")
    done = run_yolo(*command, "--network", "named_network.MyNetwork", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

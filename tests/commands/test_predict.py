from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import TINY_FIT, Run, assert_user_error, run_yolo
from tests.processes import Launched
from tests.test_docs import NETWORK
from yolo import Detector
from yolo import detector as detector_module
from yolo.commands import predict as predict_command
from yolo.commands import predict_outputs
from yolo.commands.predict_video import Video, open_video, video_copy
from yolo.tiling import Tiling, detect_tiled


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, size in (("a.jpg", (48, 96)), ("b.png", (100, 60))):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (*size, 3), np.uint8))
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.mark.slow
def test_folder(tiny_run: Run, images: Path, tmp_path: Path) -> None:
    done = run_yolo(
        "predict", "--checkpoint", tiny_run.best, "--source", images, "--conf", "0.001", "--iou", "0.65",
        "--max-det", "9", "--save-json", "--output", tmp_path / "out", "--batch-size", "1",
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


def test_files_that_cannot_be_read_are_named_at_the_end_and_the_others_done(
    tiny_run: Run, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(25):
        (folder / f"{i:02}.jpg").write_bytes((images / "a.jpg").read_bytes())
    (folder / "07.jpg").write_bytes((images / "a.jpg").read_bytes()[:900])
    out = tmp_path / "out"
    done = run_yolo("predict", "-c", tiny_run.best, "-s", folder, "-o", out, "--save-json", "--save-txt")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "1 of 25 files could not be read:"
    assert lines[1].startswith(f"  {folder / '07.jpg'}: not a complete image")
    assert len(lines) == 2
    assert len(json.loads((out / "predictions.json").read_text())) == 24
    assert len(list(out.glob("*.jpg"))) == len(list((out / "labels").iterdir())) == 24
    assert re.search(r"detecting: 25 images in .*/s", done.stdout)
    assert "24 images in" in done.stdout
    assert "00.jpg" not in done.stdout  # no line per image of many


def test_all_unreadable_is_bad_input(tiny_run: Run, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"nothing")
    done = run_yolo("predict", "-c", tiny_run.best, "-s", tmp_path, "-o", tmp_path / "out")
    assert_user_error(done, "none of the 2 files could be read")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()[1:3]] == [
        f"  {tmp_path / name}" for name in ("a.jpg", "b.jpg")
    ]


def test_glob_labels_crops_names(tiny_run: Run, images: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        shutil.copytree(images, tmp_path / name)
    names = [f"class {i}" for i in range(len(Detector.load(tiny_run.best).class_names))]
    (tmp_path / "names.json").write_text(json.dumps(names))
    done = run_yolo(
        "predict", "-c", tiny_run.best, "-s", "*/a.jpg", "-o", "out", "--save-txt", "--save-crops", "--conf", "0.001",
        "--max-det", "3", "--class-names", "names.json", "--size", "64", "96", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("x/a.jpg: ")
    assert "class " in done.stdout
    for name in ("x", "y"):
        assert (tmp_path / "out" / name / "a.jpg").is_file()
        lines = (tmp_path / "out" / "labels" / name / "a.txt").read_text().splitlines()
        assert 0 < len(lines) <= 3
        values = np.array([line.split() for line in lines], float)
        assert values.shape[1] == 6
        assert ((values[:, 1:] >= 0) & (values[:, 1:] <= 1)).all()
        crops = list((tmp_path / "out" / "crops").glob(f"class */{name}/a_*.jpg"))
        assert len(crops) == len(lines)
    found = Detector.load(tiny_run.best, image_size=(64, 96))(images / "a.jpg", confidence=0.001, max_detections=3)
    assert [int(line.split()[0]) for line in lines] == found.classes.tolist()


@pytest.mark.slow
def test_windows(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tiling] = []

    def spy(*arguments: Any) -> Any:
        asked.append(arguments[2])
        return detect_tiled(*arguments)

    monkeypatch.setattr(detector_module, "detect_tiled", spy)
    picture = np.random.default_rng(0).integers(0, 255, (100, 150, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    command = ["predict", "-c", tiny_run.best, "-s", "a.png", "--no-draw", "--save-json", "--conf", "0.001", "-o"]
    for folder, options in {"plain": [], "larger": ["--tile", "150"], "tiled": ["--tile=64", "--overlap=0.3"]}.items():
        assert run_yolo(*command, folder, *options, cwd=tmp_path).returncode == 0
    plain, larger, tiled = (
        json.loads((tmp_path / folder / "predictions.json").read_text()) for folder in ("plain", "larger", "tiled")
    )
    assert plain == larger
    assert asked == [Tiling(64, 0.3)]
    detector = Detector.load(tiny_run.best, tiling=Tiling(64, 0.3))
    assert tiled[0]["detections"] == detector(tmp_path / "a.png", confidence=0.001).to_dicts()


def test_video(tiny_run: Run, tmp_path: Path) -> None:
    frames = [np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8) for i in range(7)]
    with video_copy(tmp_path / "film.mp4", 10.0) as add:
        for frame in frames:
            add(frame)
    done = run_yolo(
        "predict", "-c", tiny_run.best, "-s", "film.mp4", "-o", "out", "--save-json", "--save-txt", "--conf", "0.001",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [entry["frame"] for entry in entries] == list(range(7))
    assert entries[3]["seconds"] == 0.3
    assert any(entry["detections"] for entry in entries)
    labels = sorted(path.name for path in (tmp_path / "out" / "labels" / "film").iterdir())
    assert labels == [f"{i:06d}.txt" for i in range(7)]
    with open_video(tmp_path / "out" / "film.mp4") as video:
        assert (video.frames, video.rate) == (7, 10.0)
    done = run_yolo("predict", "-c", tiny_run.best, "-s", "film.mp4", "-o", ".", cwd=tmp_path)
    assert_user_error(done, "film.mp4: is read by this run and would be overwritten")


def test_a_broken_video_beside_a_whole_image(tiny_run: Run, images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "a.jpg", tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"no video")
    done = run_yolo("predict", "-c", tiny_run.best, "-s", "*", "-o", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "  film.mp4: not a video that OpenCV can decode" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "predicted.txt"]


def test_a_video_that_ends_early_counts_and_is_named(
    tiny_run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with video_copy(tmp_path / "film.mp4", 10.0) as add:
        for _ in range(4):
            add(np.zeros((48, 64, 3), np.uint8))

    @contextlib.contextmanager
    def says_more(path: Path) -> Iterator[Video]:
        with open_video(path) as video:
            yield replace(video, frames=8)

    monkeypatch.setattr(predict_command, "open_video", says_more)
    for names in (["film.mp4"], ["a.jpg", "film.mp4"]):
        shutil.copy(images / "a.jpg", tmp_path)
        source = "film.mp4" if len(names) == 1 else "[af]*"
        done = run_yolo("predict", "-c", tiny_run.best, "-s", source, "-o", "out", "--save-json", cwd=tmp_path)
        assert done.returncode == 1
        expected = [f"1 of {len(names)} files ended early:", "  film.mp4: the video ends after 4 of 8 frames"]
        assert done.stderr.splitlines() == expected
        entries = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [entry["path"] for entry in entries] == [*names[:-1], *["film.mp4"] * 4]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "video", "encrypted"])
def test_what_no_predict_wrote_is_not_overwritten(
    tiny_run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", "0" * 64)
    source, other = {"image": ("a.jpg", "a.jpg"), "video": ("a.avi", "a.mp4"), "encrypted": ("a.jpg.enc", "a.jpg")}[
        kind
    ]
    (tmp_path / "in").mkdir()
    if kind == "video":
        with video_copy(tmp_path / "film.mp4", 10.0) as add:
            add(np.zeros((48, 64, 3), np.uint8))
        (tmp_path / "film.mp4").rename(tmp_path / "in" / source)
    else:
        shutil.copy(images / "a.jpg", tmp_path / "in")
    if kind == "encrypted":
        assert run_yolo("encrypt-images", "--source=in", "--output=enc", cwd=tmp_path).returncode == 0
        (tmp_path / "enc" / source).rename(tmp_path / "in" / source)
        (tmp_path / "in" / "a.jpg").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / other).write_bytes(b"dear to somebody")
    command = ["predict", "-c", tiny_run.best, "-s", Path("in", source), "-o", "out"]
    assert_user_error(run_yolo(*command, cwd=tmp_path), f"out/{other}: is there and not from an earlier predict")
    assert (tmp_path / "out" / other).read_bytes() == b"dear to somebody"
    (tmp_path / "out" / other).unlink()
    for _ in range(2):
        done = run_yolo(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [other, "predicted.txt"]


def test_an_error_while_writing_ends_the_run(
    tiny_run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "out/a.jpg")

    monkeypatch.setattr(predict_outputs, "write_picture", full)
    done = run_yolo("predict", "-c", tiny_run.best, "-s", images, "-o", tmp_path / "out", "--save-json")
    assert_user_error(done, "out/a.jpg: No space left on device")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predicted.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_file(tiny_run: Run, images: Path, tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    content = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8))[1].tobytes()
    for i in range(3000):
        (folder / f"{i}.png").write_bytes(content) if i == 0 else (folder / f"{i}.png").hardlink_to(folder / "0.png")
    out = tmp_path / "out"
    predict = Launched("predict", "-c", tiny_run.best, "-s", folder, "-o", out, "--save-json", cwd=tmp_path)
    predict.wait_until(lambda: out.is_dir() and len(list(out.iterdir())) >= 5)
    predict.send_signal(number)
    assert predict.finish().returncode == 128 + number
    files = list(out.iterdir())
    assert 5 <= len(files) < 3000
    assert {path.suffix for path in files} == {".png", ".txt"}
    assert all(cv2.imread(str(path)) is not None for path in files if path.suffix == ".png")


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--source", "x.jpg"], ["checkpoint"]),
        (["--checkpoint", "none.ckpt", "--source", __file__], ["none.ckpt", "no such checkpoint file"]),
        (["--checkpoint", "none.ckpt", "--source", "/no/such"], ["/no/such: no such image or folder"]),
        (["--checkpoint", "none.ckpt", "--source", __file__, "--conf", "high"], ["conf", "high"]),
        (["--checkpoint", "none.ckpt", "--source", __file__, "--nonsense"], ["--nonsense"]),
        (["--checkpoint", "none.ckpt", "--source", "a.jpg", "b.jpg"], ["b.jpg", "quotes"]),
        (["--checkpoint", "none.ckpt", "--source", __file__, "--overlap", "7"], ["--overlap 7", "--tile"]),
        (["--checkpoint", "none.ckpt", "--source", __file__, "--size", "abc"], ["--size is abc"]),
        (["--checkpoint", "none.ckpt", "--source", __file__, "--size", "1", "2", "3"], ["--size has 3 numbers"]),
    ],
)
def test_wrong_input(arguments: list[str], fragments: list[str]) -> None:
    assert_user_error(run_yolo("predict", *arguments), *fragments)


def test_originals_are_not_overwritten(tiny_run: Run, images: Path) -> None:
    before = (images / "a.jpg").read_bytes()
    done = run_yolo("predict", "--checkpoint", tiny_run.best, "--source", images, "--output", images)
    assert_user_error(done, "a.jpg", "would be overwritten")
    assert (images / "a.jpg").read_bytes() == before


def test_output_that_is_a_file(tiny_run: Run, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_yolo("predict", "--checkpoint", tiny_run.best, "--source", images, "--output", tmp_path / "file")
    assert_user_error(done, "file")


def test_batch_size_out_of_range(tiny_run: Run, images: Path) -> None:
    done = run_yolo("predict", "--checkpoint", tiny_run.best, "--source", images, "--batch-size", "0")
    assert_user_error(done, "--batch-size is 0", "at least 1")


def test_confidence_out_of_range(tiny_run: Run, images: Path) -> None:
    done = run_yolo("predict", "--checkpoint", tiny_run.best, "--source", images, "--conf", "7")
    assert_user_error(done, "confidence is 7", "between 0 and 1")


@pytest.mark.slow
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

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo import Detections
from yolo.commands.predict_outputs import Outputs, Tally, describe, file_name, write_picture, yolo_lines
from yolo.commands.predict_sources import Source
from yolo.errors import UserError


@pytest.fixture
def found() -> Detections:
    image = np.zeros((40, 80, 3), np.uint8)
    image[10:30, 20:60] = (255, 0, 0)
    boxes = np.array([[20, 10, 60, 30], [70.5, 30.2, 80, 40], [5, 5, 5, 9]], np.float32)
    scores, classes = np.array([0.9, 0.5, 0.4], np.float32), np.array([1, 0, 1])
    return Detections(boxes, scores, classes, ("a/b", "cat"), (40, 80), image, Path("x.jpg"))


def source(path: Path) -> Source:
    return Source(path, Path(path.name), Path(path.stem))


def test_labels_are_fractions_with_the_confidence_last(found: Detections) -> None:
    assert yolo_lines(found)[0] == "1 0.500000 0.500000 0.500000 0.500000 0.900000"


def test_everything_of_an_image(found: Detections, tmp_path: Path) -> None:
    Outputs(tmp_path, draw=True, txt=True, crops=True).write_image(found, source(Path("x.jpg")))
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["crops/a_b/x_1.jpg", "crops/cat/x_0.jpg", "labels/x.txt", "x.jpg"]
    crop = cv2.imread(str(tmp_path / "crops/cat/x_0.jpg"))
    assert crop.shape == (20, 40, 3)
    assert np.abs(crop.astype(int) - (0, 0, 255)).max() < 12
    assert cv2.imread(str(tmp_path / "crops/a_b/x_1.jpg")).shape == (10, 10, 3)  # whole pixels around the box
    assert len((tmp_path / "labels/x.txt").read_text().splitlines()) == 3


def test_an_image_without_detections_has_an_empty_label_file(tmp_path: Path) -> None:
    none = np.zeros((0, 4), np.float32)
    empty = Detections(none, none[:, 0], np.zeros(0, np.int64), ("a",), (4, 4), np.zeros((4, 4, 3), np.uint8))
    Outputs(tmp_path, draw=False, txt=True, crops=True).write_image(empty, source(Path("x.jpg")))
    assert (tmp_path / "labels" / "x.txt").read_text() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def test_folders_of_a_glob_are_kept(found: Detections, tmp_path: Path) -> None:
    Outputs(tmp_path, True, True, True).write_image(found, Source(Path("q"), Path("s/x.jpg"), Path("s/x")))
    assert (tmp_path / "s/x.jpg").is_file()
    assert (tmp_path / "labels/s/x.txt").is_file()
    assert (tmp_path / "crops/cat/s/x_0.jpg").is_file()


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_what_the_run_reads_is_not_overwritten(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "crops/cat/b.jpg")
    sources = [source(tmp_path / "a.jpg")]
    for written in ("a.jpg\ncrops\n", ""):  # even where an earlier predict wrote it
        (tmp_path / "predicted.txt").write_text(written)
        with pytest.raises(UserError, match=r"a.jpg: is read by this run"):
            Outputs(tmp_path, True, False, False).refuse_overwriting(sources)
        with pytest.raises(UserError, match="crops: is read by this run"):
            Outputs(tmp_path, False, False, True).refuse_overwriting([source(tmp_path / "crops/cat/b.jpg")])
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"a.jpg: is read by this run"):
        Outputs(tmp_path / "link", True, False, False).refuse_overwriting(sources)


@pytest.mark.parametrize("there", ["a.jpg", "labels/a.txt", "crops/mine.jpg", "predictions.json", "predicted.txt"])
def test_only_what_an_earlier_predict_wrote_is_replaced(found: Detections, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    touch(tmp_path, "a.jpg", f"out/{there}")
    everything, sources = Outputs(out, True, True, True, True), [source(tmp_path / "a.jpg")]
    with pytest.raises(UserError, match=f"out/{Path(there).parts[0]}: is there and not from an earlier predict"):
        everything.refuse_overwriting(sources)
    (out / there).rename(tmp_path / "moved away")
    for folder in ("labels", "crops"):
        (out / folder).rmdir() if (out / folder).is_dir() else None
    for _ in range(2):  # the same command may run again
        everything.refuse_overwriting(sources)
        everything.note(sources)
        everything.write_image(found, sources[0])
    touch(out, "other.jpg")
    everything.refuse_overwriting(sources)
    with pytest.raises(UserError, match=r"other.jpg: is there"):
        everything.refuse_overwriting([source(tmp_path / "other.jpg")])


def test_what_is_not_written_may_be_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "labels/a.txt", "predictions.json")
    Outputs(tmp_path, False, False, True).refuse_overwriting([source(tmp_path / "a.jpg")])
    nothing = Outputs(tmp_path, False, False, False)
    nothing.note([])
    assert not (tmp_path / "predicted.txt").exists()


def test_names_that_are_no_text(tmp_path: Path) -> None:
    outputs, sources = Outputs(tmp_path, True, False, False), [source(Path("x/\udcff.jpg"))]
    outputs.note(sources)
    touch(tmp_path, "\udcff.jpg")
    outputs.refuse_overwriting(sources)


@pytest.mark.parametrize("name", ["..", "a/../b", "con\0trol", "", " . ", "a\\b"])
def test_class_names_are_folders_within_crops(name: str) -> None:
    folder = file_name(name)
    assert folder not in ("", ".", "..")
    assert not set("/\\\0") & set(folder)


def test_tally(found: Detections, tmp_path: Path) -> None:
    tally = Tally(keep_entries=True)
    tally.add(source(Path("x.jpg")), found, frame=3)
    tally.fail(source(Path("bad.jpg")), "bad.jpg: not an image")
    tally.fail(source(Path("a.enc")), "a.enc is encrypted")
    tally.write_json(tmp_path / "p.json")
    (entry,) = json.loads((tmp_path / "p.json").read_text())
    assert entry == {"path": "x.jpg", "frame": 3, "size": [40, 80], "detections": found.to_dicts()}
    assert tally.failures == {Path("bad.jpg"): "not an image", Path("a.enc"): "is encrypted"}
    assert tally.counts == {"cat": 2, "a/b": 1}


def test_description() -> None:
    assert describe(Counter()) == "nothing found"
    assert describe(Counter({"a": 1234, "b": 2})) == "1,234 a, 2 b"
    many = describe(Counter({f"c{i}": 20 - i for i in range(10)}))
    assert many.endswith("13 c7, 23 of other classes")


def test_formats_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.xyz: the picture cannot be written"):
        write_picture(tmp_path / "x.xyz", np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []

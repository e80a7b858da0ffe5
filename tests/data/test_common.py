from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yolo.data.formats.common import BadLabels, image_size, read_text, select
from yolo.data.loaders import DefaultImageLoader
from yolo.errors import UserError

PATHS = [Path("images/a.jpg"), Path("images/b.jpg"), Path("images/deep/c.png")]


def test_bad_labels_stop_at_the_first_and_say_how_to_go_on() -> None:
    with pytest.raises(UserError, match=re.escape("x.txt:3: is wrong (data.on_bad_label=skip leaves such labels out)")):
        BadLabels("error").add("wrong lines", "x.txt:3: is wrong")


def test_skipped_labels_are_counted_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    bad = BadLabels("skip")
    for reason in ("wrong lines", "empty boxes", "wrong lines"):
        bad.add(reason, f"x.txt: {reason}")
    with caplog.at_level(logging.WARNING):
        assert bad.report(Path("labels")) == {"wrong lines": 2, "empty boxes": 1}
    expected = "labels: skipped bad labels: 2 wrong lines, 1 empty boxes; the first: x.txt: wrong lines"
    assert caplog.messages == [expected]


def test_nothing_is_reported_when_nothing_is_bad(caplog: pytest.LogCaptureFixture) -> None:
    assert BadLabels("skip").report(Path("labels")) == {}
    assert not caplog.messages


def test_read_text_names_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file, expected a list of cats"):
        read_text(tmp_path / "no.txt", "a list of cats")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"latin\.txt: cannot be read as a list of cats"):
        read_text(tmp_path / "latin.txt", "a list of cats")
    (tmp_path / "bom.txt").write_bytes("\ufeffcat".encode())
    assert read_text(tmp_path / "bom.txt", "a list of cats") == "cat"


def test_select_by_stem_or_name_keeps_the_order_of_the_dataset(tmp_path: Path) -> None:
    split = tmp_path / "split.txt"
    split.write_text("c.png\n\na\n")
    assert select(PATHS, split) == [0, 2]
    assert select(PATHS, None) == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a\nzebra\nyak\n", "'yak' names no image of the dataset (2 such lines)"),
        ("\n", "names no image, expected one image name per line"),
    ],
)
def test_a_split_file_that_does_not_fit(tmp_path: Path, content: str, expected: str) -> None:
    split = tmp_path / "split.txt"
    split.write_text(content)
    with pytest.raises(UserError, match=re.escape(f"{split}: {expected}")):
        select(PATHS, split)


def test_a_missing_split_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file, expected a list of image names"):
        select(PATHS, tmp_path / "no.txt")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_header_size_is_what_the_loader_delivers(tmp_path: Path, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{form.lower()}"
    Image.fromarray(np.zeros((60, 40, 3), np.uint8)).save(path, form, exif=exif)
    assert image_size(path) == DefaultImageLoader()(path).shape[:2]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_data_does_not_matter(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "image.jpg"
    for data in (exif.tobytes()[:20], exif.tobytes()[:9] + b"!!!!!!!!!!!", b"Exif\0\0nothing"):
        Image.fromarray(np.zeros((60, 40, 3), np.uint8)).save(path, exif=data)
        assert image_size(path) == DefaultImageLoader()(path).shape[:2]


def test_image_size_of_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such image file"):
        image_size(tmp_path / "no.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(UserError, match=r"text.jpg: not an image that can be read"):
        image_size(tmp_path / "text.jpg")

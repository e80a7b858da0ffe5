from __future__ import annotations

import io
import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from yolo.data.loaders import DefaultImageLoader, decode_image
from yolo.errors import UserError

PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8), (15, 15), 0)
load = DefaultImageLoader()


def encoded(form: str, orientation: int = 1, **options: bool) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, form, exif=exif, **options)
    return stream.getvalue()


@pytest.mark.parametrize(("form", "lossless"), [("PNG", True), ("BMP", True), ("TIFF", True), ("JPEG", False)])
def test_decodes_to_rgb(tmp_path: Path, form: str, lossless: bool) -> None:
    path = tmp_path / "image"
    path.write_bytes(encoded(form))
    image = load(path)
    assert image.dtype == np.uint8
    assert image.shape == (60, 40, 3)
    assert np.abs(image.astype(int) - PIXELS).max() <= (0 if lossless else 60)
    assert np.abs(image.astype(int) - PIXELS).mean() <= (0 if lossless else 6)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "RGBA"):
        path = tmp_path / f"{mode}.png"
        Image.fromarray(PIXELS).convert(mode).save(path)
        assert load(path).shape == (60, 40, 3)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, turns: int) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encoded("PNG", orientation))
    assert np.array_equal(load(path), np.rot90(PIXELS, turns))


def test_missing_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'no.jpg'}: no such image file")):
        load(tmp_path / "no.jpg")


def test_folder_in_place_of_an_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.98])
def test_truncated_image(tmp_path: Path, form: str, share: float) -> None:
    data = encoded(form)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=re.escape(f"{path}: not a complete image")):
        load(path)


def test_truncated_progressive_jpeg() -> None:
    data = np.frombuffer(encoded("JPEG", progressive=True), np.uint8)
    assert decode_image(data, Path("x")).shape == (60, 40, 3)
    with pytest.raises(UserError, match="not a complete image"):
        decode_image(data[: len(data) * 9 // 10], Path("x"))


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_a_file_that_is_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{path}: not a complete image")):
        load(path)


def test_is_picklable(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encoded("PNG"))
    assert np.array_equal(pickle.loads(pickle.dumps(load))(path), PIXELS)

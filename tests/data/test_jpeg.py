from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from yolo.data import jpeg
from yolo.data.jpeg import find_decoder, is_usual_jpeg
from yolo.data.loaders import decode_image
from yolo.errors import UserError

PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8), (15, 15), 0)


def _has_library() -> bool:
    try:
        return bool(jpeg._pyturbojpeg())
    except RuntimeError:
        return False


needs_library = pytest.mark.skipif(not _has_library(), reason="needs a library: apt install libturbojpeg0")


@pytest.fixture
def fresh() -> Iterator[None]:
    find_decoder.cache_clear()
    yield
    find_decoder.cache_clear()


def encoded(mode: str = "RGB", form: str = "JPEG", exif: bytes = b"", **options: object) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(stream, form, exif=exif, **options)
    return np.frombuffer(stream.getvalue(), np.uint8)


def turned(orientation: int, order: str = "<", form: int = 3) -> bytes:
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, form, 1, orientation, 0)
    other = struct.pack(f"{order}HHII", 0x0100, 4, 1, 7)
    return b"Exif\0\0" + head + struct.pack(f"{order}IH", 8, 2) + other + entry + b"\0" * 4


@pytest.mark.parametrize("source", [jpeg._simplejpeg, pytest.param(jpeg._pyturbojpeg, marks=needs_library)])
@pytest.mark.parametrize("options", [{}, {"mode": "L"}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
def test_usual_images_decode_to_the_pixels_of_opencv(source: object, options: dict[str, object]) -> None:
    data = encoded(**options)  # type: ignore[arg-type]
    assert is_usual_jpeg(data)
    assert np.array_equal(source()(data), decode_image(data, Path("x")))  # type: ignore[operator]


@pytest.mark.parametrize("order", "<>")
def test_orientation(order: str) -> None:
    assert is_usual_jpeg(encoded(exif=turned(1, order)))
    for orientation in range(2, 9):
        assert not is_usual_jpeg(encoded(exif=turned(orientation, order)))


def test_odd_exif_is_not_usual() -> None:
    for exif in (turned(6)[:20], turned(1, form=4), b"Exif\0\0nothing", turned(1)[:10] + b"\xff" * 12):
        assert not is_usual_jpeg(encoded(exif=exif))


def test_what_is_no_usual_jpeg() -> None:
    data = encoded()
    assert not is_usual_jpeg(encoded("CMYK"))
    assert not is_usual_jpeg(encoded(form="PNG"))
    assert not is_usual_jpeg(np.zeros(0, np.uint8))
    assert not is_usual_jpeg(np.frombuffer(b"\xff\xd8\xff\xd9", np.uint8))
    assert not any(is_usual_jpeg(data[:length]) for length in range(len(data)))
    assert not is_usual_jpeg(np.append(data, np.uint8(0)))


def test_a_giant_is_left_to_opencv_which_refuses_it() -> None:
    content = bytearray(encoded().tobytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", 65500, 65500)
    data = np.frombuffer(content, np.uint8)
    assert not is_usual_jpeg(data)
    with pytest.raises(UserError, match="OpenCV cannot decode"):
        decode_image(data, Path("x"))


@needs_library
def test_pyturbojpeg_stands_in_for_simplejpeg(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert "TurboJPEG" in repr(find_decoder())


@pytest.mark.parametrize(
    "failure", [ImportError("no turbojpeg"), RuntimeError("Unable to\nlocate"), AttributeError("tj3Init")]
)
def test_without_any_decoder_there_is_one_sentence(
    fresh: None, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail() -> None:
        raise failure

    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    monkeypatch.setattr(jpeg, "_pyturbojpeg", fail)
    with pytest.raises(UserError, match=r"pip install simplejpeg.*PyTurboJPEG<2.*libturbojpeg0") as refused:
        find_decoder()
    assert "\n" not in str(refused.value)
    assert str(failure).split()[0] in str(refused.value)

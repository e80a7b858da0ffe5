from __future__ import annotations

import io
import multiprocessing
import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from jsonargparse.typing import SecretStr
from PIL import Image

from tests.data.test_encrypted_file import old
from yolo.data.encrypted_file import ImageCipher
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.keys import VARIABLE, EncryptionKey
from yolo.data.loaders import load_image
from yolo.errors import UserError

SECRET = bytes(range(32))
KEY = SecretStr(SECRET.hex())
PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8), (15, 15), 0)


def encoded(form: str = "PNG", orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, form, exif=exif)
    return stream.getvalue()


@pytest.fixture
def encrypted(tmp_path: Path) -> Path:
    path = tmp_path / "a.png.enc"
    path.write_bytes(ImageCipher(EncryptionKey(SECRET)).encrypt(encoded()))
    return path


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize("use_opencv", [True, False])
def test_both_layouts_and_plain_files(encrypted: Path, tmp_path: Path, use_opencv: bool) -> None:
    loader = EncryptedImageLoader(use_opencv, KEY)
    (tmp_path / "b.enc").write_bytes(old(encoded(), SECRET))
    (tmp_path / "c.png").write_bytes(encoded())
    for name in ("a.png.enc", "b.enc", "c.png"):
        assert np.array_equal(loader(tmp_path / name), PIXELS)
        assert loader.image_size(tmp_path / name) == (60, 40)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_decoders_agree_on_the_size(tmp_path: Path, form: str, orientation: int) -> None:
    path = tmp_path / "a.enc"
    path.write_bytes(ImageCipher(EncryptionKey(SECRET)).encrypt(encoded(form, orientation)))
    by_opencv, by_pil = EncryptedImageLoader(True, KEY), EncryptedImageLoader(False, KEY)
    assert by_opencv.image_size(path) == by_opencv(path).shape[:2] == by_pil(path).shape[:2]
    assert np.abs(by_opencv(path).astype(int) - by_pil(path)).max() <= 4


def test_where_the_key_comes_from(encrypted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=re.escape(f"{encrypted} is encrypted, and there is no key: set {VARIABLE}")):
        EncryptedImageLoader()(encrypted)
    monkeypatch.setenv(VARIABLE, SECRET.hex().upper())
    assert np.array_equal(EncryptedImageLoader()(encrypted), PIXELS)
    monkeypatch.setenv(VARIABLE, "00" * 32)
    with pytest.raises(UserError, match=re.escape(f"{encrypted}: encrypted with another key")):
        EncryptedImageLoader()(encrypted)
    keyed = EncryptedImageLoader().with_key(KEY)
    assert np.array_equal(keyed(encrypted), PIXELS)
    assert keyed.with_key(SecretStr("11" * 32)) is keyed


def test_a_missing_key_is_asked_for_where_it_can_be_given(encrypted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UserError, match=r"digits\)$"):  # predict has no option for it
        EncryptedImageLoader()(encrypted)
    with pytest.raises(UserError, match=r"digits\) or data\.encryption_key$"):
        EncryptedImageLoader().with_key(None)(encrypted)


def test_plain_files_need_no_key(tmp_path: Path) -> None:
    (tmp_path / "c.png").write_bytes(encoded())
    assert np.array_equal(EncryptedImageLoader()(tmp_path / "c.png"), PIXELS)


@pytest.mark.parametrize("use_opencv", [True, False])
def test_300_single_bits_all_refused_and_named(encrypted: Path, use_opencv: bool) -> None:
    loader = EncryptedImageLoader(use_opencv, KEY)
    content = bytearray(encrypted.read_bytes())
    for bit in np.random.default_rng(1).choice(8 * len(content), 300, replace=False):
        content[bit // 8] ^= 1 << int(bit) % 8
        encrypted.write_bytes(content)
        with pytest.raises(UserError, match=re.escape(str(encrypted))):
            loader(encrypted)
        content[bit // 8] ^= 1 << int(bit) % 8


def test_an_encrypted_file_that_holds_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.enc"
    path.write_bytes(ImageCipher(EncryptionKey(SECRET)).encrypt(b"text"))
    with pytest.raises(UserError, match=re.escape(f"{path}: not a complete image that OpenCV can decode (4 bytes)")):
        EncryptedImageLoader(True, KEY)(path)
    with pytest.raises(UserError, match=re.escape(f"{path}: not a complete image that PIL can decode")):
        EncryptedImageLoader(False, KEY)(path)
    path.write_bytes(old(b"text", SECRET))
    for read in (EncryptedImageLoader(True, KEY), EncryptedImageLoader(True, KEY).image_size):
        with pytest.raises(UserError, match=r"or it was encrypted with another key \(old layout\)$"):
            read(path)
    path.write_bytes(encoded())
    with pytest.raises(UserError, match=re.escape(str(path))):
        EncryptedImageLoader(True, KEY)(path)


def test_missing_and_empty(tmp_path: Path) -> None:
    loader = EncryptedImageLoader(encryption_key=KEY)
    with pytest.raises(UserError, match=r"no\.enc: no such image file"):
        loader(tmp_path / "no.enc")
    (tmp_path / "empty.enc").touch()
    with pytest.raises(UserError, match=r"empty\.enc: an empty file"):
        loader.image_size(tmp_path / "empty.enc")


def test_copies_for_workers(encrypted: Path) -> None:
    loader = EncryptedImageLoader(encryption_key=KEY)
    loader(encrypted)
    assert np.array_equal(pickle.loads(pickle.dumps(loader))(encrypted), PIXELS)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(load_image, (loader, encrypted)), PIXELS)


def test_no_descriptor_stays_open(encrypted: Path) -> None:
    loader = EncryptedImageLoader(encryption_key=KEY)
    loader(encrypted)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(500):
        loader(encrypted)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_nothing_printed_shows_the_key(encrypted: Path) -> None:
    loader = EncryptedImageLoader(encryption_key=KEY)
    loader(encrypted)
    assert SECRET.hex() not in f"{loader!r} {loader} {vars(loader)} {loader._cipher!r}"

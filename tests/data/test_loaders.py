from __future__ import annotations

import importlib
import io
import multiprocessing
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import assert_user_error, run_yolo
from tests.tiny_dataset import write_dataset
from yolo.data import loaders
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.loaders import (
    DefaultImageLoader,
    FastImageLoader,
    ImageLoader,
    TurboJPEGLoader,
    decode_image,
    identity,
    image_size,
    load_image,
    pil_to_rgb,
)
from yolo.errors import UserError

PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8), (15, 15), 0)
load = DefaultImageLoader()
LOADERS: dict[str, Callable[[], ImageLoader]] = {
    "fast": FastImageLoader,
    "read": lambda: FastImageLoader(use_mmap=False),
    "turbo": TurboJPEGLoader,
    "encrypted": EncryptedImageLoader,
    "default": DefaultImageLoader,
}


@pytest.fixture(params=LOADERS)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ImageLoader:
    monkeypatch.setattr(loaders, "MAPPED_FROM", 10)  # small test images are mapped, too
    return LOADERS[request.param]()


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


def test_every_loader_delivers_the_same_pixels_of_real_images(test_data: Path, loader: ImageLoader) -> None:
    files = sorted((test_data / "bccd/images/val").iterdir()) + sorted((test_data / "coco128/images/train").iterdir())
    for path in files[::5]:
        assert np.array_equal(load_image(loader, path), load(path)), path


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_loader_turns_as_opencv_does(tmp_path: Path, loader: ImageLoader, form: str, orientation: int) -> None:
    path = tmp_path / f"image.{form.lower()}"
    path.write_bytes(encoded(form, orientation))
    assert np.array_equal(load_image(loader, path), load(path))
    assert loader.image_size(path) == load(path).shape[:2]


@pytest.mark.parametrize("mode", ["L", "CMYK", "1", "P", "RGBA", "I;16"])
def test_every_loader_reads_other_kinds_of_images(tmp_path: Path, loader: ImageLoader, mode: str) -> None:
    form = "JPEG" if mode in ("L", "CMYK") else "PNG"
    path = tmp_path / f"image.{form.lower()}"
    Image.fromarray(PIXELS).convert(mode).save(path, form)
    assert np.array_equal(load_image(loader, path), load(path))


def test_every_loader_refuses_what_is_no_complete_image(tmp_path: Path, loader: ImageLoader) -> None:
    path = tmp_path / "a.jpg"
    for data in (encoded("JPEG")[:-20], encoded("JPEG")[:-2], encoded("PNG")[:300], b"", b"no image at all"):
        path.write_bytes(data)
        with pytest.raises(UserError, match=re.escape(f"{path}: not a complete image")):
            loader(path)
    with pytest.raises(UserError, match="no such image file"):
        loader(tmp_path / "no.jpg")
    with pytest.raises(UserError, match="cannot be read"):
        loader(tmp_path)


def test_every_loader_has_the_verdict_of_opencv_on_damage(tmp_path: Path, loader: ImageLoader) -> None:
    data, path, rng = encoded("JPEG"), tmp_path / "a.jpg", np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            expected = load(path)
        except UserError as error:
            with pytest.raises(UserError, match=re.escape(str(error))):
                loader(path)
        else:
            assert np.array_equal(load_image(loader, path), expected)


def test_no_descriptor_stays_open(tmp_path: Path, loader: ImageLoader) -> None:
    good, bad = tmp_path / "a.jpg", tmp_path / "b.jpg"
    good.write_bytes(encoded("JPEG"))
    bad.write_bytes(encoded("JPEG")[:-20])
    loader(good)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(250):
        image = loader(good)
        with pytest.raises(UserError):
            loader(bad)
        assert loader.image_size(good) == np.asarray(image).shape[:2]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_every_loader_works_in_a_spawned_worker(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG"))
    ready = [make() for make in LOADERS.values()]
    for each in ready:
        each(path)  # as in a program that has used it before
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        images = pool.starmap(load_image, [(each, path) for each in ready])
    assert all(np.array_equal(image, load(path)) for image in images)


def test_large_files_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.bmp"
    Image.fromarray(np.zeros((700, 600, 3), np.uint8)).save(path)
    monkeypatch.setattr(loaders, "read_bytes", lambda path: pytest.fail("was read"))
    assert FastImageLoader()(path).shape == (700, 600, 3)


class Custom(ImageLoader):
    """Delivers, or raises, what it is told to."""

    def __init__(self, result: object) -> None:
        self.result = result

    def __call__(self, path: Path) -> Image.Image:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result  # type: ignore[return-value]


def test_a_custom_loader_delivers_arrays_or_pil_images() -> None:
    for result in (PIXELS, Image.fromarray(PIXELS), Image.fromarray(PIXELS).convert("RGBA")):
        assert np.array_equal(load_image(Custom(result), Path("a.jpg")), PIXELS)


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (PIXELS.astype(np.float32), "an array float32 [60, 40, 3]"),
        (PIXELS[..., 0], "an array uint8 [60, 40]"),
        (PIXELS.transpose(2, 0, 1), "an array uint8 [3, 60, 40]"),
        (PIXELS[:0], "an array uint8 [0, 40, 3]"),
        (None, "NoneType"),
        (b"bytes", "bytes"),
        (PIXELS.tolist(), "list"),
        (Path("b.jpg"), "pathlib.PosixPath"),
    ],
)
def test_a_custom_loader_that_delivers_something_else(result: object, found: str) -> None:
    expected = f"a.jpg: Custom delivers {found}, expected uint8 [height, width, 3] or a PIL image"
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        load_image(Custom(result), Path("a.jpg"))


def test_a_custom_loader_that_raises() -> None:
    mistake = KeyError("bucket\nname")
    with pytest.raises(UserError, match=r"^a\.jpg: Custom raises KeyError \('bucket\\nname'\)$") as raised:
        load_image(Custom(mistake), Path("a.jpg"))
    assert raised.value.__cause__ is mistake
    with pytest.raises(UserError, match=r"^x\.jpg: mine$"):
        load_image(Custom(UserError("x.jpg: mine")), Path("a.jpg"))
    with pytest.raises(MemoryError):
        load_image(Custom(MemoryError()), Path("a.jpg"))


GREY = (np.arange(3000, dtype=np.uint16) * 21).reshape(60, 50)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_by_pil_are_those_of_opencv(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a"
    Image.fromarray(GREY).save(path, form)
    expected = load(path)
    assert np.array_equal(expected, np.repeat(GREY[..., None] >> 8, 3, 2))
    with Image.open(path) as image:
        assert image.mode == "I;16"
        assert np.array_equal(load_image(Custom(image), path), expected)
    assert np.array_equal(load_image(EncryptedImageLoader(use_opencv=False), path), expected)
    assert np.array_equal(pil_to_rgb(Image.fromarray(GREY.astype(">u2")), path), expected)


@pytest.mark.parametrize(("dtype", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_32_bits_by_pil_are_refused(tmp_path: Path, dtype: type, mode: str) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(GREY.astype(dtype)).save(path)
    expected = f"^{re.escape(str(path))}: a PIL image of mode {mode} \\(32 bits\\), expected 8 or 16 bits per channel$"
    with pytest.raises(UserError, match=expected):
        load_image(EncryptedImageLoader(use_opencv=False), path)
    with Image.open(path) as image, pytest.raises(UserError, match=expected):
        load_image(Custom(image), path)


def test_a_pil_image_that_is_no_more_open(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG"))
    with Image.open(path) as image:
        pass
    with pytest.raises(UserError, match=r"a\.png: Custom raises AssertionError$"):
        load_image(Custom(image), path)


def test_the_size_for_a_loader_of_other_files() -> None:
    assert Custom(PIXELS).image_size(Path("a.cloud")) == (60, 40)


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


OWN = """
import numpy as np
from PIL import Image
from yolo.data.loaders import ImageLoader

class Bucket(ImageLoader):
    def __init__(self, fail: str = ""):
        self.fail = fail

    def __call__(self, path):
        if self.fail and path.name == "1.jpg":
            raise ConnectionError(self.fail)
        with Image.open(path) as image:
            return image.convert("RGB")
"""


@pytest.mark.slow
def test_a_custom_loader_by_class_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "data")
    (tmp_path / "own_loader.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    fit = [
        "fit", "--config=default", "--model.model_config=tests.models.test_checkpoint.TinyNetwork",
        "--data.format=yolo", "--data.root=data", "--model.image_size=64", "--trainer.max_epochs=1",
        "--data.batch_size=2", "--data.num_workers=1", "--trainer.accelerator=cpu",
        "--data.image_loader=own_loader.Bucket", "--model.save_metrics_plots=false",
    ]  # fmt: skip
    done = run_yolo(*fit, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_yolo(*fit, "--data.image_loader.init_args.fail=no net", cwd=tmp_path)
    assert_user_error(done, "data/images/", "1.jpg: Bucket raises ConnectionError (no net)")


def test_the_identity_of_a_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert identity(DefaultImageLoader()) == identity(TurboJPEGLoader()) == ""
    code = "from yolo.data.loaders import DefaultImageLoader\nclass Mine(DefaultImageLoader):\n    gain = 1\n"
    module = tmp_path / "loader_of_a_test.py"
    module.write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    kind = importlib.import_module("loader_of_a_test").Mine
    one, other = kind(), kind()
    assert identity(one) == identity(other)
    assert identity(one).startswith("loader_of_a_test.Mine#")
    other.gain = 2
    assert identity(one) != identity(other), "settings count"
    before = identity(one)
    module.write_text(code + "# edited\n")
    assert identity(one) != before, "code counts"

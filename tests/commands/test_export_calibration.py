from __future__ import annotations

import logging
import shutil
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.export.own_dataset import own_checkpoint, write_own_dataset
from yolo.boxes.letterbox import Letterbox
from yolo.commands.export import ExportOptions, parse
from yolo.commands.export_calibration import calibration_of
from yolo.commands.export_job import prepare_export
from yolo.data.datamodule import YOLODataModule
from yolo.data.encrypted_file import ImageCipher
from yolo.data.keys import EncryptionKey
from yolo.errors import UserError
from yolo.model_file import read_card
from yolo.quantization.calibration import Calibration, folder_images

KEY = "0123456789abcdef" * 4


def asked(checkpoint: Path) -> list[str]:
    return [f"--checkpoint={checkpoint}", "--format=tflite", "--quantization=int8"]


def write_images(folder: Path, number: int, size: tuple[int, int] = (40, 60)) -> None:
    folder.mkdir()
    for index in range(number):
        cv2.imwrite(str(folder / f"{index:03d}.png"), np.full((*size, 3), index, np.uint8))


def test_images_of_a_folder_evenly_spread(tmp_path: Path) -> None:
    write_images(tmp_path / "some", 10)
    readers = folder_images(tmp_path / "some", 5, (64, 32), "corner", "--images")
    images = [reader() for reader in readers]
    assert [int(image[0, 0, 0]) for image in images] == [0, 2, 4, 6, 8]
    wanted = Letterbox((40, 60), (64, 32), "corner").apply(np.full((40, 60, 3), 8, np.uint8))
    np.testing.assert_array_equal(images[-1], wanted)


def test_encrypted_images_when_the_key_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "some", 2)
    plain = [reader() for reader in folder_images(tmp_path / "some", 9, (64, 64), "center", "--images")]
    cipher = ImageCipher(EncryptionKey(bytes.fromhex(KEY)))
    for path in sorted((tmp_path / "some").iterdir()):
        path.with_name(f"{path.name}.enc").write_bytes(cipher.encrypt(path.read_bytes()))
        path.unlink()
    with pytest.raises(UserError, match=r"2 encrypted.*YOLO_ENCRYPTION_KEY"):
        folder_images(tmp_path / "some", 9, (64, 64), "center", "--images")
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", KEY)
    found = [reader() for reader in folder_images(tmp_path / "some", 9, (64, 64), "center", "--images")]
    np.testing.assert_array_equal(found, plain)


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    peaks = []
    for number in (4, 40):
        write_images(tmp_path / str(number), number, (300, 300))
        readers = folder_images(tmp_path / str(number), number, (256, 256), "center", "--images")
        tracemalloc.start()
        Calibration("somewhere", readers).digest()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] > 256 * 256 * 3
    assert peaks[1] < peaks[0] + 256 * 256 * 3


@pytest.mark.slow
def test_training_images_of_a_dataset(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = own_checkpoint(tmp_path)
    data = write_own_dataset(tmp_path / "data", checkpoint)
    for label in (tmp_path / "data/labels/train").iterdir():
        label.write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data/labels/train/06.txt").write_text("2 0.5 0.5 0.2 0.2\n")
    arguments = [f"--checkpoint={checkpoint}", "--format=tflite", "--quantization=int8", "--num-calibration=2", *data]
    with caplog.at_level(logging.WARNING):
        job = prepare_export(*parse(arguments))
    assert "calibrated with 2 images, fewer than the 100 advised" in caplog.text
    assert job.calibration is not None
    assert job.calibration.source == "2 of 6 training images"
    first = cv2.imread(str(tmp_path / "data/images/train/06.png"))[..., ::-1]  # of the rarest class
    np.testing.assert_array_equal(next(job.calibration.pixels()), first)
    assert job.calibration_digest == job.calibration.digest()
    cache = {"cache_dir": str(tmp_path / "cache"), "cache_format": "raw"}
    options = {"root": str(tmp_path / "data"), "format": "yolo", "num_workers": 0, "cache_images": "disk", **cache}
    YOLODataModule((64, 64), **options).setup("fit")
    shutil.rmtree(tmp_path / "data" / "images")
    flags = [f"--data.{name}={value}" for name, value in cache.items()]
    again = prepare_export(*parse([*arguments, *flags, "--data.cache_only=true"]))
    assert again.calibration_digest == job.calibration_digest


@pytest.mark.slow
def test_a_folder_goes_before_the_dataset(tmp_path: Path) -> None:
    checkpoint = own_checkpoint(tmp_path)
    data = write_own_dataset(tmp_path / "data", checkpoint)
    write_images(tmp_path / "some", 3)
    folder = f"--calibration-images={tmp_path / 'some'}"
    job = prepare_export(*parse([*asked(checkpoint), folder, *data]))
    assert job.calibration is not None
    assert (len(job.calibration), job.calibration.source) == (3, "images of --calibration-images")


@pytest.mark.slow
def test_refused_before_any_work(tmp_path: Path) -> None:
    checkpoint = own_checkpoint(tmp_path)
    options = ExportOptions(checkpoint=checkpoint, format="tflite", quantization="int8")
    with pytest.raises(UserError, match=r"--calibration-images FOLDER, or .*--config or by --data\.root"):
        calibration_of(options, (64, 64), read_card(checkpoint), None)
    write_images(tmp_path / "some", 3)
    (tmp_path / "some" / "001.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"some/001\.png"):
        prepare_export(
            *parse(
                [
                    f"-c={checkpoint}",
                    "--format=tflite",
                    "--quantization=int8",
                    f"--calibration-images={tmp_path / 'some'}",
                ]
            )
        )
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none: no images in this folder"):
        prepare_export(
            *parse(
                [
                    f"-c={checkpoint}",
                    "--format=tflite",
                    "--quantization=int8",
                    f"--calibration-images={tmp_path / 'none'}",
                ]
            )
        )
    with pytest.raises(UserError, match="--num-calibration is 0, expected a value at least 1"):
        ExportOptions(checkpoint=checkpoint, format="tflite", quantization="int8", num_calibration=0)
    with pytest.raises(UserError, match="--num-calibration is for --quantization int8, which is fp32"):
        ExportOptions(checkpoint=checkpoint, num_calibration=1024)
    with pytest.raises(UserError, match="--calibration-images is for --quantization int8"):
        ExportOptions(checkpoint=checkpoint, calibration_images=tmp_path / "some")

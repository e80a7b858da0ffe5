from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.data.check.broken import SIZE, picture, sound_yolo, write
from yolo.data.check.pictures import Fingerprint, fingerprint, look_at
from yolo.data.check.surveys import survey_split
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions


def test_looks_at_every_image(tmp_path: Path) -> None:
    root = sound_yolo(tmp_path)
    whole = (root / "images/train/04.png").read_bytes()
    (root / "images/train/04.png").write_bytes(whole[:-30])
    cv2.imwrite(str(root / "images/train/02.bmp"), picture(0))  # the pixels of 00.png in another file format
    (root / "images/train/02.png").unlink()
    survey = survey_split(DataOptions(format="yolo", root=str(root)), "train", DefaultImageLoader())
    seen: list[None] = []
    pictures = look_at(survey.images, DefaultImageLoader(), lambda: seen.append(None))
    assert len(seen) == len(pictures) == 12
    assert [index for index, one in enumerate(pictures) if one.error] == [4]
    assert "04.png" in pictures[4].error
    assert pictures[0].size == SIZE
    assert pictures[0].digest == pictures[2].digest != pictures[1].digest


def test_the_same_bytes_in_another_shape_are_another_image(tmp_path: Path) -> None:
    root = sound_yolo(tmp_path)
    flat = np.full((20, 40, 3), 7, np.uint8)
    write(root / "images/val/00.png", flat)
    write(root / "images/val/01.png", flat.reshape(40, 20, 3))
    survey = survey_split(DataOptions(format="yolo", root=str(root)), "val", DefaultImageLoader())
    first, second = look_at(survey.images, DefaultImageLoader())[:2]
    assert first.digest != second.digest
    assert first.fingerprint is None


def differing(one: Fingerprint | None, other: Fingerprint | None) -> int:
    assert one is not None
    assert other is not None
    return ((one.bits ^ other.bits) & (one.clear | other.clear)).bit_count()


def test_a_fingerprint_says_what_is_flat() -> None:
    image = np.full((90, 90, 3), 100, np.uint8)
    image[:10, :10] = 200  # one cell of 9 x 9, brighter than its neighbours
    found = fingerprint(image)
    assert found is not None
    assert (found.bits, found.clear) == (found.clear, 1 << 127 | 1 << 63)
    assert sum(abs(value) > 50 for value in np.frombuffer(found.detail, np.int8)) < 40


def test_a_fingerprint_survives_size_quality_and_light() -> None:
    image = picture(1, (480, 640))
    original = fingerprint(image)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])
    for copy in (
        cv2.imdecode(data, cv2.IMREAD_COLOR),
        cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA),
        cv2.convertScaleAbs(image, alpha=0.9, beta=10),
    ):
        assert differing(original, fingerprint(np.asarray(copy, np.uint8))) <= 2
    assert differing(original, fingerprint(picture(2, (480, 640)))) > 20

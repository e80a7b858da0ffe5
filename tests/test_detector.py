from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import Run
from tests.export.random_network import random_checkpoint
from yolo import Detections, Detector
from yolo.boxes.nms import NMSOptions
from yolo.errors import UserError
from yolo.tiling import Tiling


@pytest.fixture(scope="module")
def detector(tiny_run: Run) -> Detector:
    return Detector.load(tiny_run.best, device="cpu")


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 90, 3), np.uint8)


def test_path_array_and_pil_image_give_the_same(detector: Detector, picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    found = [detector(source, confidence=0.001) for source in (path, str(path), picture, Image.fromarray(picture))]
    assert len(found[0]) > 0
    assert all(np.array_equal(found[0].boxes, other.boxes) for other in found)
    assert found[0].path == path
    assert found[2].path is None
    assert found[0].size == (40, 90)


def test_result(detector: Detector, picture: np.ndarray) -> None:
    found = detector(picture, confidence=0.001, max_detections=5)
    assert len(found) <= 5
    assert found.boxes.shape == (len(found), 4)
    assert (found.boxes[:, 2:] <= np.array([90, 40])).all()
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.names) <= set(detector.class_names)
    assert found.plot().shape == picture.shape
    assert found.to_dicts()[0]["name"] == found.names[0]


def test_thresholds_come_from_the_checkpoint_unless_given(detector: Detector) -> None:
    assert detector.thresholds(iou=0.3) == NMSOptions(0.25, 0.3, 300)


def test_deployed_network_has_no_training_parts(tmp_path: Path) -> None:
    path = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    assert any(name.startswith("model.auxiliary.") for name in torch.load(path, weights_only=True)["state_dict"])
    detector = Detector.load(path, device="cpu")
    assert detector.model.auxiliary is None
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in detector.model.modules())


def test_another_input_size(tiny_run: Run, picture: np.ndarray) -> None:
    wide = Detector.load(tiny_run.best, device="cpu", image_size=(32, 96))
    assert wide.image_size == (32, 96)
    assert wide(picture, confidence=0.001).size == (40, 90)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8)]
)
def test_wrong_arrays(detector: Detector, image: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"uint8 \[height, width, 3\]"):
        detector(image)


def test_pil_images_of_more_than_8_bits(detector: Detector) -> None:
    grey = np.linspace(0, 65535, 40 * 60).reshape(40, 60)
    found = detector(Image.fromarray(grey.astype(np.uint16)), confidence=0.001)
    same = detector(np.repeat((grey.astype(np.uint16) >> 8).astype(np.uint8)[..., None], 3, 2), confidence=0.001)
    assert np.array_equal(found.boxes, same.boxes)
    with pytest.raises(UserError, match="the image: a PIL image of mode F"):
        detector(Image.fromarray(grey.astype(np.float32)))


def test_unknown_device(tiny_run: Run) -> None:
    with pytest.raises(UserError, match="device 'warp' cannot be used"):
        Detector.load(tiny_run.best, device="warp")


def test_nothing_to_draw_on() -> None:
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("a",), (4, 4))
    with pytest.raises(ValueError, match="without keeping the image"):
        empty.plot()
    assert empty.to_dicts() == []


def test_supervision(detector: Detector, picture: np.ndarray) -> None:
    supervision = pytest.importorskip("supervision")
    found = detector(picture, confidence=0.001, max_detections=5)
    converted = found.to_supervision()
    assert isinstance(converted, supervision.Detections)
    assert len(converted) == len(found) > 0
    assert np.array_equal(converted.xyxy, found.boxes)
    assert np.array_equal(converted.confidence, found.scores)
    assert np.array_equal(converted.class_id, found.classes)
    assert converted.data["class_name"].tolist() == found.names
    first = converted[converted.class_id == found.classes[0]]  # what that library is for
    assert set(first.data["class_name"]) == {found.names[0]}
    assert supervision.BoxAnnotator().annotate(picture.copy(), converted).shape == picture.shape


def test_supervision_of_nothing() -> None:
    pytest.importorskip("supervision")
    none = np.zeros((0, 4), np.float32)
    converted = Detections(none, none[:, 0], np.zeros(0, np.int64), ("a",), (4, 4)).to_supervision()
    assert len(converted) == 0
    assert converted.is_empty()


def test_without_supervision(detector: Detector, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="pip install supervision"):
        detector(picture).to_supervision()


def test_steps_are_the_whole(detector: Detector, picture: np.ndarray) -> None:
    options = detector.thresholds(0.001)
    (seen,) = detector.run([detector.read(picture)], options)
    found = detector.finish(seen, options)
    assert found.to_dicts() == detector(picture, confidence=0.001).to_dicts()


@pytest.mark.slow
def test_windows(tiny_run: Run, picture: np.ndarray) -> None:
    whole = Detector.load(tiny_run.best, device="cpu")(picture, confidence=0.001)
    same = Detector.load(tiny_run.best, device="cpu", tiling=Tiling(90))(picture, confidence=0.001)
    assert np.array_equal(same.boxes, whole.boxes)
    tiled = Detector.load(tiny_run.best, device="cpu", tiling=Tiling(40, 0.25))(picture, confidence=0.001)
    assert len(tiled) > 0
    assert tiled.image is not None
    assert (tiled.boxes >= 0).all()
    assert (tiled.boxes[:, 2:] <= (90, 40)).all()


def test_images_at_once_are_as_images_alone(tiny_run: Run, picture: np.ndarray) -> None:
    detector = Detector.load(tiny_run.best, device="cpu", tiling=Tiling(90))
    options = detector.thresholds(0.001)
    pictures = [picture, np.ascontiguousarray(picture[::-1]), np.tile(picture, (3, 2, 1)), picture[:, :50].copy()]
    for image, seen in zip(pictures, detector.run([detector.read(p) for p in pictures], options), strict=True):
        found, alone = detector.finish(seen, options), detector(image, confidence=0.001)
        assert len(found) == len(alone) > 0
        assert found.size == image.shape[:2]
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-3)
        np.testing.assert_allclose(np.sort(found.boxes, 0), np.sort(alone.boxes, 0), atol=0.05)

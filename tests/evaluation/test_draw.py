from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from yolo.evaluation.draw import class_colour, contact_sheet, draw_boxes, fit_boxes, save_jpeg


def test_box_edges_are_drawn_in_the_colour_of_the_class() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    drawn = draw_boxes(image, np.array([[20.0, 30.0, 80.0, 70.0]]), np.array([2]))
    for x, y in ((20, 50), (80, 50), (50, 30), (50, 70)):
        assert tuple(drawn[y, x]) == class_colour(2)
    assert not drawn[50, 50].any()
    assert not image.any()  # the original is left alone


def test_labels_stay_inside_the_image() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    corners = np.array([[0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 59.0, 59.0]])
    drawn = draw_boxes(image, corners, np.array([0, 1]), ["a long label", "b 0.50"])
    assert drawn.shape == image.shape
    assert (drawn != 0).sum() > (draw_boxes(image, corners, np.array([0, 1])) != 0).sum()


def test_neighbouring_classes_differ() -> None:
    colours = np.array([class_colour(i) for i in range(12)], float)
    gaps = np.abs(colours[:, None] - colours[None]).max(-1)[~np.eye(12, dtype=bool)]
    assert gaps.min() > 20


def test_contact_sheet() -> None:
    red = np.full((10, 20, 3), (255, 0, 0), np.uint8)
    sheet = contact_sheet([red] * 3, columns=2, tile=32)
    assert sheet.shape == (64, 64, 3)
    assert tuple(sheet[16, 16]) == (255, 0, 0)
    assert tuple(sheet[48, 48]) == (255, 255, 255)


def test_boxes_shrink_with_their_image() -> None:
    image, boxes = fit_boxes(np.zeros((100, 200, 3), np.uint8), np.array([[20, 10, 200, 100]], np.float32), 50)
    assert image.shape == (25, 50, 3)
    assert boxes.tolist() == [[5, 2.5, 50, 25]]


def test_jpeg_is_rgb_and_whole(tmp_path: Path) -> None:
    save_jpeg(np.full((16, 16, 3), (200, 30, 10), np.uint8), tmp_path / "a.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
    assert np.abs(cv2.imread(str(tmp_path / "a.jpg"))[8, 8].astype(int) - (10, 30, 200)).max() < 6

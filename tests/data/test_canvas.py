from __future__ import annotations

import cv2
import numpy as np

from tests.data.rectangles import Rectangles
from yolo.data.augment.canvas import Canvas, blank
from yolo.data.augment.geometry import translation
from yolo.data.augment.tiles import Tile


def tile(x: float, y: float) -> Tile:
    return Tile(translation(x, y), np.array([0, 0, 150, 100.0]))


def test_objects_come_with_the_pixels_that_are_drawn() -> None:
    canvas = Canvas(blank((100, 300)))
    source = Rectangles()
    canvas.draw(source.read(0), tile(0, 0), None)
    canvas.draw(source.read(0), tile(220, 0), lambda image, out: cv2.add(image, (7, 7, 7, 0), out))
    canvas.draw(source.read(0), tile(400, 0), None)
    # Of object 1 of the second image, less than a tenth is inside.
    assert canvas.classes.tolist() == [0, 1, 2, 3, 10, 12, 13]
    assert canvas.boxes[0].tolist() == source.boxes(0)[0].tolist()
    assert canvas.boxes[4].tolist() == (source.boxes(0)[0] + (220, 0, 220, 0)).tolist()
    assert (canvas.boxes[:, 2] <= 300).all()
    assert (canvas.image[:, :150] == 0).all()
    assert (canvas.image[:, 150:220] == 114).all()
    assert (canvas.image[:, 220:] == 7).all()


def test_an_empty_canvas() -> None:
    canvas = Canvas(blank((4, 6)))
    assert canvas.image.shape == (4, 6, 3)
    assert (canvas.image == 114).all()
    assert canvas.boxes.shape == (0, 4)
    assert canvas.classes.shape == (0,)

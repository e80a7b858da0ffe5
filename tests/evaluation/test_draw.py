from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo.evaluation.draw import (
    Style,
    class_colour,
    contact_sheet,
    draw_boxes,
    draw_styled,
    fit_boxes,
    save_jpeg,
    text_strip,
)


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


@pytest.mark.parametrize("index", range(12))
@pytest.mark.parametrize("side", [200, 1000, 4000])
def test_a_line_shows_on_a_background_of_its_own_colour(index: int, side: int) -> None:
    image = np.full((side, side, 3), class_colour(index), np.uint8)
    drawn = draw_boxes(image, np.array([[20.0, 20.0, side - 20, side - 20]]), np.array([index]))
    profile = drawn[side // 2, :40].astype(int)
    assert np.abs(profile - class_colour(index)).sum(1).max() > 200


def line_width(side: int, box: int) -> int:
    image = np.full((side, side, 3), 128, np.uint8)
    drawn = draw_boxes(image, np.array([[100.0, 100.0, 100.0 + box, 100.0 + box]]), np.array([0]))
    return int((drawn[100 + box // 2, : 100 + box // 2] == class_colour(0)).all(-1).sum())


def test_lines_grow_with_the_image_and_stay_thin_on_small_boxes() -> None:
    assert 2 <= line_width(640, 300) <= 3
    assert line_width(4000, 1000) >= 6
    assert line_width(4000, 24) <= 3


@pytest.mark.parametrize("side", [100, 400, 640])
def test_two_pixels_of_colour_are_seen_on_small_images_too(side: int) -> None:
    image = np.full((side, side, 3), 128, np.uint8)
    drawn = draw_boxes(image, np.array([[20.0, 20, 60, 60]]), np.array([0]))
    assert 2 <= (drawn[40, :40] == class_colour(0)).all(-1).sum() <= 3


def test_colours_of_lines_survive_the_jpeg(tmp_path: Path) -> None:
    styles = [Style((235, 25, 25)), Style((0, 200, 60)), Style((40, 90, 255))]
    boxes = np.array([[20.0 + 60 * n, 20, 70 + 60 * n, 80] for n in range(3)])
    save_jpeg(draw_styled(np.full((100, 220, 3), 210, np.uint8), boxes, styles), tmp_path / "a.jpg")
    read = cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1].astype(int)
    for (x1, *_), style in zip(boxes.astype(int), styles, strict=True):
        assert np.abs(read[50, x1 - 2 : x1 + 3] - style.colour).max(1).min() < 40


def test_dashes_leave_gaps() -> None:
    style, image = Style((255, 110, 0), 8), np.zeros((100, 100, 3), np.uint8)
    line = (draw_styled(image, np.array([[10.0, 10, 90, 90]]), [style])[10, 10:90] == style.colour).all(-1)
    assert 0.3 < line.mean() < 0.8
    assert np.abs(np.diff(line.astype(int))).sum() >= 8


def test_an_empty_text_is_not_drawn() -> None:
    image, box = np.full((100, 100, 3), 90, np.uint8), np.array([[10.0, 40.0, 60.0, 90.0]])
    plain = draw_boxes(image, box, np.array([1]))
    assert np.array_equal(draw_boxes(image, box, np.array([1]), [""]), plain)
    assert not np.array_equal(draw_boxes(image, box, np.array([1]), ["a"]), plain)


@pytest.mark.skipif(cv2.__version__ < "5", reason="OpenCV's font has only ASCII before version 5")
def test_letters_beyond_ascii_differ() -> None:
    assert len({text_strip(text, 0.7).tobytes() for text in ("é", "e", "ß", "Ж", "猫", "犬", "?")}) == 7


def test_a_text_is_one_line_that_fills_its_strip() -> None:
    strip = text_strip("Label", 1.0)
    rows, columns = np.nonzero((strip < 128).any(axis=2))
    assert max(rows.min(), columns.min(), strip.shape[1] - columns.max()) <= 9
    assert text_strip("a\nb", 1.0).shape == text_strip("a b", 1.0).shape


def changed(size: tuple[int, int], box: list[float], label: str) -> np.ndarray:
    """Where a label leaves its mark, as x1, y1, x2, y2."""
    image = np.full((*size, 3), 128, np.uint8)
    plain = draw_boxes(image, np.array([box]), np.array([0]))
    ys, xs = np.nonzero((draw_boxes(image, np.array([box]), np.array([0]), [label]) != plain).any(-1))
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


@pytest.mark.parametrize("size", [(45, 60), (480, 640), (3000, 4000)])
@pytest.mark.parametrize("where", [(0.0, 0.0), (0.9, 0.0), (0.0, 0.9), (0.9, 0.9), (0.5, 0.02)])
def test_labels_are_whole_wherever_the_box_is(size: tuple[int, int], where: tuple[float, float]) -> None:
    height, width = size
    x, y = where[0] * width, where[1] * height
    box = [x, y, x + 0.1 * width, y + 0.1 * height]
    middle = [0.4 * width, 0.5 * height, 0.5 * width, 0.6 * height]
    found, free = changed(size, box, "cat 0.87"), changed(size, middle, "cat 0.87")
    assert np.abs((found[2:] - found[:2]) - (free[2:] - free[:2])).max() <= 8  # as large as where there is room


def test_labels_too_long_for_the_image_are_cut() -> None:
    found = changed((45, 60), [5, 30, 20, 40], "a very long name of a class 0.87")
    assert found[0] >= 0
    assert found[2] <= 60
    assert found[3] - found[1] < 20


def test_boxes_beyond_the_image_end_at_its_border() -> None:
    drawn = draw_boxes(np.zeros((100, 100, 3), np.uint8), np.array([[-30.0, -30.0, 130.0, 130.0]]), np.array([1]))
    assert tuple(drawn[50, 0]) == class_colour(1)
    assert tuple(drawn[99, 50]) == class_colour(1)


def test_names_in_other_scripts_do_no_harm() -> None:
    for label in ("Größe 0.5", "猫 0.9", ""):
        draw_boxes(np.zeros((100, 100, 3), np.uint8), np.array([[10.0, 40.0, 60.0, 90.0]]), np.array([1]), [label])

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.data import reference
from yolo.data.augment.geometry import (
    corners,
    is_upright,
    move_boxes,
    moved_hull,
    project,
    random_transform,
    rotation,
    scaling,
    shearing,
    tilt,
    translation,
    visible_area,
    visible_hull,
)
from yolo.data.options import AugmentOptions

STILL = AugmentOptions(degrees=0, translate=0, scale=0, shear=0, perspective=0)
WILD = AugmentOptions(degrees=180, translate=0.3, scale=0.8, shear=20, perspective=0.002)


@pytest.mark.parametrize(
    ("matrix", "point", "expected"),
    [
        (translation(3, -4), (1, 2), (4, -2)),
        (scaling(2, 3), (1, 2), (2, 6)),
        (rotation(90), (1, 0), (0, -1)),  # counter-clockwise on a screen whose y points down
        (rotation(30), (1, 0), (math.cos(math.pi / 6), -0.5)),
        (shearing(45, 0), (1, 2), (3, 2)),
        (shearing(0, 45), (1, 2), (1, 3)),
        (tilt(0.5, 0), (2, 3), (1, 1.5)),
    ],
)
def test_elementary_matrices(matrix: np.ndarray, point: tuple[float, float], expected: tuple[float, float]) -> None:
    np.testing.assert_allclose(project(matrix, np.array([point], float))[0], expected, atol=1e-12)


def test_transform_without_any_variation_maps_centre_to_centre() -> None:
    matrix = random_transform(np.random.default_rng(0), STILL, (200, 400), (100, 300))
    np.testing.assert_allclose(matrix, translation(150 - 200, 50 - 100), atol=1e-12)
    assert is_upright(matrix)


def test_each_option_stays_in_its_range_and_reaches_it() -> None:
    rng = np.random.default_rng(0)

    def draws(**changes: float) -> np.ndarray:
        options = replace(STILL, **changes)  # type: ignore[arg-type]
        return np.array([random_transform(rng, options, (200, 400), (100, 300)) for _ in range(400)])

    scale = draws(scale=0.9)[:, 0, 0]
    assert 0.1 <= scale.min() < 0.12
    assert 1.88 < scale.max() <= 1.9
    moved = draws(translate=0.1)
    x, y = moved[:, 0, 2] + 200, moved[:, 1, 2] + 100
    assert 0.4 * 300 <= x.min() < 0.41 * 300
    assert 0.59 * 300 < x.max() <= 0.6 * 300
    assert 0.4 * 100 <= y.min() < 0.41 * 100
    assert 0.59 * 100 < y.max() <= 0.6 * 100
    turned = draws(degrees=30)
    angle = np.degrees(np.arctan2(turned[:, 0, 1], turned[:, 0, 0]))
    assert -30 <= angle.min() < -29
    assert 29 < angle.max() <= 30
    slant = np.degrees(np.arctan(draws(shear=10)[:, 0, 1]))
    assert -10 <= slant.min() < -9.5
    assert 9.5 < slant.max() <= 10


def test_turning_one_option_on_leaves_the_others_draws_alone() -> None:
    plain = random_transform(np.random.default_rng(5), replace(STILL, scale=0.5), (100, 100), (100, 100))
    turned = random_transform(np.random.default_rng(5), replace(STILL, scale=0.5, degrees=20), (100, 100), (100, 100))
    assert math.sqrt(np.linalg.det(turned[:2, :2])) == pytest.approx(plain[0, 0])
    assert not is_upright(turned)


def test_the_horizon_stays_outside_the_canvas() -> None:
    rng = np.random.default_rng(0)
    canvas = np.array([[0, 0, 1], [1280, 0, 1], [0, 1280, 1], [1280, 1280, 1]])
    options = replace(STILL, perspective=1.0)
    depths = [canvas @ random_transform(rng, options, (1280, 1280), (640, 640))[2] for _ in range(300)]
    assert 0.099 < np.min(depths) < 0.3


def random_boxes(rng: np.random.Generator, count: int, extent: float) -> np.ndarray:
    start = rng.uniform(0, 0.8 * extent, (count, 2))
    return np.concatenate([start, start + rng.uniform(2, 0.6 * extent, (count, 2))], 1).astype(np.float32)


@pytest.mark.parametrize("options", [WILD, replace(WILD, perspective=0, shear=0, degrees=0)])
def test_boxes_against_polygon_clipping(options: AugmentOptions) -> None:
    rng = np.random.default_rng(1)
    kept_some = dropped_some = False
    for _ in range(150):
        size = (int(rng.integers(60, 200)), int(rng.integers(60, 200)))
        matrix = random_transform(rng, options, (200, 200), size)
        low, high = rng.uniform(0, 80, 2), rng.uniform(100, 200, 2)
        window = np.concatenate([low, high])
        boxes = random_boxes(rng, 8, 200)
        moved, keep = move_boxes(boxes, matrix, window, size)
        for box, new, kept in zip(boxes, moved, keep, strict=True):
            expected = reference.visible_box(box.tolist(), matrix.tolist(), window.tolist(), size)
            whole = reference.area(reference.whole_box(box.tolist(), matrix.tolist()))
            share = 0.0 if expected is None else reference.area(expected) / whole
            side = 0.0 if expected is None else min(expected[2] - expected[0], expected[3] - expected[1])
            if (
                abs(share - 0.1) < 1e-4
                or abs(side - 2) < 1e-3
                or (expected and abs(reference.area(expected) - 4) < 1e-3)
            ):
                continue
            should = expected is not None and side >= 2 and share >= 0.1 and reference.area(expected) >= 4
            assert kept == should
            if should:
                assert new.tolist() == pytest.approx(expected, abs=2e-3)
            kept_some, dropped_some = kept_some or bool(kept), dropped_some or not kept
    assert kept_some
    assert dropped_some


def test_the_filter_compares_with_the_size_after_the_transform() -> None:
    """Shrunk to 1% of its area, a fully visible object keeps its label."""
    boxes = np.array([[100, 100, 500, 500]], np.float32)
    moved, keep = move_boxes(boxes, scaling(0.1, 0.1), np.array([0, 0, 640, 640.0]), (64, 64))
    assert keep.tolist() == [True]
    np.testing.assert_allclose(moved, [[10, 10, 50, 50]])


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((10, 10, 12, 12), True),  # exactly 2 x 2
        ((10, 10, 11.9, 30), False),  # too thin
        ((-90, 10, 10, 30), True),  # a tenth is left
        ((-92, 10, 8, 30), False),
        ((100, 10, 130, 30), False),  # outside the picture
        ((10, 62, 30, 70), False),  # outside the window
    ],
)
def test_thresholds(box: tuple[float, ...], kept: bool) -> None:
    window = np.array([-100, 0, 200, 60.0])
    assert move_boxes(np.array([box], np.float32), np.eye(3), window, (64, 64))[1].tolist() == [kept]


def test_no_boxes() -> None:
    for matrix in (np.eye(3), rotation(20)):
        moved, keep = move_boxes(np.zeros((0, 4), np.float32), matrix, np.array([0, 0, 9, 9.0]), (9, 9))
        assert moved.shape == (0, 4)
        assert keep.shape == (0,)


def test_visible_hull_of_a_diamond_cut_by_the_border() -> None:
    diamond = np.array([[[0, 5], [5, 0], [10, 5], [5, 10]]], float)
    picture = np.array([0, 0, 20, 20.0])
    np.testing.assert_allclose(visible_hull(diamond - [7, 0], picture), [[0, 2, 3, 8]])
    np.testing.assert_allclose(visible_hull(diamond - [8, 8], picture), [[0, 0, 0, 0]], atol=1.0)
    outside = visible_hull(diamond - [9, 9], picture)[0]
    assert outside[0] >= outside[2]


def test_points_behind_the_horizon_go_far_away() -> None:
    points = project(tilt(-1, 0), np.array([[0.5, 1], [0.999, 1], [2.0, 1]]))
    assert points[0].tolist() == [1, 2]
    assert points[1, 0] > 10
    assert points[2, 0] > 10


@pytest.mark.parametrize(("x", "y"), [(2, 0.5), (-2, 0.5), (2, -0.5), (-2, -0.5)])
def test_upright_boxes_through_flips(x: float, y: float) -> None:
    matrix = translation(30, 40) @ scaling(x, y)
    boxes = random_boxes(np.random.default_rng(0), 5, 100).astype(np.float64)
    assert is_upright(matrix)
    for box, moved in zip(boxes.tolist(), moved_hull(matrix, boxes).tolist(), strict=True):
        assert moved == pytest.approx(reference.whole_box(box, matrix.tolist()))
    np.testing.assert_allclose(moved_hull(matrix @ rotation(1e-9), boxes), moved_hull(matrix, boxes), atol=1e-6)


HIDDEN = np.array([20, 20, 60, 60.0])

PICTURE = np.array([0, 0, 100, 100.0])


@pytest.mark.parametrize(
    ("box", "left"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10)),  # elsewhere
        ((60, 20, 90, 60), (60, 20, 90, 60)),  # touches
        ((25, 25, 55, 55), None),  # hidden
        ((20, 20, 60, 60), None),
        ((10, 30, 50, 50), (10, 30, 20, 50)),  # its right end
        ((30, 30, 90, 50), (60, 30, 90, 50)),  # its left end
        ((30, 0, 50, 40), (30, 0, 50, 20)),  # its lower end
        ((20, 50, 60, 80), (20, 60, 60, 80)),  # its upper end
        ((10, 30, 90, 50), (10, 30, 90, 50)),  # its middle
        ((0, 0, 40, 40), (0, 0, 40, 40)),  # a corner
        ((40, 30, 90, 90), (40, 30, 90, 90)),
        ((21, 30, 64.0, 50), None),  # 4 of 43 are left
        ((21, 30, 65.0, 50), (60, 30, 65, 50)),  # 5 of 44
        ((30, 19.5, 90, 50), (60, 19.5, 90, 50)),  # half a pixel above is nothing
        ((30, 17, 90, 50), (30, 17, 90, 50)),  # 3 pixels are something
        ((30, 50, 50, 61.5), None),  # 1.5 pixels of height are too few
        ((0, 0, 100, 100), (0, 0, 100, 100)),  # around it
    ],
)
@pytest.mark.parametrize("matrix", [np.eye(3), rotation(1e-9)], ids=["upright", "turned"])
def test_what_a_rectangle_leaves(box: tuple[float, ...], left: tuple[float, ...] | None, matrix: np.ndarray) -> None:
    boxes, keep = move_boxes(np.array([box], np.float32), matrix, PICTURE, (100, 100), HIDDEN)
    assert keep.tolist() == [left is not None]
    if left:
        np.testing.assert_allclose(boxes, [left], atol=1e-5)
    assert boxes.dtype == np.float32


def test_what_a_rectangle_leaves_of_turned_objects() -> None:
    """A square on its corner, 100 across and centred in the picture, with its left, its lower right and more hidden."""
    square = np.array([[-25, -25, 25, 25]], np.float32) * math.sqrt(2)
    matrix, window = translation(50, 50) @ rotation(45), np.array([-99, -99, 99, 99.0])

    def left(*hidden: float) -> list[float] | None:
        boxes, keep = move_boxes(square, matrix, window, (100, 100), np.array(hidden))
        return boxes[0].tolist() if keep[0] else None

    assert left(0, 0, 30, 100) == pytest.approx([30, 0, 100, 100], abs=1e-4)
    assert left(0, 0, 60, 100) == pytest.approx([60, 10, 100, 90], abs=1e-4), "its upper and lower corner are hidden"
    assert left(0, 40, 100, 100) == pytest.approx([10, 0, 90, 40], abs=1e-4)
    assert left(20, 60, 100, 100) == pytest.approx([0, 0, 100, 70], abs=1e-4)
    assert left(0, 15, 100, 85) is None, "9 percent of it"
    assert left(0, 17, 100, 83) == pytest.approx([33, 0, 67, 100], abs=1e-4), "12 percent of it"


@pytest.mark.parametrize("window", [(0, 0, 100, 100), (-300, -300, 400, 400), (30, 45, 32, 300), (120, 0, 130, 90)])
def test_areas_against_polygon_clipping(window: tuple[float, ...]) -> None:
    rng = np.random.default_rng(2)
    boxes = random_boxes(rng, 50, 120).astype(np.float64)
    for matrix in (rotation(30), rotation(90), np.eye(3), shearing(20, 0), tilt(0.003, -0.001) @ rotation(200)):
        quads = project(translation(40, 40) @ matrix, corners(boxes))
        for quad, found in zip(quads, visible_area(quads, np.array(window, float)), strict=True):
            polygon = np.array(reference.cut_to([tuple(point) for point in quad.tolist()], window)).reshape(-1, 2)
            x, y = polygon.T
            expected = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
            assert found == pytest.approx(expected, abs=1e-6)
    assert visible_area(np.zeros((0, 4, 2)), np.array(window, float)).shape == (0,)

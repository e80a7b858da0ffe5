from __future__ import annotations

import colorsys

import numpy as np
import pytest

from yolo.data.augment.colour import apply_hsv, apply_sv, random_gains, recolouring
from yolo.data.options import AugmentOptions

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_gains_stay_in_their_ranges_and_reach_them() -> None:
    rng = np.random.default_rng(0)
    gains = np.array([random_gains(rng, AugmentOptions(hsv_h=0.1, hsv_s=0.7, hsv_v=0.4)) for _ in range(500)])
    for column, gain in zip(gains.T, (0.1, 0.7, 0.4), strict=True):
        assert 1 - gain <= column.min() < 1 - 0.97 * gain
        assert 1 + 0.97 * gain < column.max() <= 1 + gain


def test_gains_of_one_change_nothing() -> None:
    assert recolouring(np.ones(3), "exact") is None
    assert recolouring(np.ones(3), "fast") is None
    assert np.array_equal(apply_sv(np.ones(3), IMAGE), IMAGE)


@pytest.mark.parametrize("gains", [(1, 1, 0.6), (1, 0.4, 1), (1, 1.5, 1.3), (0.95, 1, 1)])
def test_against_the_colour_model_of_the_standard_library(gains: tuple[float, float, float]) -> None:
    result = apply_hsv(np.array(gains, float), IMAGE)
    expected = np.empty(IMAGE.shape)
    for position in np.ndindex(*IMAGE.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(IMAGE[position] / 255))
        expected[position] = colorsys.hsv_to_rgb(h * gains[0] % 1, min(s * gains[1], 1), min(v * gains[2], 1))
    difference = np.abs(result - expected * 255)
    assert difference.mean() < 2.5, "beyond the rounding of 8-bit hue, saturation and value"
    assert result.dtype == np.uint8


def test_hue_goes_around() -> None:
    purple_red = np.array([[[255, 0, 20]]], np.uint8)
    result = apply_hsv(np.array([1.05, 1, 1]), purple_red)[0, 0]
    assert result[0] == 255
    assert result[1] > 20
    assert result[2] == 0


@pytest.mark.parametrize("how", ["exact", "fast"])
def test_grey_stays_grey_and_the_input_is_left_alone(how: str) -> None:
    image = np.full((4, 4, 3), 114, np.uint8)
    image.setflags(write=False)
    recolour = recolouring(np.array([1.01, 1.7, 0.5]), how)  # type: ignore[arg-type]
    assert recolour is not None
    assert (recolour(image, None) == 57).all()


@pytest.mark.parametrize("how", ["exact", "fast"])
def test_the_result_goes_where_it_shall(how: str) -> None:
    recolour = recolouring(np.array([0.99, 1.3, 0.8]), how)  # type: ignore[arg-type]
    assert recolour is not None
    picture = np.zeros((40, 50, 3), np.uint8)
    recolour(IMAGE[:, 5:25], picture[3:23, 4:24])
    assert np.array_equal(picture[3:23, 4:24], recolour(IMAGE[:, 5:25], None))
    picture[3:23, 4:24] = 0
    assert not picture.any()


def test_fast_leaves_out_the_hue_and_is_else_near_to_exact() -> None:
    """On colours as in photographs, and over gains as drawn by default."""
    rng = np.random.default_rng(0)
    colours = np.clip(rng.normal(110, 55, (200, 200, 1)) + rng.normal(0, 25, (200, 200, 3)), 0, 255).astype(np.uint8)
    errors = []
    for _ in range(50):
        gains = random_gains(rng, AugmentOptions(hsv_h=0))
        errors.append(np.abs(apply_hsv(gains, colours).astype(int) - apply_sv(gains, colours)).mean())
    assert np.mean(errors) < 1.5
    assert max(errors) < 6


@pytest.mark.parametrize("gains", [(1, 0.4, 1), (1, 1, 0.6), (1, 1.2, 0.8), (1, 0, 0.5)])
def test_fast_against_the_colour_model_of_the_standard_library(gains: tuple[float, float, float]) -> None:
    """Where nothing leaves its range, it is exact."""
    image = np.clip(IMAGE, 90, 255).astype(np.uint8)
    result = apply_sv(np.array(gains, float), image)
    for position in np.ndindex(*image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(image[position] / 255))
        expected = np.array(colorsys.hsv_to_rgb(h, s * gains[1], v * gains[2])) * 255
        assert np.abs(result[position] - expected).max() <= 1

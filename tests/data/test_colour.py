from __future__ import annotations

import colorsys

import numpy as np
import pytest

from yolo.data.augment.colour import apply_hsv, random_gains
from yolo.data.options import AugmentOptions

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_gains_stay_in_their_ranges_and_reach_them() -> None:
    rng = np.random.default_rng(0)
    gains = np.array([random_gains(rng, AugmentOptions(hsv_h=0.1, hsv_s=0.7, hsv_v=0.4)) for _ in range(500)])
    for column, gain in zip(gains.T, (0.1, 0.7, 0.4), strict=True):
        assert 1 - gain <= column.min() < 1 - 0.97 * gain
        assert 1 + 0.97 * gain < column.max() <= 1 + gain


def test_gains_of_one_change_nothing() -> None:
    assert apply_hsv(IMAGE, np.ones(3)) is IMAGE


@pytest.mark.parametrize("gains", [(1, 1, 0.6), (1, 0.4, 1), (1, 1.5, 1.3), (0.95, 1, 1)])
def test_against_the_colour_model_of_the_standard_library(gains: tuple[float, float, float]) -> None:
    result = apply_hsv(IMAGE, np.array(gains, float))
    expected = np.empty(IMAGE.shape)
    for position in np.ndindex(*IMAGE.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(IMAGE[position] / 255))
        expected[position] = colorsys.hsv_to_rgb(h * gains[0] % 1, min(s * gains[1], 1), min(v * gains[2], 1))
    difference = np.abs(result - expected * 255)
    assert difference.mean() < 2.5, "beyond the rounding of 8-bit hue, saturation and value"
    assert result.dtype == np.uint8


def test_hue_goes_around() -> None:
    purple_red = np.array([[[255, 0, 20]]], np.uint8)
    result = apply_hsv(purple_red, np.array([1.05, 1, 1]))[0, 0]
    assert result[0] == 255
    assert result[1] > 20
    assert result[2] == 0


def test_grey_padding_stays_grey_and_the_input_is_left_alone() -> None:
    image = np.full((4, 4, 3), 114, np.uint8)
    image.setflags(write=False)
    result = apply_hsv(image, np.array([1.01, 1.7, 0.5]))
    assert (result == 57).all()

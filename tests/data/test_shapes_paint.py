from __future__ import annotations

import numpy as np
import pytest

from yolo.data.formats.shapes_paint import paint

REGION = (slice(10, 30), slice(20, 50))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_layer_changes_its_region_alone() -> None:
    empty = paint(rng(0), (60, 80), [])
    # The same draws come first, so ground and lines are the same; only the grain, drawn last, differs.
    covered = paint(rng(0), (60, 80), [(REGION, np.full((20, 30), 255, np.uint8))])
    difference = np.abs(covered.astype(int) - empty)
    outside = np.ones((60, 80), bool)
    outside[REGION] = False
    assert empty.shape == (60, 80, 3)
    assert empty.dtype == np.uint8
    assert difference[outside].max() <= 18
    assert difference[REGION].mean() > 20


@pytest.mark.parametrize("seed", range(20))
def test_colours_contrast_with_what_is_behind(seed: int) -> None:
    picture = paint(rng(seed), (60, 80), [(REGION, np.full((20, 30), 255, np.uint8))]).astype(float)
    ring = picture[5:35, 15:55].sum((0, 1)) - picture[REGION].sum((0, 1))
    distance = np.linalg.norm(picture[REGION].mean((0, 1)) - ring / (30 * 40 - 20 * 30))
    assert distance > 25


def test_half_covered_pixels_are_mixed() -> None:
    layers = [(REGION, np.full((20, 30), value, np.uint8)) for value in (0, 128, 255)]
    nothing, half, full = (paint(rng(1), (60, 80), [layer])[REGION].astype(float) for layer in layers)
    assert np.abs(half - (nothing + full) / 2).mean() < 10


def test_textures_vary() -> None:
    spreads = [paint(rng(seed), (60, 80), []).std() for seed in range(12)]
    assert max(spreads) > 2 * min(spreads)

from __future__ import annotations

import numpy as np
import pytest

from tests.data import reference
from yolo.boxes.letterbox import Letterbox
from yolo.data.augment.mosaic import mosaic4, single
from yolo.data.augment.tiles import Tile

SOURCES = [(100, 150), (60, 40), (300, 200), (12, 12)]


@pytest.mark.parametrize("mode", ["center", "corner"])
def test_single_is_the_letterbox(mode: str) -> None:
    tile = single((100, 150), (64, 96), mode)  # type: ignore[arg-type]
    box = Letterbox((100, 150), (64, 96), mode)  # type: ignore[arg-type]
    corners = np.array([[0, 0, 150, 100], [30, 20, 70, 60.0]])
    for corner, expected in zip(corners, box.to_target(corners), strict=True):
        np.testing.assert_allclose(reference.whole_box(corner, tile.matrix.tolist()), expected)
    assert tile.window.tolist() == [0, 0, 150, 100]


def whole(tile: Tile, source: tuple[int, int]) -> reference.Box:
    return reference.whole_box((0, 0, source[1], source[0]), tile.matrix.tolist())


@pytest.mark.parametrize("size", [(100, 100), (80, 200), (200, 80)])
def test_four_tiles_meet_at_the_junction(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    height, width = size
    junctions = []
    for _ in range(300):
        tiles = mosaic4(rng, SOURCES, size)
        placed = [
            reference.whole_box((0, 0, w, h), t.matrix.tolist()) for t, (h, w) in zip(tiles, SOURCES, strict=True)
        ]
        junction = placed[3][:2]
        junctions.append(junction)
        np.testing.assert_allclose(placed[0][2:], junction)
        np.testing.assert_allclose([placed[1][0], placed[1][3]], junction)
        np.testing.assert_allclose([placed[2][2], placed[2][1]], junction)
        for (x1, y1, x2, y2), tile, (h, w) in zip(placed, tiles, SOURCES, strict=True):
            # Fitted: one side as large as it may be, aspect kept, also for images that must grow.
            assert max((x2 - x1) / width, (y2 - y1) / height) == pytest.approx(1)
            assert (x2 - x1) / (y2 - y1) == pytest.approx(w / h)
            visible = (max(x1, 0), max(y1, 0), min(x2, 2 * width), min(y2, 2 * height))
            window = reference.whole_box(tile.window.tolist(), tile.matrix.tolist())
            assert window == pytest.approx(visible, abs=1e-9)
    spread = np.array(junctions) / (width, height)
    assert (spread.min(0) >= 0.5).all()
    assert (spread.min(0) < 0.52).all()
    assert (spread.max(0) <= 1.5).all()
    assert (spread.max(0) > 1.48).all()

from __future__ import annotations

import numpy as np
import pytest

from tests.data import reference
from yolo.boxes.letterbox import Letterbox
from yolo.data.augment.layouts import mosaic4, mosaic9, single
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


@pytest.mark.parametrize("size", [(100, 100), (80, 200), (200, 80)])
def test_nine_tiles_lie_in_their_cells_and_never_overlap(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    height, width = size
    sources = [*SOURCES, *SOURCES, (50, 50)]
    offsets = []
    for _ in range(300):
        tiles = mosaic9(rng, sources, size)
        placed = [whole(tile, source) for tile, source in zip(tiles, sources, strict=True)]
        # The middle cell of the window, from the first image, which is centred in it.
        x = (placed[0][0] + placed[0][2] - width) / 2
        y = (placed[0][1] + placed[0][3] - height) / 2
        assert 0 <= x <= width
        assert 0 <= y <= height
        offsets.append((x / width, y / height))
        cells = [(0, 0)] + [(i, j) for j in (-1, 0, 1) for i in (-1, 0, 1) if i or j]
        for (x1, y1, x2, y2), (i, j), tile, (h, w) in zip(placed, cells, tiles, sources, strict=True):
            cell = (x + i * width, y + j * height)
            assert x1 >= cell[0] - 1e-9
            assert y1 >= cell[1] - 1e-9
            assert x2 <= cell[0] + width + 1e-9
            assert y2 <= cell[1] + height + 1e-9
            assert max((x2 - x1) / width, (y2 - y1) / height) == pytest.approx(1)
            assert (x2 - x1) / (y2 - y1) == pytest.approx(w / h)
            # Towards the middle: no gap to its cell.
            if i:
                assert (x2, x1)[i > 0] == pytest.approx(cell[0] + (width if i < 0 else 0))
            if j:
                assert (y2, y1)[j > 0] == pytest.approx(cell[1] + (height if j < 0 else 0))
            seen = (max(x1, 0), max(y1, 0), min(x2, 2 * width), min(y2, 2 * height))
            shown = reference.whole_box(tile.window.tolist(), tile.matrix.tolist())
            if seen[0] < seen[2] and seen[1] < seen[3]:
                assert shown == pytest.approx(seen, abs=1e-9)
            else:
                assert reference.area(shown) == pytest.approx(0, abs=1e-9)
    spread = np.array(offsets)
    assert (spread.min(0) < 0.02).all()
    assert (spread.max(0) > 0.98).all()

from __future__ import annotations

import numpy as np
import pytest

from tests.data import reference
from yolo.data.augment.colour import recolouring
from yolo.data.augment.geometry import mirroring, random_transform, rotation, scaling, tilt, translation
from yolo.data.augment.layouts import mosaic4
from yolo.data.augment.tiles import Tile, draw_tile
from yolo.data.options import AugmentOptions

UPRIGHT = AugmentOptions(scale=0.9, translate=0.3)
TURNED = AugmentOptions(scale=0.9, translate=0.3, degrees=90, shear=15)
TILTED = AugmentOptions(scale=0.5, translate=0.3, degrees=10, perspective=0.001)
SIZES = [(100, 150), (60, 40), (300, 200), (3, 5), (1, 1), (700, 90), (64, 64)]


def ramps(height: int, width: int) -> np.ndarray:
    """Pixel values that tell where they come from: red = 2 * x, green = 2 * y of the pixel's centre."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 2 * np.arange(width)
    image[..., 1] = 2 * np.arange(height)[:, None]
    image[..., 2] = 200
    return image


def random_tiles(rng: np.random.Generator, options: AugmentOptions, size: tuple[int, int]) -> list[tuple[Tile, tuple]]:
    sources = [SIZES[i] for i in rng.integers(len(SIZES), size=4)]
    transform = random_transform(rng, options, (2 * size[0], 2 * size[1]), size)
    tiles = mosaic4(rng, sources, size)
    return [(Tile(transform @ tile.matrix, tile.window), source) for tile, source in zip(tiles, sources, strict=True)]


@pytest.mark.parametrize(
    "matrix",
    [
        translation(5.3, -20.7) @ scaling(1.37, 0.62),
        translation(-300.2, 8.4) @ scaling(4.1, 2.3),
        translation(40, 60) @ rotation(33) @ scaling(1.2, 1.2),
        translation(20, 10) @ tilt(0.002, -0.001) @ rotation(-10),
    ],
)
def test_the_tile_returned_is_the_one_drawn(matrix: np.ndarray) -> None:
    """Each pixel shows the source position that the returned matrix says, to the accuracy of 8-bit ramps."""
    picture = np.full((130, 170, 3), 114, np.uint8)
    drawn = draw_tile(picture, ramps(120, 120), Tile(matrix, np.array([0, 0, 120, 120.0])))
    assert drawn is not None
    rows, columns = np.nonzero(picture[..., 2] == 200)
    assert len(rows) > 1000
    inverse = np.linalg.inv(drawn.matrix).tolist()
    source = np.array([reference.project(inverse, (x + 0.5, y + 0.5)) for x, y in zip(columns, rows, strict=True)])
    expected = (source - 0.5).clip(0, 119)
    assert np.abs(picture[rows, columns, :2] / 2 - expected).max() < 0.4


def test_resizing_stays_within_a_pixel_of_the_ideal() -> None:
    rng = np.random.default_rng(0)
    size = (120, 200)
    seen = 0
    for _ in range(300):
        for tile, source in random_tiles(rng, UPRIGHT, size):
            picture = np.full((*size, 3), 114, np.uint8)
            drawn = draw_tile(picture, np.full((*source, 3), 255, np.uint8), tile)
            if drawn is None:
                assert (picture == 114).all()
                continue
            seen += 1
            # The window may shrink to what the picture shows; its corners are where the two matrices must agree.
            for point in reference.rectangle(drawn.window.tolist()):
                ideal, actual = (reference.project(m.tolist(), point) for m in (tile.matrix, drawn.matrix))
                assert max(abs(ideal[0] - actual[0]), abs(ideal[1] - actual[1])) <= 0.501
            rows, columns = np.nonzero(picture[..., 0] == 255)
            exact = reference.whole_box(drawn.window.tolist(), drawn.matrix.tolist())
            np.testing.assert_allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], exact, atol=1e-6)
    assert seen > 500


@pytest.mark.parametrize("options", [UPRIGHT, TURNED, TILTED])
def test_tiles_show_their_window_and_never_overlap(options: AugmentOptions) -> None:
    """Each tile's pixels against a point-in-window test of every pixel centre."""
    rng = np.random.default_rng(1)
    size = (90, 140)
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    centres = np.stack([columns, rows, np.ones_like(rows)], -1)
    for _ in range(60):
        covered = np.zeros(size, int)
        for tile, source in random_tiles(rng, options, size):
            picture = np.full((*size, 3), 114, np.uint8)
            drawn = draw_tile(picture, np.full((*source, 3), 255, np.uint8), tile)
            mask = picture[..., 0] == 255
            assert ((picture == 114).all(-1) | mask).all(), "neither padding nor the image"
            covered += mask
            position = centres @ np.linalg.inv((drawn or tile).matrix).T
            inside = position[..., :2] / position[..., 2:]
            x1, y1, x2, y2 = (drawn or tile).window
            distance = np.minimum.reduce(
                [inside[..., 0] - x1, x2 - inside[..., 0], inside[..., 1] - y1, y2 - inside[..., 1]]
            )
            if drawn is not None:
                assert (mask == (distance >= 0))[np.abs(distance) > 1e-6].all()
            elif options is not UPRIGHT:
                assert (distance < 1e-6).all()
        assert covered.max() <= 1


@pytest.mark.parametrize("options", [UPRIGHT, TURNED])
def test_no_gap_between_tiles(options: AugmentOptions) -> None:
    """Four images of the output's aspect fill the canvas around the junction."""
    rng = np.random.default_rng(2)
    size = (90, 140)
    for _ in range(60):
        tiles = mosaic4(rng, [(180, 280)] * 4, size)
        transform = random_transform(rng, options, (180, 280), size)
        picture = np.full((*size, 3), 114, np.uint8)
        for value, tile in enumerate(tiles, 1):
            draw_tile(picture, np.full((180, 280, 3), value, np.uint8), Tile(transform @ tile.matrix, tile.window))
        junction = tiles[3].matrix[:2, 2]
        x, y = reference.project(transform.tolist(), tuple(junction))
        reach = int(45 * 0.1)  # half the output at the smallest scale is surely covered
        around = picture[
            max(int(y) - reach, 0) : max(int(y) + reach, 0), max(int(x) - reach, 0) : max(int(x) + reach, 0)
        ]
        assert (around != 114).all()


def test_only_the_tile_is_touched() -> None:
    picture = np.full((50, 50, 3), 114, np.uint8)
    image = np.full((10, 10, 3), 255, np.uint8)
    image.setflags(write=False)
    draw_tile(picture, image, Tile(translation(20, 30), np.array([0, 0, 10, 5.0])))
    expected = np.full((50, 50, 3), 114, np.uint8)
    expected[30:35, 20:30] = 255
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize("turn", [np.eye(3), rotation(30), tilt(0.001, 0)])
@pytest.mark.parametrize("shift", [(500, 0), (-500, 0), (0, 500), (0, -500)])
def test_tiles_outside_are_skipped(turn: np.ndarray, shift: tuple[float, float]) -> None:
    picture = np.full((50, 50, 3), 114, np.uint8)
    tile = Tile(translation(*shift) @ turn, np.array([0, 0, 40, 40.0]))
    assert draw_tile(picture, np.zeros((40, 40, 3), np.uint8), tile) is None
    assert (picture == 114).all()


@pytest.mark.parametrize("matrix", [scaling(0.001, 0.001), rotation(10) @ scaling(0.001, 0.001)])
def test_a_tile_smaller_than_a_pixel_is_skipped(matrix: np.ndarray) -> None:
    picture = np.full((50, 50, 3), 114, np.uint8)
    tile = Tile(translation(10.1, 10.1) @ matrix, np.array([0, 0, 40, 40.0]))
    assert draw_tile(picture, np.zeros((40, 40, 3), np.uint8), tile) is None


@pytest.mark.parametrize("how", ["exact", "fast"])
@pytest.mark.parametrize("turn", [np.eye(3), mirroring(True, True, (50, 50)), rotation(30), tilt(0.001, 0)])
@pytest.mark.parametrize("zoom", [0.3, 1, 4])
def test_colours_change_once_before_or_after_the_scaling(zoom: float, turn: np.ndarray, how: str) -> None:
    image = np.full((40, 40, 3), (200, 100, 60), np.uint8)
    image.setflags(write=False)
    recolour = recolouring(np.array([1, 1, 0.5]), how)  # type: ignore[arg-type]
    pictures = [np.full((50, 50, 3), 114, np.uint8) for _ in range(2)]
    tile = Tile(turn @ translation(15, 15) @ scaling(zoom, zoom), np.array([0, 0, 40, 40.0]))
    for picture, change in zip(pictures, (None, recolour), strict=True):
        assert draw_tile(picture, image, tile, change) is not None
    drawn = (pictures[0] == (200, 100, 60)).all(2)
    assert drawn.sum() > 50
    assert (np.abs(pictures[1][drawn].astype(int) - (100, 50, 30)) <= 1).all()
    assert (pictures[1][~drawn] == 114).all()

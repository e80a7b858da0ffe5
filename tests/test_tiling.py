from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from yolo import tiling
from yolo.boxes.nms import NMSOptions
from yolo.errors import UserError
from yolo.inference import detect, letterboxed
from yolo.models.detection_model import DetectionModel, Maps
from yolo.tiling import Tiling, detect_tiled, tiling_option

SIZE = (64, 64)


class Blobs(DetectionModel):
    """Finds each bright blob exactly, so that all errors are those of the tiling; scores fall with the place."""

    def __init__(self) -> None:
        super().__init__(2, strides=(32,))
        self.register_buffer("bins", torch.arange(16.0))
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        self.batches.append(len(images))
        return ([images],)

    def decode(self, maps: Maps) -> Tensor:
        decoded = torch.zeros(len(maps[0]), 6, 100)
        for rows, image in zip(decoded, maps[0], strict=True):
            bright = (image.amax(dim=0) > 0.7).to(torch.uint8).numpy()
            for i, (x, y, width, height, _) in enumerate(cv2.connectedComponentsWithStats(bright)[2][1:]):
                rows[:4, i] = torch.tensor([x + width / 2, y + height / 2, float(width), float(height)])
                rows[5, i] = 0.9 - 0.001 * i
        return decoded


def picture(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return image


def find(image: np.ndarray, windows: Tiling, model: DetectionModel | None = None) -> np.ndarray:
    rows = detect_tiled(model or Blobs().eval(), image, windows, NMSOptions(), "center", SIZE)
    return rows.numpy()[np.lexsort(rows[:, :2].numpy().T)]


@pytest.mark.parametrize("overlap", [0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("size", [(64, 64), (65, 64), (64, 200), (50, 129), (311, 173), (1, 500)])
def test_windows_cover_the_image(size: tuple[int, int], overlap: float) -> None:
    covered = np.zeros(size, int)
    windows = Tiling(64, overlap).windows(*size)
    for x1, y1, x2, y2 in windows:
        assert 0 <= x1 < x2 <= size[1]
        assert 0 <= y1 < y2 <= size[0]
        assert (y2 - y1, x2 - x1) == (min(64, size[0]), min(64, size[1]))
        covered[y1:y2, x1:x2] += 1
    assert covered.min() == 1 if overlap < 0.5 else covered.min() >= 1
    assert len(np.unique(windows, axis=0)) == len(windows)
    columns = np.unique(windows[:, 0])
    if len(columns) > 1:
        assert (np.diff(columns) <= round(64 * (1 - overlap))).all()


def test_windows_of_a_known_picture() -> None:
    expected = [
        [0, 0, 64, 64],
        [51, 0, 115, 64],
        [86, 0, 150, 64],
        [0, 16, 64, 80],
        [51, 16, 115, 80],
        [86, 16, 150, 80],
    ]
    assert Tiling(64, 0.2).windows(80, 150).tolist() == expected
    assert Tiling(100, 0.2).windows(80, 100).tolist() == [[0, 0, 100, 80]]


@pytest.mark.parametrize("letterbox", ["center", "corner"])
@pytest.mark.parametrize("size", [(64, 64), (40, 64), (30, 50), (128, 100)])
def test_an_image_no_larger_than_a_window_takes_the_plain_path(size: tuple[int, int], letterbox) -> None:
    image = picture(size, (3, 4, 20, 25), (30, 10, 41, 22))
    model = Blobs().eval()
    found = detect_tiled(model, image, Tiling(128, 0.2), NMSOptions(), letterbox, SIZE)
    (plain,) = detect(model, letterboxed([image], SIZE, letterbox), [size], NMSOptions(), letterbox)
    assert len(found) == 2
    assert torch.equal(found, plain)


@pytest.mark.parametrize("overlap", [0.2, 0.45])
def test_objects_up_to_the_overlap_are_found_once_wherever_they_lie(overlap: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        width, height = rng.integers(4, round(64 * overlap), 2)
        x, y = rng.integers(0, 200 - width), rng.integers(0, 150 - height)
        box = int(x), int(y), int(x + width), int(y + height)
        found = find(picture((150, 200), box), Tiling(64, overlap))
        assert len(found) == 1, box
        assert np.abs(found[0, :4] - box).max() <= 4  # of the whole picture, where a pixel of the network is three
        assert found[0, 5] == 1


def test_windows_in_their_own_size_are_exact() -> None:
    boxes = [(10, 20, 18, 30), (56, 8, 62, 20), (100, 57, 108, 66)]  # the second and third across borders
    found = find(picture((128, 128), *boxes), Tiling(64, 0.25))
    assert len(found) == 3


@pytest.mark.parametrize(
    "box", [(40, 50, 150, 120), (5, 5, 190, 30), (0, 0, 200, 150), (20, 20, 60, 90), (60, 10, 90, 140)]
)
def test_a_large_object_is_found_whole_and_its_parts_do_not_count(box: tuple[int, int, int, int]) -> None:
    found = find(picture((150, 200), box), Tiling(64, 0.2))
    assert len(found) == 1
    assert np.abs(found[0, :4] - box).max() <= 4


def test_without_overlap_everything_is_still_found() -> None:
    found = find(picture((128, 128), (50, 10, 80, 30), (10, 90, 20, 100)), Tiling(64, 0))
    assert len(found) == 2


def test_few_windows_go_through_the_network_together() -> None:
    model = Blobs().eval()
    find(picture((320, 320)), Tiling(64, 0), model)
    assert sum(model.batches) == 26  # 25 windows and the whole picture
    assert max(model.batches) <= tiling.BATCH


def test_the_best_detections_stay() -> None:
    boxes = [(x, y, x + 6, y + 6) for x in range(4, 190, 20) for y in range(4, 140, 20)]
    rows = detect_tiled(
        Blobs().eval(), picture((150, 200), *boxes), Tiling(64), NMSOptions(max_detections=7), "center", SIZE
    )
    assert len(rows) == 7
    assert (rows[:, 4].diff() <= 0).all()
    assert rows[0, 4] == pytest.approx(0.9)


class Confused(Blobs):
    """Blobs that names objects of few pixels as class 0, with a score of its own."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = score

    def decode(self, maps: Maps) -> Tensor:
        decoded = super().decode(maps)
        blurred = (decoded[:, 2] < 8) & (decoded[:, 5] > 0)
        decoded[:, 4] = torch.where(blurred, self.score, 0)
        decoded[:, 5] = torch.where(blurred, 0, decoded[:, 5])
        return decoded


def test_a_window_that_is_surer_of_another_class_wins_over_the_whole_picture() -> None:
    image = picture((150, 150), (20, 20, 36, 36))  # 16 pixels in a window, 7 in the whole picture
    assert find(image, Tiling(64, 0.1), Confused(0.5).eval())[:, 5].tolist() == [1]
    surer = find(image, Tiling(64, 0.1), Confused(0.95).eval())  # not surer than the whole picture: both stay
    assert sorted(surer[:, 5]) == [0, 1]


def test_what_is_taken_away_does_not_count_among_the_most_detections() -> None:
    boxes = [(x, y, x + 10, y + 10) for x in range(4, 180, 20) for y in range(4, 130, 20)]
    image, model = picture((150, 200), *boxes), Blobs().eval()
    everything = len(find(image, Tiling(64, 0.3)))
    for most in (1, 7, everything - 1, everything):
        rows = detect_tiled(model, image, Tiling(64, 0.3), NMSOptions(max_detections=most), "center", SIZE)
        assert len(rows) == most


@pytest.mark.parametrize(("size", "overlap", "fragment"), [
    (31, 0.2, "tile size is 31, expected a value at least 32"), (64, 1.0, "tile overlap is 1"),
    (64, 1.2, "tile overlap is 1.2"), (64, -0.1, "tile overlap is -0.1"),
])  # fmt: skip
def test_wrong_windows(size: int, overlap: float, fragment: str) -> None:
    with pytest.raises(UserError, match=fragment):
        Tiling(size, overlap)


def test_what_the_options_ask_for() -> None:
    assert tiling_option(None, None) is None
    assert tiling_option(64, None) == Tiling(64)
    assert tiling_option(64, 0.5) == Tiling(64, 0.5)
    with pytest.raises(UserError, match="--overlap 7 is that of the windows of --tile, which is not given"):
        tiling_option(None, 7)


def test_very_many_windows_are_a_slip() -> None:
    with pytest.raises(UserError, match=r"640 x 480 pixels has 31,\d+ windows of tile 200 and overlap 0.99"):
        Tiling(200, 0.99).windows(480, 640)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.evaluation.test_evaluator import perfect, record
from yolo.data.annotations import AnnotatedImage
from yolo.errors import UserError
from yolo.evaluation.draw import draw_styled
from yolo.evaluation.evaluator import Evaluator, Metrics
from yolo.evaluation.sheet import STYLES, save_sheet, worst_first
from yolo.evaluation.verdicts import FALSE_ALARM, FOUND, MISSED, TRUE_POSITIVE

RIGHT, WRONG, EMPTY = record(1, [[10, 10, 40, 40]], [0]), record(2, [[10, 10, 40, 40]], [1]), record(3, [], [])


def metrics() -> Metrics:
    """Image 1 is right, image 2 misses its object and has a false alarm elsewhere, image 3 is empty and right."""
    evaluator = Evaluator([1, 2], ["cat", "dog"])
    evaluator.update(
        [RIGHT, WRONG, EMPTY],
        [perfect(RIGHT), torch.tensor([[60.0, 60, 90, 90, 0.8, 0], [60, 10, 90, 40, 0.1, 0]]), torch.zeros(0, 6)],
    )
    return evaluator.compute()


def grey(shape: tuple[int, int]) -> Callable[[AnnotatedImage], np.ndarray]:
    return lambda _: np.full((*shape, 3), 100, np.uint8)


def has(image: np.ndarray, kind: str) -> int:
    """Pixels near the colour of a kind of box."""
    return int((np.abs(image.astype(int) - STYLES[kind].colour).max(axis=2) < 40).sum())


def read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_images_with_errors_come_first_and_all_come() -> None:
    assert worst_first(metrics()) == [1, 0, 2]


@pytest.mark.parametrize("shape", [(100, 100), (50, 50)])  # a cache may keep images smaller than they are
def test_truth_left_and_predictions_right(shape: tuple[int, int], tmp_path: Path) -> None:
    save_sheet(metrics(), grey(shape), tmp_path / "new" / "sheet.jpg", most=1)
    sheet = read(tmp_path / "new" / "sheet.jpg")[-430:, :845]  # below title and legend
    left, right = sheet[:, :420], sheet[:, 425:]
    assert has(left, MISSED) > 100
    assert has(right, FALSE_ALARM) > 100
    assert not max(has(left, FOUND), has(left, FALSE_ALARM), has(right, TRUE_POSITIVE), has(right, MISSED))
    _, columns = np.nonzero(np.abs(left.astype(int) - STYLES[MISSED].colour).max(axis=2) < 40)
    assert columns.min() == pytest.approx(0.1 * 420, abs=4)
    assert columns.max() == pytest.approx(0.4 * 420, abs=4)
    _, columns = np.nonzero(np.abs(right.astype(int) - STYLES[FALSE_ALARM].colour).max(axis=2) < 40)
    assert columns.min() == pytest.approx(0.6 * 420, abs=4)  # the box at 0.1 is below the operating confidence


def test_most_limits_the_images(tmp_path: Path) -> None:
    asked: list[int] = []

    def pixels(image: AnnotatedImage) -> np.ndarray:
        asked.append(image.image_id)
        return np.zeros((100, 100, 3), np.uint8)

    save_sheet(metrics(), pixels, tmp_path / "a.jpg", most=2)
    assert asked == [2, 1]


def test_kinds_differ_without_colours() -> None:
    pictures = set()
    for kind in (MISSED, FALSE_ALARM, TRUE_POSITIVE):
        canvas = draw_styled(np.zeros((100, 100, 3), np.uint8), np.array([[10, 10, 90, 90]]), [STYLES[kind]])
        pictures.add((canvas == STYLES[kind].colour).all(axis=2).tobytes())
    assert len(pictures) == 3


def test_an_unreadable_image_leaves_no_file(tmp_path: Path) -> None:
    def unreadable(image: AnnotatedImage) -> np.ndarray:
        raise UserError(f"{image.path}: not an image")

    with pytest.raises(UserError, match="not an image"):
        save_sheet(metrics(), unreadable, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_boxes_at_the_edges_and_wild_sizes_are_drawn(tmp_path: Path) -> None:
    edge = replace(record(1, [[0, 0, 100, 100], [-5, 99, 2, 130]], [0, 0]), size=(100, 3000))
    evaluator = Evaluator([1], ["a" * 300])
    evaluator.update([edge], [torch.zeros(0, 6)])
    save_sheet(evaluator.compute(), grey((100, 3000)), tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg").shape[1] > 800

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from yolo.quantization.calibration import Calibration, choose_spread, spread


def test_images_come_one_by_one_and_are_known_by_their_pixels() -> None:
    pictures = [np.full((4, 6, 3), value, np.uint8) for value in (0, 255)]
    pictures[0][0, 1, 2] = 51
    read: list[int] = []

    def reader(index: int) -> np.ndarray:
        read.append(index)
        return pictures[index]

    calibration = Calibration("somewhere", [lambda: reader(0), lambda: reader(1)])
    assert len(calibration) == 2
    images = iter(calibration)
    first = next(images)
    assert read == [0]
    assert (first.dtype, first.shape) == (torch.float32, (1, 3, 4, 6))
    assert first[0, 2, 0, 1] == 51 / 255
    assert first.sum() == first[0, 2, 0, 1]
    assert (next(images) == 1).all()
    digest = calibration.digest()
    assert digest == calibration.digest()
    pictures[1][0, 0, 0] = 254
    assert digest != calibration.digest()


def occurrences(classes: list[list[int]], chosen: list[int]) -> dict[int, int]:
    """In how many of the chosen images each class is."""
    return dict(sorted(Counter(kind for image in chosen for kind in set(classes[image])).items()))


def choose(classes: list[list[int]], number: int) -> list[int]:
    return choose_spread([np.array(of_image, np.int64) for of_image in classes], number)


def test_classes_are_as_even_as_the_data_allow() -> None:
    classes = [[0]] * 900 + [[1]] * 90 + [[2, 2, 2]] * 7 + [[]] * 50
    chosen = choose(classes, 60)
    assert len(set(chosen)) == 60
    assert occurrences(classes, chosen) == {0: 26, 1: 27, 2: 7}
    assert {kind for image in chosen[:3] for kind in classes[image]} == {0, 1, 2}
    assert classes[chosen[0]] == [2, 2, 2]  # the rarest first
    assert chosen == choose(classes, 60)
    assert chosen[:20] == choose(classes, 20)


def test_an_image_counts_for_each_of_its_classes() -> None:
    classes = [[0, 1]] * 10 + [[1]] * 10 + [[2]] * 10
    assert occurrences(classes, choose(classes, 10)) == {0: 5, 1: 5, 2: 5}


def test_images_of_a_class_come_from_everywhere() -> None:
    chosen = choose([[0]] * 1000, 100)
    assert [min(np.histogram(chosen, 5, (0, 1000))[0]) >= 10, len(chosen)] == [True, 100]


def test_more_than_there_are() -> None:
    classes = [[0], [], [1, 0], []]
    chosen = choose(classes, 100)
    assert sorted(chosen) == [0, 1, 2, 3]
    assert set(chosen[2:]) == {1, 3}  # those without objects last
    assert choose([], 5) == []
    assert choose([[], []], 1) in ([0], [1])


def test_evenly_spread() -> None:
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread(range(3), 5) == [0, 1, 2]

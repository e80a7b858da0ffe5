from __future__ import annotations

import numpy as np

from tests.evaluation.test_coco import ground_truth
from yolo.evaluation.plot_labels import draw_labels, label_statistics

TRUTH = ground_truth(
    [1, 2],
    [1, 1, 2, 2],
    [2, 0, 2, 1],
    [[0, 0, 64, 48], [0, 0, 32, 32], [320, 240, 640, 480], [0, 0, 640, 480]],
    crowd=[False, False, False, True],
)  # images of 640 x 480


def test_statistics_leave_crowds_out() -> None:
    counts, centres, sides, buckets = label_statistics(TRUTH, 4)
    assert counts.tolist() == [1, 0, 2, 0]
    np.testing.assert_allclose(centres, [[0.05, 0.05], [0.025, 1 / 30], [0.75, 0.75]])
    np.testing.assert_allclose(sides, [[0.1, 0.1], [0.05, 1 / 15], [0.5, 0.5]])
    assert buckets.tolist() == [1, 1, 1]  # 32 x 32 is small still


def test_bars_and_maps_show_the_statistics() -> None:
    classes, places, shapes, sizes = draw_labels(TRUTH, ["a", "b", "c", "d"]).axes[:4]
    assert [label.get_text() for label in classes.get_yticklabels()] == ["c", "a", "b", "d"]
    assert [bar.get_width() for bar in classes.patches] == [2, 1, 0, 0]
    assert [bar.get_height() for bar in sizes.patches] == [1, 1, 1]
    centres = places.images[0].get_array()
    assert centres.sum() == 3
    assert (centres[0, 0], centres[7, 7]) == (2, 1)
    assert shapes.images[0].get_array().sum() == 3


def test_no_labels_and_many_classes() -> None:
    assert "0 objects in 1 images" in draw_labels(ground_truth([1], [], [], []), ["a"]).get_suptitle()
    axes = draw_labels(TRUTH, [str(number) for number in range(300)]).axes[0]
    assert axes.get_title() == "objects per class, the 30 most frequent of 300"

from __future__ import annotations

import hotcoco
import numpy as np

from tests.evaluation.test_coco import random_case
from yolo.evaluation.coco import CocoEvaluation, Detections, GroundTruth
from yolo.evaluation.resampling import Resampled, _recalls_reached, draw_weights

IDS = [1, 3, 7, 90]


def drawn(truth: GroundTruth, found: Detections, counts: np.ndarray) -> CocoEvaluation:
    """The slow way: a dataset that really holds every image as often as it was drawn."""
    images, rows, columns, new_ids, new_found = [], [], [], [], []
    for image, count in zip(truth.images, counts.astype(int), strict=True):
        for _ in range(count):
            number = len(images) + 1
            images.append({**image, "id": number})
            mine = np.flatnonzero(truth.image_ids == image["id"])
            theirs = np.flatnonzero(found.image_ids == image["id"])
            rows.extend(mine)
            columns.extend(theirs)
            new_ids.extend([number] * len(mine))
            new_found.extend([number] * len(theirs))
    a, b = np.array(rows, int), np.array(columns, int)
    ids = np.array(new_ids, np.int64)
    repeated = GroundTruth(images, ids, truth.classes[a], truth.boxes[a], truth.areas[a], truth.crowd[a])
    again = Detections(np.array(new_found, np.int64), found.classes[b], found.boxes[b], found.scores[b])
    return CocoEvaluation(repeated, again, IDS)


def case(seed: int) -> tuple[GroundTruth, Detections]:
    """Without ties of scores, which COCO breaks by the order of the images."""
    truth, found = random_case(seed)
    scores = np.random.default_rng(seed).permutation(len(found.scores)) / max(len(found.scores), 1)
    return truth, Detections(found.image_ids, found.classes, found.boxes, scores)


def test_weights_equal_repeated_images() -> None:
    keys = {"all": "AP", "small": "APs", "medium": "APm", "large": "APl"}
    for seed in range(30):
        truth, found = case(seed)
        evaluation = CocoEvaluation(truth, found, IDS)
        weights = np.concatenate([np.ones((1, len(truth.images))), draw_weights(len(truth.images), 3, seed)])
        ours = {area: Resampled(evaluation, area).averages(weights) for area in keys}
        for sample, counts in enumerate(weights):
            slow = drawn(truth, found, counts)
            expected = {key: np.nan if v == -1 else v for key, v in slow.summary.items()}
            for area, key in keys.items():
                np.testing.assert_allclose(ours[area].ap()[sample], expected[key], atol=1e-9, err_msg=f"{seed} {key}")
            both = ours["all"]
            np.testing.assert_allclose(both.ap(0)[sample], expected["AP50"], atol=1e-9)
            np.testing.assert_allclose(both.ap(5)[sample], expected["AP75"], atol=1e-9)
            np.testing.assert_allclose(both.ar()[sample], expected["AR100"], atol=1e-9)
            np.testing.assert_allclose(both.class_ap[sample], slow.class_ap, atol=1e-9)


def test_every_sample_has_as_many_images() -> None:
    weights = draw_weights(7, 500, 3)
    assert weights.shape == (500, 7)
    assert (weights.sum(1) == 7).all()
    assert (draw_weights(7, 500, 3) == weights).all()
    assert (draw_weights(7, 500, 4) != weights).any()
    np.testing.assert_allclose(weights.var(0), 6 / 7, rtol=0.25)  # of a binomial (7, 1/7)


def test_hotcoco_counts_a_repeated_image_once() -> None:
    """Why the bootstrap is ours. When this fails, hotcoco draws with repetition and its intervals can be had."""
    rng = np.random.default_rng(0)
    number = 60
    corners = rng.uniform(0, 300, (number, 2))
    boxes = np.concatenate([corners, corners + 60], 1)
    truth = GroundTruth(
        [{"id": i + 1, "height": 400, "width": 400} for i in range(number)], np.arange(1, number + 1),
        np.zeros(number, np.int64), boxes, np.full(number, 3600.0), np.zeros(number, bool),
    )  # fmt: skip

    def found(shift: float) -> CocoEvaluation:
        moved = boxes + np.random.default_rng(int(shift)).normal(0, shift, (number, 1))
        return CocoEvaluation(truth, Detections(truth.image_ids, truth.classes, moved, rng.random(number)), [1])

    a, b = found(6.0), found(3.0)
    theirs = hotcoco.compare(a._eval, b._eval, n_bootstrap=2000, seed=0)["ci"]["AP"]["std_err"]
    weights = draw_weights(number, 2000, 0)
    ours = (Resampled(b).averages(weights).ap() - Resampled(a).averages(weights).ap()).std()
    assert 0.65 < theirs / ours < 0.85  # sqrt(1 / 0.632 - 1) = 0.76


def test_recalls_reached_is_searchsorted() -> None:
    tens = [tp / count for count in range(1, 300) for tp in range(count + 1)]
    values = np.concatenate([np.linspace(0, 1, 101), tens, np.nextafter(np.linspace(0, 1, 101)[1:], 0)])
    expected = np.searchsorted(np.linspace(0, 1, 101), values, side="right")
    np.testing.assert_array_equal(_recalls_reached(values), expected)

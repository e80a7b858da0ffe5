from __future__ import annotations

import math

import numpy as np
import pytest

from tests.evaluation import reference
from tests.evaluation.known_answers import load, needs_known_answers
from tests.evaluation.test_coco import detections, ground_truth
from yolo.evaluation.analysis import SWEEP, Analysis, analyse
from yolo.evaluation.coco import CocoEvaluation

BOX, OTHER, THIRD = [0, 0, 50, 50], [100, 100, 160, 160], [200, 200, 300, 260]


def scattered(seed: int, found: int = 120) -> CocoEvaluation:
    """Noisy detections of five images with crowds, doubles, wrong classes and misses; no two scores are equal."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 400, (40, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 90, (40, 2))], axis=1)
    images, classes, crowd = rng.integers(1, 6, 40), rng.integers(0, 3, 40), rng.random(40) < 0.15
    source = rng.integers(0, 40, found)
    noisy = boxes[source] + rng.normal(0, 6, (found, 4))
    noisy[:, 2:] = np.maximum(noisy[:, 2:], noisy[:, :2] + 2)
    found_classes = np.where(rng.random(found) < 0.7, classes[source], rng.integers(0, 4, found))
    truth = ground_truth(range(1, 6), images, classes, boxes, crowd)
    return CocoEvaluation(
        truth, detections(images[source], found_classes, noisy, rng.permutation(found) / found), [3, 5, 8, 9]
    )


def check_against_reference(evaluation: CocoEvaluation, found: Analysis, confidence: float) -> None:
    counts, by_class = (
        reference.count(evaluation, confidence),
        reference.figures(evaluation, confidence),
    )
    means = np.mean(list(by_class.values()), axis=0)
    assert (found.point.precision, found.point.recall, found.point.f1) == pytest.approx(tuple(means), abs=1e-9)
    for label, values in by_class.items():
        figures = found.classes[label]
        assert (figures.precision, figures.recall, figures.f1) == pytest.approx(values, abs=1e-9)
    for threshold, point in zip(SWEEP, found.sweep, strict=True):
        means = np.mean(list(reference.figures(evaluation, threshold).values()), axis=0)
        assert (point.precision, point.recall, point.f1) == pytest.approx(tuple(means), abs=1e-9)
    np.testing.assert_array_equal(found.confusion, reference.confusion(evaluation, confidence))

    errors = found.errors
    assert errors.true_positives == sum(counts.true.values())
    assert errors.false_positives == sum(counts.false.values())
    assert errors.false_negatives == sum(counts.image_missed.values())
    assert errors.mean_iou == pytest.approx(np.mean(counts.ious), abs=1e-9)
    ids = [int(image["id"]) for image in evaluation.ground_truth.images]
    per_image = [counts.per_image[i] for i in ids]
    assert errors.detections_mean == pytest.approx(np.mean(per_image))
    assert errors.detections_p95 == pytest.approx(np.percentile(per_image, 95))
    assert found.image_errors.tolist() == [[counts.image_false[i], counts.image_missed[i]] for i in ids]

    gap, bins = 0.0, [[pair for pair in counts.calibration if int(pair[0] * 10) == b] for b in range(10)]
    for pairs in (pairs for pairs in bins if pairs):
        scores, hits = zip(*pairs, strict=True)
        gap += abs(sum(scores) / len(pairs) - sum(hits) / len(pairs)) * len(pairs)
    assert found.calibration.error == pytest.approx(gap / len(counts.calibration), abs=1e-9)
    assert found.calibration.counts.tolist() == list(map(len, bins))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("confidence", [0.1, 0.5])
def test_plain_loops_give_the_same_numbers(seed: int, confidence: float) -> None:
    evaluation = scattered(seed)
    check_against_reference(evaluation, analyse(evaluation, ["a", "b", "c", "d"], confidence), confidence)


def test_several_hundred_detections_in_an_image() -> None:
    evaluation = scattered(0, found=1300)
    found = analyse(evaluation, ["a", "b", "c", "d"], 0.0)
    check_against_reference(evaluation, found, 0.0)
    assert found.confusion[:, :-1].sum() == found.errors.true_positives + found.errors.false_positives > 5 * 150


@pytest.mark.slow
@needs_known_answers
def test_real_detections_have_pycocotools_and_the_loops_numbers() -> None:
    evaluation, names, expected = load()
    found = analyse(evaluation, names, 0.25)
    assert found.summary == pytest.approx(expected["stats"], abs=1e-9)
    by_class = {str(evaluation.category_ids[number]): figures for number, figures in enumerate(found.classes)}
    for category, values in expected["per_category"].items():
        figures = by_class[category]
        if figures.objects:
            assert (figures.ap, figures.ap50) == pytest.approx((values["ap"], values["ap50"]), abs=1e-9)
    assert sum(bool(c.objects) for c in found.classes) < len(names)  # absent classes are in this data
    check_against_reference(evaluation, found, 0.25)


def test_best_f1_is_the_highest_of_the_curves() -> None:
    evaluation = scattered(0)
    found = analyse(evaluation, ["a", "b", "c", "d"], 0.25)
    means = [
        np.mean([f1 for *_, f1 in reference.figures(evaluation, threshold).values()])
        for threshold in np.arange(101) / 100
    ]
    assert found.best.f1 >= max(means) - 1e-12
    at_best = reference.figures(evaluation, found.best.confidence)
    assert found.best.f1 == pytest.approx(np.mean([f1 for *_, f1 in at_best.values()]), abs=1e-9)


def test_perfect_detector_scores_one_everywhere() -> None:
    truth = ground_truth([1, 2], [1, 1, 2], [0, 1, 1], [BOX, OTHER, THIRD])
    found = analyse(
        CocoEvaluation(truth, detections([1, 1, 2], [0, 1, 1], [BOX, OTHER, THIRD], [1, 1, 1]), [1, 2, 3]), "abc", 0.25
    )
    averages = {key: value for key, value in found.summary.items() if value != -1}
    assert averages == pytest.approx(dict.fromkeys(averages, 1.0))
    assert [(p.precision, p.recall, p.f1) for p in (found.point, found.best, *found.sweep)] == [(1, 1, 1)] * 11
    assert [(c.ap, c.ap50, c.precision, c.recall, c.f1) for c in found.classes[:2]] == [
        (pytest.approx(1), pytest.approx(1), 1, 1, 1)
    ] * 2
    assert math.isnan(found.classes[2].ap)
    assert (found.errors.false_positives, found.errors.false_negatives, found.errors.mean_iou) == (0, 0, 1)
    assert found.confusion.tolist() == [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert found.confusions(5) == []
    assert set(found.tide.values()) == {0.0}
    assert found.calibration.error == 0
    assert len(found.worst_images()) == 0


def test_confusions_and_worst_images_are_ranked() -> None:
    truth = ground_truth([4, 2, 9], [4, 4, 2, 9], [0, 0, 1, 1], [BOX, OTHER, BOX, BOX])
    found = detections([4, 4, 2, 9, 9], [1, 1, 0, 1, 1], [BOX, OTHER, BOX, BOX, THIRD], [0.9, 0.8, 0.7, 0.6, 0.5])
    analysis = analyse(CocoEvaluation(truth, found, [1, 2]), ["cat", "dog"], 0.25)
    assert analysis.confusions(5) == [("dog", "cat", 2), ("cat", "dog", 1)]
    assert analysis.confusions(1) == [("dog", "cat", 2)]
    assert analysis.worst_images().tolist() == [0, 1, 2]
    assert analysis.image_errors.tolist() == [[2, 2], [1, 1], [1, 0]]
    assert [c.name for c in analysis.ranked_classes()] == ["dog", "cat"]


def test_tide_names_the_error_that_was_made() -> None:
    truth = ground_truth([1, 2], [1, 2], [0, 0], [BOX, BOX])
    wrong_class = analyse(CocoEvaluation(truth, detections([1, 2], [0, 1], [BOX, BOX], [0.9, 0.8]), [1, 2]), "ab", 0.25)
    assert wrong_class.tide["Cls"] > 0.4
    missed = analyse(CocoEvaluation(truth, detections([1], [0], [BOX], [0.9]), [1, 2]), "ab", 0.25)
    assert missed.tide["Miss"] > 0.4
    assert missed.tide["Cls"] == 0


def test_a_false_alarm_of_an_absent_class_is_an_error() -> None:
    truth = ground_truth([1], [1], [0], [BOX])
    found = analyse(CocoEvaluation(truth, detections([1, 1], [0, 1], [BOX, OTHER], [0.9, 0.8]), [1, 2]), "ab", 0.25)
    assert found.errors.false_positives == 1
    assert found.point.precision == 1  # of the classes in the ground truth


@pytest.mark.parametrize("empty", ["detections", "ground truth", "both"])
def test_nothing_to_count(empty: str) -> None:
    truth = ground_truth([1], [1], [0], [BOX]) if empty == "detections" else ground_truth([1], [], [], [])
    found = detections([1], [0], [BOX], [0.9]) if empty == "ground truth" else detections([], [], [], [])
    analysis = analyse(CocoEvaluation(truth, found, [1, 2]), "ab", 0.25)
    assert analysis.point.f1 == analysis.best.f1 == 0
    assert math.isnan(analysis.errors.mean_iou)
    assert math.isnan(analysis.calibration.error) == (empty != "ground truth")
    assert analysis.errors.false_negatives == (1 if empty == "detections" else 0)
    assert len(analysis.ranked_classes()) == (1 if empty == "detections" else 0)

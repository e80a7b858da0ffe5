from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.test_analysis import BOX, OTHER, THIRD, scattered
from tests.evaluation.test_coco import detections, ground_truth
from yolo.evaluation.analysis import analyse
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.verdicts import FALSE_ALARM, FOUND, IGNORED, MISSED, TRUE_POSITIVE, image_verdicts


@pytest.mark.parametrize("confidence", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_an_evaluation_at_that_confidence(seed: int, confidence: float) -> None:
    evaluation = scattered(seed)
    kept = evaluation.detections.scores >= confidence
    columns = (getattr(evaluation.detections, name)[kept] for name in ("image_ids", "classes", "boxes", "scores"))
    alone = CocoEvaluation(evaluation.ground_truth, detections(*columns), evaluation.category_ids)
    expected = analyse(alone, "abcd", confidence).image_errors.tolist()
    for row, verdict in enumerate(image_verdicts(evaluation, range(5))):
        false = int(((verdict.kinds == FALSE_ALARM) & (verdict.scores >= confidence)).sum())
        assert [false, verdict.object_kinds(confidence).count(MISSED)] == expected[row]


def test_each_image_has_its_own_best_first() -> None:
    truth = ground_truth([9, 4], [4, 9, 4], [0, 1, 0], [BOX, OTHER, THIRD], crowd=[False, False, True])
    found = detections([9, 4, 4, 9, 4], [1, 0, 0, 0, 0], [OTHER, BOX, THIRD, OTHER, BOX], [0.3, 0.4, 0.6, 0.8, 0.1])
    nine, four = image_verdicts(CocoEvaluation(truth, found, [1, 2]), [0, 1])
    assert nine.scores.tolist() == [0.8, 0.3]
    assert nine.kinds.tolist() == [FALSE_ALARM, TRUE_POSITIVE]
    assert nine.objects.tolist() == [OTHER]
    assert nine.object_scores.tolist() == [0.3]
    assert [nine.object_kinds(c) for c in (0.3, 0.31)] == [[FOUND], [MISSED]]
    assert four.scores.tolist() == [0.6, 0.4, 0.1]
    assert four.kinds.tolist() == [IGNORED, TRUE_POSITIVE, FALSE_ALARM]
    assert four.object_kinds(0.25) == [FOUND, IGNORED]
    np.testing.assert_array_equal(four.detections, [THIRD, BOX, BOX])

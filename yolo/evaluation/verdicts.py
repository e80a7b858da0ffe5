"""What became of every object and every detection of an image, for pictures of the errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo.evaluation.coco import CocoEvaluation, Floats, Ints

FOUND, MISSED, IGNORED = "object", "missed object", "not counted"
TRUE_POSITIVE, FALSE_ALARM = "detection", "false alarm"
_KINDS = np.array([FALSE_ALARM, TRUE_POSITIVE, IGNORED])  # by COCO's verdict 0, 1, -1


@dataclass(frozen=True)
class ImageVerdicts:
    """One image: M objects and N detections, best score first, all boxes in pixels of the original image."""

    objects: Floats
    """[M, 4] xyxy"""
    object_classes: Ints
    """[M]"""
    crowd: NDArray[np.bool_]
    """[M] not counted"""
    object_scores: Floats
    """[M] score of the detection that found the object; -inf when none did."""
    detections: Floats
    """[N, 4] xyxy"""
    detection_classes: Ints
    """[N]"""
    scores: Floats
    """[N]"""
    kinds: NDArray[np.str_]
    """[N] TRUE_POSITIVE, FALSE_ALARM or IGNORED; the same at every confidence."""

    def object_kinds(self, confidence: float) -> list[str]:
        """FOUND, MISSED or IGNORED for each object, when detections count from `confidence` on."""
        pairs = zip(self.crowd.tolist(), self.object_scores.tolist(), strict=True)
        return [IGNORED if crowd else FOUND if score >= confidence else MISSED for crowd, score in pairs]


def image_verdicts(evaluation: CocoEvaluation, rows: Sequence[int]) -> list[ImageVerdicts]:
    """The verdicts of some images, given by their position in the evaluation."""
    truth, found = evaluation.ground_truth, evaluation.detections
    object_scores = np.full(len(truth.boxes), -np.inf)
    true = evaluation.matches == 1
    object_scores[evaluation.matched[true]] = found.scores[true]
    by_object, by_score = np.argsort(truth.image_ids, kind="stable"), np.lexsort((-found.scores, found.image_ids))
    object_ids, detection_ids = truth.image_ids[by_object], found.image_ids[by_score]
    verdicts = []
    for row in rows:
        image = int(truth.images[row]["id"])
        of_truth = by_object[slice(*np.searchsorted(object_ids, [image, image + 1]))]
        of_found = by_score[slice(*np.searchsorted(detection_ids, [image, image + 1]))]
        verdicts.append(
            ImageVerdicts(
                truth.boxes[of_truth],
                truth.classes[of_truth],
                truth.crowd[of_truth],
                object_scores[of_truth],
                found.boxes[of_found],
                found.classes[of_found],
                found.scores[of_found],
                _KINDS[evaluation.matches[of_found]],
            )
        )
    return verdicts

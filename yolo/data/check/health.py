"""The findings of an outside health check of annotations, in the words of ours."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from yolo.data.check.findings import Finding, finding, repeated_boxes
from yolo.data.check.survey import Survey

_KINDS = {
    "near_duplicate": "boxes that nearly repeat another (IoU > 0.95)",
    "extreme_aspect_ratio": "boxes of extreme shape (over 20:1)",
    "zero_instance_category": "classes without objects",
    "low_instance_category": "classes with fewer than 10 objects",
}
_LEFT_OUT = ("bbox_out_of_bounds",)
"""It takes a rounding error for a fault; ours has a margin."""


def health_findings(survey: Survey, entries: Iterable[tuple[str, NDArray[np.int64], str]]) -> list[Finding]:
    """Findings from entries (name, rows, sentence), whose rows count all objects of the survey's images, or classes."""
    findings = []
    for code, rows, sentence in entries:
        if code in _LEFT_OUT:
            continue
        if code.endswith("_instance_category"):
            places = [survey.class_names[row] for row in sorted(rows)]
        elif code in _KINDS:
            places = _boxes(survey, rows, distinct=code == "near_duplicate")
        else:
            places = [sentence]
        if places:
            findings.append(finding(survey.split, _KINDS.get(code, code), places, "warning"))
    return findings


def _boxes(survey: Survey, rows: NDArray[np.int64], *, distinct: bool) -> list[str]:
    """A sentence per box; with `distinct` without those that are exactly repeated, which are counted elsewhere."""
    wanted = set(rows.tolist())
    places, start = [], 0
    for image in survey.images:
        repeated = [image.boxes[row] for row in repeated_boxes(image)] if distinct else []
        for row, box in enumerate(image.boxes):
            if start + row in wanted and not any(np.array_equal(box, other) for other in repeated):
                places.append(f"{image.path}: box {', '.join(f'{value:g}' for value in box)}")
        start += len(image.boxes)
    return places

"""Detections and ground truth in COCO's file formats (https://cocodataset.org/#format-results), for other evaluators.

Coordinates and scores are written in full: pycocotools gives the same numbers from the files, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from json import dumps
from pathlib import Path

import numpy as np

from yolo.boxes.arrays import xyxy_to_corner_size
from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.coco import CocoEvaluation
from yolo.whole_file import whole_file

_CHUNK = 100_000


def write_detections(evaluation: CocoEvaluation, path: Path) -> None:
    """The detections as a list of {image_id, category_id, bbox: [x, y, width, height], score}."""
    found = evaluation.detections
    ids = np.asarray(evaluation.category_ids, np.int64)

    def entries() -> Iterator[str]:
        for start in range(0, len(found.scores), _CHUNK):
            part = slice(start, start + _CHUNK)
            columns = (
                found.image_ids[part],
                ids[found.classes[part]],
                xyxy_to_corner_size(found.boxes[part]),
                found.scores[part],
            )
            for image, category, (x, y, width, height), score in zip(*(c.tolist() for c in columns), strict=True):
                yield (
                    f'{{"image_id":{image},"category_id":{category},"bbox":[{x!r},{y!r},{width!r},{height!r}],'
                    f'"score":{score!r}}}'
                )

    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write("[")
        file.writelines(_separated(entries()))
        file.write("]\n")


def write_ground_truth(
    evaluation: CocoEvaluation, records: Sequence[AnnotatedImage], class_names: Sequence[str], path: Path
) -> None:
    """The annotations as they were evaluated, which the detections can be checked against in any format of data."""
    truth = evaluation.ground_truth
    ids = np.asarray(evaluation.category_ids, np.int64)
    columns = (
        truth.image_ids,
        ids[truth.classes],
        xyxy_to_corner_size(truth.boxes),
        truth.areas,
        truth.crowd.astype(np.int64),
    )
    images = ({"id": r.image_id, "file_name": r.path.name, "height": r.size[0], "width": r.size[1]} for r in records)
    annotations = (
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
        for number, (image, category, box, area, crowd) in enumerate(
            zip(*(c.tolist() for c in columns), strict=True), start=1
        )
    )
    categories = ({"id": number, "name": name} for number, name in zip(ids.tolist(), class_names, strict=True))
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        for name, entries in (("images", images), ("categories", categories), ("annotations", annotations)):
            file.write(f'{"{" if name == "images" else ","}"{name}":[')
            file.writelines(_separated(map(dumps, entries)))
            file.write("]")
        file.write("}\n")


def _separated(entries: Iterable[str]) -> Iterator[str]:
    for number, entry in enumerate(entries):
        yield f",\n{entry}" if number else f"\n{entry}"

"""How well the label audit finds errors that were planted into correct-looking labels.

    python benchmarks/label_audit.py CHECKPOINT DATASET [--images images/val] [--share 0.1] [--seeds 5]

DATASET is in YOLO format and none that the checkpoint was trained on. A tenth of the labels is made wrong, in equal
parts by another class, by leaving it out, by drawing it twice, by moving it by 0.5 to 0.75 of its side, and by adding
one somewhere. Prints for each kind how many were planted, the precision among as many of the surest findings, and how
many of the planted ones were found at all; means over seeds. What was wrong in the dataset before counts against the
precision.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from yolo.boxes.arrays import overlap
from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.evaluator import Metrics, ground_truth
from yolo.evaluation.label_audit import KINDS, Kind, LabelFinding, audit


@dataclass(frozen=True, eq=False)
class Planted:
    """One error."""

    kind: Kind
    image: int
    box: np.ndarray
    """[4] where it is: the label's box, the removed one's for a missing label."""


def plant(
    records: Sequence[AnnotatedImage], classes: int, share: float, seed: int
) -> tuple[list[AnnotatedImage], list[Planted]]:
    """Records with `share` of their labels made wrong, the five kinds in equal parts."""
    rng = np.random.default_rng(seed)
    places = [(i, row) for i, record in enumerate(records) for row in np.flatnonzero(~record.crowd).tolist()]
    chosen = rng.permutation(len(places))[: round(share * len(places))]
    wanted: dict[int, dict[int, Kind]] = {}
    for number, place in enumerate(chosen):
        image, row = places[place]
        wanted.setdefault(image, {})[row] = KINDS[number % len(KINDS)]
    changed, planted = [], []
    for image, record in enumerate(records):
        new, errors = _spoil(record, image, wanted.get(image, {}), classes, rng)
        changed.append(new)
        planted += errors
    return changed, planted


def _spoil(
    record: AnnotatedImage, image: int, wanted: dict[int, Kind], classes: int, rng: np.random.Generator
) -> tuple[AnnotatedImage, list[Planted]]:
    boxes, labels, errors = [], [], []
    height, width = record.size
    for row in range(len(record.classes)):
        box, label, kind = record.boxes[row].astype(float), int(record.classes[row]), wanted.get(row)
        size = box[2:] - box[:2]
        if kind == "missing":
            errors.append(Planted(kind, image, box))
            continue
        if kind == "wrong-class":
            label = (label + int(rng.integers(1, classes))) % classes
        elif kind == "misplaced":  # IoU 0.14 to 0.33 with where it was
            axis = int(rng.integers(2))
            step = rng.uniform(0.5, 0.75) * size[axis] * rng.choice([-1, 1])
            step = step if 0 <= (box[axis] + box[axis + 2]) / 2 + step <= (width, height)[axis] else -step
            box[[axis, axis + 2]] += step
        elif kind == "duplicate":  # as two annotators draw it
            twice = box + rng.normal(0, 0.03, 4) * np.tile(size, 2)
            boxes.append(twice)
            labels.append(label)
        elif kind == "spurious":
            corner = rng.uniform(0, np.maximum([width, height] - size, 1))
            boxes.append(np.concatenate([corner, corner + size]))
            labels.append(label)
        boxes.append(box)
        labels.append(label)
        if kind is not None:
            errors.append(Planted(kind, image, boxes[-2] if kind == "spurious" else box))
    table = np.array(boxes, np.float32).reshape(-1, 4)
    areas = (table[:, 2:] - table[:, :2]).prod(1).astype(np.float64)
    new = replace(
        record, boxes=table, classes=np.array(labels, np.int64), crowd=np.zeros(len(table), bool), areas=areas
    )
    return new, errors


def with_labels(metrics: Metrics, records: Sequence[AnnotatedImage]) -> CocoEvaluation:
    """The same detections against other labels."""
    evaluation = metrics.evaluation
    return CocoEvaluation(ground_truth(records), evaluation.detections, evaluation.category_ids)


def is_hit(finding: LabelFinding, planted: Planted) -> bool:
    """Whether a finding is this error: its kind, in its image, on its box."""
    same = finding.kind == planted.kind and finding.image == planted.image
    # Of a duplicate either label may be the one too many; a missing label is where the detector says.
    return same and bool(overlap(finding.box, planted.box) > 0.5)


@dataclass(frozen=True)
class Score:
    """How well one kind was found."""

    planted: int
    precision: float
    """Of the k surest findings of this kind, k the number of planted ones: the share that was planted."""
    recall: float
    """Share of the planted ones that was found at all."""
    known: int
    """Findings of this kind in the labels as they came, which count against the precision."""


def score(
    findings: Sequence[LabelFinding], planted: Sequence[Planted], before: Sequence[LabelFinding] = ()
) -> dict[Kind, Score]:
    """Kind -> Score. `before` are the findings in the labels without planted errors."""
    result = {}
    for kind in KINDS:
        errors = [error for error in planted if error.kind == kind]
        mine = [finding for finding in findings if finding.kind == kind]
        top = mine[: len(errors)]
        hits = sum(any(is_hit(finding, error) for error in errors) for finding in top)
        recalled = sum(any(is_hit(finding, error) for finding in mine) for error in errors)
        known = sum(finding.kind == kind for finding in before)
        result[kind] = Score(len(errors), hits / max(len(top), 1), recalled / max(len(errors), 1), known)
    return result


def main() -> None:
    """Measure and print."""
    from yolo.commands.measurement import measure
    from yolo.commands.validate import parse

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("dataset")
    parser.add_argument("--images", default="images/val")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    data = [f"--data.root={options.dataset}", "--data.format=yolo", f"--data.val_images={options.images}"]
    metrics = measure(*parse(["--checkpoint", options.checkpoint, *data]))
    before = audit(metrics.evaluation)
    table: dict[Kind, list[Score]] = {kind: [] for kind in KINDS}
    for seed in range(options.seeds):
        records, planted = plant(metrics.records, len(metrics.class_names), options.share, seed)
        for kind, entry in score(audit(with_labels(metrics, records)), planted, before).items():
            table[kind].append(entry)
    print(f"{len(metrics.records)} images, {len(metrics.evaluation.ground_truth.classes)} labels")
    print("kind          planted  precision  recall  findings before")
    for kind, scores in table.items():
        numbers = np.mean([[s.planted, s.precision, s.recall, s.known] for s in scores], axis=0)
        print(f"{kind:<12} {numbers[0]:8.0f} {numbers[1]:10.2f} {numbers[2]:7.2f} {numbers[3]:16.0f}")


if __name__ == "__main__":
    main()

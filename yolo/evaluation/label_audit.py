"""Labels that a trained detector doubts: of another class, missing, there twice, badly placed, or of nothing.

Matching is COCO's (hotcoco's, at IoU 0.5). What matched needs no audit; what did not is sorted by what lies beside it.
Every finding says how sure the detector is, from 0 to 1, and the surest come first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from yolo.boxes.arrays import overlap
from yolo.evaluation.coco import CocoEvaluation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Kind = Literal["wrong-class", "missing", "duplicate", "misplaced", "spurious"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MATCH_IOU = 0.5
"""COCO's loosest match: label and detection are of one object."""
NEAR_IOU = 0.1
"""TIDE's bound between a badly placed box and background (Bolya et al. 2020)."""
MISSING_IOU = 0.3
"""A detection that overlaps all labels less than this lies on no labelled object; neighbours overlap a little."""
DUPLICATE_IOU = 0.7
"""Two labels of one class that overlap more are suspected to be of one object."""
COINCIDENT_IOU = 0.85
"""The same for labels of two classes, which lie in each other more often (a rider and a horse)."""
UNSEEN_IOU = 0.3
"""A detection of any class that overlaps a label as much as this shows that something is there."""
UNSEEN_SCORE = 0.25
"""One that scores as much does so; below, detectors report anything."""


@dataclass(frozen=True, eq=False)
class LabelFinding:
    """One label to look at. Boxes are [4] xyxy in pixels of the original image."""

    kind: Kind
    certainty: float
    """How sure the detector is, 0 to 1. By kind: score of the detection less that of the label's own (wrong-class,
    misplaced), score (missing), overlap times what the detector does not see twice (duplicate), 1 - the best score
    there times the share of its class that the detector sees (spurious)."""
    image: int
    """Position of the image in the evaluation."""
    label: int | None
    """Position of the label in its image; None for a missing one."""
    other: int | None
    """Position of the label that a duplicate repeats."""
    label_class: int | None
    detected_class: int | None
    """None where no detection says otherwise: of spurious labels and duplicates."""
    score: float | None
    """Of the detection, for a duplicate that of the other label; None where there is none."""
    iou: float | None
    """Of label and detection, of both labels for duplicates; the largest with any label for a missing one."""
    box: Floats
    """Of the label; of the detection where the label is missing."""
    detected_box: Floats | None
    other_class: int | None = None
    """Of the label that a duplicate repeats."""
    other_box: Floats | None = None


@dataclass(frozen=True, eq=False)
class _Scene:
    """Labels and detections of one image; crowds, and what lies on them, left out."""

    image: int
    rows: Ints
    """[G] position of each label in its image."""
    boxes: Floats
    """[G, 4]"""
    classes: Ints
    """[G]"""
    found_boxes: Floats
    """[D, 4], best score first."""
    found_classes: Ints
    """[D]"""
    scores: Floats
    """[D]"""
    partner: Ints
    """[D] label that COCO matched with each detection; -1 for none."""
    overlap: Floats
    """[D, G] IoU of detections and labels."""
    support: Floats
    """[G] score of the detection that COCO matched with the label; 0 without one."""

    @property
    def free(self) -> NDArray[np.bool_]:
        """[D], matched no label of their class."""
        return self.partner < 0


def audit(evaluation: CocoEvaluation, least: float = 0.3) -> list[LabelFinding]:
    """Labels to look at, the surest first.

    Args:
        evaluation: of the split whose labels are audited.
        least: certainty below which nothing is reported.
    """
    found: list[LabelFinding] = []
    scenes = list(_scenes(evaluation))
    seen = _share_seen(scenes, len(evaluation.category_ids))
    for scene in scenes:
        moved = dict(_misplaced(scene))
        misplaced, duplicates = list(moved.values()), list(_duplicates(scene))
        found += [*_wrong_class(scene), *_missing(scene, set(moved)), *duplicates, *misplaced]
        doubted = {entry.label for entry in (*misplaced, *duplicates)}
        found += [entry for entry in _spurious(scene, seen) if entry.label not in doubted]
    kept = [entry for entry in found if entry.certainty >= least]
    return sorted(kept, key=lambda entry: -entry.certainty)


def _scenes(evaluation: CocoEvaluation) -> Iterator[_Scene]:
    truth, found = evaluation.ground_truth, evaluation.detections
    ids = np.array([image["id"] for image in truth.images], np.int64)
    labels, detections = _by_image(ids, truth.image_ids), _by_image(ids, found.image_ids)
    for position, (mine, theirs) in enumerate(zip(labels, detections, strict=True)):
        single = np.flatnonzero(~truth.crowd[mine])
        counted = theirs[evaluation.matches[theirs] >= 0]
        counted = counted[np.argsort(-found.scores[counted], kind="stable")]
        rows = mine[single]
        of_row = {row: place for place, row in enumerate(rows.tolist())}
        partner = np.array([of_row.get(row, -1) for row in evaluation.matched[counted].tolist()], np.int64)
        support = np.zeros(len(rows))
        support[partner[partner >= 0]] = found.scores[counted][partner >= 0]
        yield _Scene(
            image=position,
            rows=single,
            boxes=truth.boxes[rows],
            classes=truth.classes[rows],
            found_boxes=found.boxes[counted],
            found_classes=found.classes[counted],
            scores=found.scores[counted],
            partner=partner,
            overlap=overlap(found.boxes[counted][:, None], truth.boxes[rows][None]),
            support=support,
        )


def _by_image(ids: Ints, of_rows: Ints) -> list[Ints]:
    """The rows of each image, in their order."""
    order = np.argsort(of_rows, kind="stable")
    ends = np.searchsorted(of_rows[order], ids, side="right")
    starts = np.searchsorted(of_rows[order], ids, side="left")
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def _of_label(
    scene: _Scene, kind: Kind, certainty: float, label: int, detection: int | None, iou: float | None
) -> LabelFinding:
    return LabelFinding(
        kind,
        float(certainty),
        scene.image,
        int(scene.rows[label]),
        None,
        int(scene.classes[label]),
        int(scene.found_classes[detection]) if detection is not None else None,
        float(scene.scores[detection]) if detection is not None else None,
        iou,
        scene.boxes[label],
        scene.found_boxes[detection] if detection is not None else None,
    )


def _nearest(scene: _Scene) -> Iterator[tuple[int, int, float]]:
    """Free detections from the best score down, the label that each overlaps most, and how much."""
    if not len(scene.rows):
        return
    for detection in np.flatnonzero(scene.free).tolist():
        label = int(scene.overlap[detection].argmax())
        yield detection, label, float(scene.overlap[detection, label])


def _wrong_class(scene: _Scene) -> Iterator[LabelFinding]:
    """Labels on which a detection of another class lies, surer than the one of theirs."""
    seen: set[int] = set()
    for detection, label, iou in _nearest(scene):
        if iou < MATCH_IOU or scene.found_classes[detection] == scene.classes[label] or label in seen:
            continue
        seen.add(label)
        same = (scene.found_classes == scene.classes[label]) & (scene.overlap[:, label] >= MATCH_IOU)
        rival = float(scene.scores[same].max(initial=0.0))
        yield _of_label(scene, "wrong-class", scene.scores[detection] - rival, label, detection, iou)


def _misplaced(scene: _Scene) -> Iterator[tuple[int, LabelFinding]]:
    """Labels that no detection of their class matches, with one beside them; and that detection."""
    seen: set[int] = set()
    for detection, label, iou in _nearest(scene):
        same = scene.found_classes[detection] == scene.classes[label]
        unseen = scene.support[label] < UNSEEN_SCORE and label not in seen
        if same and NEAR_IOU <= iou < MATCH_IOU and unseen:
            seen.add(label)
            certainty = scene.scores[detection] - scene.support[label]
            yield detection, _of_label(scene, "misplaced", certainty, label, detection, iou)


def _missing(scene: _Scene, explained: set[int]) -> Iterator[LabelFinding]:
    """Detections where no label is, but those explained otherwise; of several on one object the surest."""
    reported: list[int] = []
    largest = scene.overlap.max(axis=1, initial=0.0)
    for detection in np.flatnonzero(scene.free & (largest < MISSING_IOU)).tolist():
        if detection in explained:
            continue
        box = scene.found_boxes[detection]
        if reported and overlap(box, scene.found_boxes[reported]).max() >= MATCH_IOU:
            continue
        reported.append(detection)
        detected, score = int(scene.found_classes[detection]), float(scene.scores[detection])
        yield LabelFinding(
            "missing", score, scene.image, None, None, None, detected, score, float(largest[detection]), box, box
        )


def _duplicates(scene: _Scene) -> Iterator[LabelFinding]:
    """Of labels that nearly coincide the one that the detector supports less, the later one when it knows of none."""
    overlaps = np.triu(overlap(scene.boxes[:, None], scene.boxes[None]), 1)
    same = scene.classes[:, None] == scene.classes[None]
    pairs = np.argwhere(overlaps > np.where(same, DUPLICATE_IOU, COINCIDENT_IOU))
    order = np.argsort(-overlaps[tuple(pairs.T)], kind="stable")
    seen: set[int] = set()
    for first, second in pairs[order].tolist():
        less, more = (first, second) if scene.support[first] < scene.support[second] else (second, first)
        if less in seen:
            continue
        seen.add(less)
        iou = float(overlaps[first, second])
        yield LabelFinding(
            "duplicate",
            iou * (1 - float(scene.support[less])),
            scene.image,
            int(scene.rows[less]),
            int(scene.rows[more]),
            int(scene.classes[less]),
            None,
            float(scene.support[more]) or None,
            iou,
            scene.boxes[less],
            None,
            int(scene.classes[more]),
            scene.boxes[more],
        )


def _share_seen(scenes: list[_Scene], classes: int) -> Floats:
    """The share of the labels of each class that the detector sees, [C]."""
    labels = np.concatenate([scene.classes for scene in scenes])
    seen = np.concatenate([scene.support >= UNSEEN_SCORE for scene in scenes])
    return np.bincount(labels[seen], minlength=classes) / np.maximum(np.bincount(labels, minlength=classes), 1)


def _spurious(scene: _Scene, share_seen: Floats) -> Iterator[LabelFinding]:
    """Labels where the detector sees nothing of any class, but what other labels account for.

    That says little in a class of which it sees few objects.
    """
    for label in range(len(scene.rows)):
        there = (scene.overlap[:, label] >= UNSEEN_IOU) & (scene.free | (scene.partner == label))
        best = float(scene.scores[there].max(initial=0.0))
        if best < UNSEEN_SCORE:
            certainty = (1 - best) * share_seen[scene.classes[label]]
            yield _of_label(scene, "spurious", certainty, label, None, None)

"""COCO's matching of detections with objects at one IoU threshold, over all images and classes at once.

The same verdicts as hotcoco's diagnostics (which the tests compare with), as arrays from the start: those come as
dictionaries with a text for every detection, whose making took longer than the rest of an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from yolo.boxes.arrays import overlap

if TYPE_CHECKING:
    from yolo.evaluation.coco import Detections, GroundTruth

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_DETECTIONS = 100
"""Of one class in one image, as COCO counts them."""
_CHUNK = 1 << 15
"""Detections whose overlaps are computed together: arrays this small stay in the processor's cache."""


def match(truth: GroundTruth, found: Detections, threshold: float = 0.5) -> tuple[Ints, Ints]:
    """Greedy matching: from the best score down, each detection takes the free object of its image and class that it
    overlaps most, the later one of two alike. A crowd, overlap with which is the part of the detection inside it, is
    taken when there is no object, and stays free.

    Returns:
        The verdict on each detection [N], 1 true positive, 0 false positive, -1 ignored (on a crowd, or past the
        hundredth of its image and class); and the object [N] that each true positive took, as a row of the ground
        truth, else -1.
    """
    verdict = np.zeros(len(found.scores), np.int64)
    matched = np.full(len(found.scores), -1, np.int64)
    images = np.sort(np.array([image["id"] for image in truth.images], np.int64))
    places = np.searchsorted(images, found.image_ids)
    classes = 1 + max(found.classes.max(initial=0), truth.classes.max(initial=0))
    cells = places * classes + found.classes
    surplus = _surplus(cells, np.bincount(places, minlength=len(images))[places], found.scores)
    verdict[surplus] = -1
    rows = np.flatnonzero(verdict == 0)
    pairs = list(_overlapping(truth, found, np.searchsorted(images, truth.image_ids) * classes, cells, rows, threshold))
    if not pairs:
        return verdict, matched
    detections, objects, overlaps = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    # A crowd is worth less than any object; which of several crowds makes no difference.
    worth = np.where(truth.crowd[objects], 0.0, overlaps)
    order = np.argsort(-found.scores[detections], kind="stable")
    winners, partners = _greedy(detections[order], objects[order], worth[order])
    on_crowd = truth.crowd[partners]
    verdict[winners] = np.where(on_crowd, -1, 1)
    matched[winners] = np.where(on_crowd, -1, partners)
    return verdict, matched


def _greedy(detections: Ints, objects: Ints, worth: Floats) -> tuple[Ints, Ints]:
    """The detections that take something, and what. Pairs [P] are in the order in which detections choose, those of
    one detection together; what is worth 0 stays free."""
    partner: dict[int, int] = {}
    taken: set[int] = set()
    last, best = -1, 0.0
    for detection, candidate, value in zip(detections.tolist(), objects.tolist(), worth.tolist(), strict=True):
        if detection != last:
            last, best = detection, 0.0
        if candidate in taken or value < best:
            continue
        taken.discard(partner.get(detection, -1))
        partner[detection], best = candidate, value
        if value:
            taken.add(candidate)
    return np.array(list(partner), np.int64), np.array(list(partner.values()), np.int64)


def _surplus(cells: Ints, of_image: Ints, scores: Floats) -> Ints:
    """Rows of the detections past the hundredth of their cell (image and class); `of_image` [N] are their images'."""
    rows = np.flatnonzero(of_image > MAX_DETECTIONS)  # in other images no class can have as many
    in_order = np.sort(cells[rows])
    full = in_order[MAX_DETECTIONS:][in_order[MAX_DETECTIONS:] == in_order[:-MAX_DETECTIONS]]
    rows = rows[np.isin(cells[rows], full)]
    rows = rows[np.lexsort((rows, -scores[rows], cells[rows]))]
    starts = np.flatnonzero(np.diff(cells[rows], prepend=-1))
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return rows[rank >= MAX_DETECTIONS]


def _overlapping(
    truth: GroundTruth, found: Detections, first_cells: Ints, cells: Ints, rows: Ints, threshold: float
) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Pairs of a detection, one of `rows`, and an object of its cell that overlap by the threshold: rows of both, IoU.

    `first_cells` [M] are the cells of class 0 of the objects' images, `cells` [N] those of the detections.
    """
    of_objects = first_cells + truth.classes
    by_cell = np.argsort(of_objects, kind="stable")
    occupied, starts, counts = np.unique(of_objects[by_cell], return_index=True, return_counts=True)
    if not len(occupied):
        return
    place = np.searchsorted(occupied, cells[rows]).clip(max=len(occupied) - 1)
    sharing = occupied[place] == cells[rows]
    rows, place = rows[sharing], place[sharing]
    for start in range(0, len(rows), _CHUNK):
        some = place[start : start + _CHUNK]
        several = counts[some]
        detections = np.repeat(rows[start : start + _CHUNK], several)
        offsets = np.arange(len(detections)) - np.repeat(np.cumsum(several) - several, several)
        objects = by_cell[np.repeat(starts[some], several) + offsets]
        overlaps = overlap(found.boxes[detections], truth.boxes[objects], truth.crowd[objects])
        enough = overlaps >= min(threshold, 1 - 1e-10)
        yield detections[enough], objects[enough], overlaps[enough]

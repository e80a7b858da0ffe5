from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolo.evaluation.coco import SUMMARY_KEYS, TIDE_KINDS, CocoEvaluation, Detections, GroundTruth


def ground_truth(images, image_ids, classes, boxes, crowd=None, areas=None) -> GroundTruth:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    size = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return GroundTruth(
        images=[{"id": i, "height": 480, "width": 640} for i in images],
        image_ids=np.asarray(image_ids, np.int64),
        classes=np.asarray(classes, np.int64),
        boxes=boxes,
        areas=size if areas is None else np.asarray(areas, np.float64),
        crowd=np.zeros(len(boxes), bool) if crowd is None else np.asarray(crowd, bool),
    )


def detections(image_ids, classes, boxes, scores) -> Detections:
    return Detections(
        np.asarray(image_ids, np.int64),
        np.asarray(classes, np.int64),
        np.asarray(boxes, np.float64).reshape(-1, 4),
        np.asarray(scores, np.float64),
    )


def pycocotools(truth: GroundTruth, found: Detections, category_ids) -> COCOeval:
    """The oracle on the same columns."""

    def corner_size(box):
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {
            "images": [dict(image) for image in truth.images],
            "categories": [{"id": int(i), "name": str(i)} for i in category_ids],
            "annotations": [
                {
                    "id": row + 1,
                    "image_id": int(truth.image_ids[row]),
                    "category_id": int(category_ids[truth.classes[row]]),
                    "bbox": corner_size(truth.boxes[row]),
                    "area": float(truth.areas[row]),
                    "iscrowd": int(truth.crowd[row]),
                }
                for row in range(len(truth.boxes))
            ],
        }
        gt.createIndex()
        dt = COCO()
        dt.dataset = {k: gt.dataset[k] for k in ("images", "categories")}
        dt.dataset["annotations"] = [
            {
                "id": row + 1,
                "image_id": int(found.image_ids[row]),
                "category_id": int(category_ids[found.classes[row]]),
                "bbox": (box := corner_size(found.boxes[row])),
                "area": box[2] * box[3],
                "iscrowd": 0,
                "score": float(found.scores[row]),
            }
            for row in range(len(found.scores))
        ]
        dt.createIndex()
        result = COCOeval(gt, dt, "bbox")
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result


def random_case(seed: int) -> tuple[GroundTruth, Detections]:
    """A small set with crowds, tied scores, empty images and images without detections."""
    rng = np.random.default_rng(seed)
    images = list(range(3, 3 + int(rng.integers(1, 7))))
    rows, found = [], []
    for image in images:
        for _ in range(int(rng.integers(0, 6)) if rng.random() > 0.2 else 0):
            x, y = rng.uniform(0, 400, 2)
            w, h = np.exp(rng.uniform(1.5, 5.5, 2))
            box, label = np.array([x, y, x + w, y + h]), int(rng.integers(0, 4))
            rows.append((image, label, box, rng.random() < 0.15))
            for _ in range(int(rng.integers(0, 4))):
                jitter = rng.normal(0, 0.08, 4) * np.array([w, h, w, h])
                shifted = box + jitter
                shifted[2:] = np.maximum(shifted[2:], shifted[:2] + 1)
                guess = label if rng.random() < 0.8 else int(rng.integers(0, 4))
                found.append((image, guess, shifted, round(float(rng.random()), 1)))
        for _ in range(int(rng.integers(0, 3))):
            x, y = rng.uniform(0, 400, 2)
            found.append(
                (image, int(rng.integers(0, 4)), np.array([x, y, x + 30, y + 40]), round(float(rng.random()), 1))
            )
    truth = ground_truth(
        images,
        [r[0] for r in rows],
        [r[1] for r in rows],
        [r[2] for r in rows],
        [r[3] for r in rows],
        [float((r[2][2] - r[2][0]) * (r[2][3] - r[2][1])) * rng.uniform(0.4, 1) for r in rows],
    )
    return truth, detections([f[0] for f in found], [f[1] for f in found], [f[2] for f in found], [f[3] for f in found])


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_random_sets_equal_pycocotools(start: int) -> None:
    category_ids = [1, 3, 7, 90]
    for seed in range(start, start + 50):
        truth, found = random_case(seed)
        ours, oracle = CocoEvaluation(truth, found, category_ids), pycocotools(truth, found, category_ids)
        np.testing.assert_allclose([ours.summary[k] for k in SUMMARY_KEYS], oracle.stats, atol=1e-9, err_msg=f"{seed}")
        precision = oracle.eval["precision"][:, :, :, 0, -1]
        for c in range(len(category_ids)):
            values = precision[:, :, c]
            expected = values[values > -1].mean() if (values > -1).any() else np.nan
            np.testing.assert_allclose(ours.class_ap[c], expected, atol=1e-9)


def test_matches_equal_pycocotools() -> None:
    for seed in range(40):
        truth, found = random_case(seed)
        expected = np.full(len(found.scores), -1)
        for image in pycocotools(truth, found, [1, 3, 7, 90]).evalImgs:
            if image is None or image["aRng"] != [0, 1e10]:
                continue
            for row, match, ignored in zip(image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True):
                expected[row - 1] = -1 if ignored else int(match > 0)
        np.testing.assert_array_equal(CocoEvaluation(truth, found, [1, 3, 7, 90]).matches, expected)


def test_known_answers(test_data: Path) -> None:
    folder = test_data / "known_answers" / "coco128"
    gt, dt = (json.loads((folder / f"{name}.json").read_text()) for name in ("gt", "detections"))
    expected = json.loads((folder / "expected.json").read_text())["stats"]
    ids = [c["id"] for c in gt["categories"]]
    index = {c: i for i, c in enumerate(ids)}

    def xyxy(rows):
        boxes = np.array([r["bbox"] for r in rows])
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)

    annotations = gt["annotations"]
    truth = GroundTruth(
        images=[{k: image[k] for k in ("id", "height", "width")} for image in gt["images"]],
        image_ids=np.array([a["image_id"] for a in annotations]),
        classes=np.array([index[a["category_id"]] for a in annotations]),
        boxes=xyxy(annotations),
        areas=np.array([a["area"] for a in annotations]),
        crowd=np.array([bool(a["iscrowd"]) for a in annotations]),
    )
    found = detections(
        [d["image_id"] for d in dt], [index[d["category_id"]] for d in dt], xyxy(dt), [d["score"] for d in dt]
    )
    summary = CocoEvaluation(truth, found, ids).summary
    assert max(abs(summary[key] - expected[key]) for key in SUMMARY_KEYS) < 1e-9


def test_no_detections_and_no_ground_truth() -> None:
    truth = ground_truth([1], [1], [0], [[0, 0, 50, 50]])
    nothing = detections([], [], [], [])
    assert CocoEvaluation(truth, nothing, [1, 2]).summary["AP"] == 0
    empty = ground_truth([1], [], [], [])
    assert CocoEvaluation(empty, detections([1], [0], [[0, 0, 5, 5]], [0.5]), [1, 2]).summary["AP"] == -1


def test_image_counted_twice_is_refused() -> None:
    truth = ground_truth([1, 1], [1], [0], [[0, 0, 50, 50]])
    with pytest.raises(ValueError, match="image id 1 was evaluated 2 times"):
        CocoEvaluation(truth, detections([], [], [], []), [1])


BOX, OTHER, FAR = [10.0, 10, 50, 50], [100.0, 100, 140, 140], [200.0, 200, 240, 240]
BESIDE = [10.0, 10, 50, 26]  # IoU 0.4 with BOX
# AP averages over 101 recalls, of which 51 are reached by one object of two. Objects and detections in one image, as
# class and box; detections from the best score down. AP50 lost to each kind of error that there is.
TIDE_CASES = {
    # Class 1 is not in the ground truth: precision 1 up to half the recall, 1 everywhere were it class 0.
    "class": ([(0, OTHER), (0, BOX)], [(0, OTHER), (1, BOX)], {"Cls": 50 / 101}),
    # A wrong class on an object that is found: AP 1/2 of class 1, 1 without that detection; a mean of two classes.
    "class, found": ([(0, BOX), (1, OTHER)], [(0, BOX), (1, BOX), (1, OTHER)], {"Cls": 1 / 4}),
    # Precision 1/2 up to half the recall; both found were the first one well placed.
    "place": ([(0, BOX), (0, OTHER)], [(0, BESIDE), (0, OTHER)], {"Loc": 1 - 51 / 101 / 2}),
    # Found already: left out, since as a second detection it would still cost 50 recalls a third of their precision.
    "place, found": ([(0, BOX), (0, OTHER)], [(0, BOX), (0, BESIDE), (0, OTHER)], {"Loc": 50 / 101 / 3}),
    "both": ([(0, BOX), (1, OTHER)], [(1, BESIDE), (0, BOX), (1, OTHER)], {"Both": 1 / 4}),
    "second": ([(0, BOX), (0, OTHER)], [(0, BOX), (0, BOX), (0, OTHER)], {"Dupe": 50 / 101 / 3}),
    "nothing": ([(0, BOX)], [(0, FAR), (0, BOX)], {"Bkg": 1 / 2}),
    # Precision 1/2 at 51 recalls. Without the false alarm 1 at those; without the missed object 1/2 at all.
    "missed": ([(0, BOX), (0, OTHER)], [(0, FAR), (0, BOX)], {"Bkg": 51 / 101 / 2, "Miss": 50 / 101 / 2}),
}


@pytest.mark.parametrize("name", TIDE_CASES)
def test_tide_by_hand(name: str) -> None:
    objects, found, lost = TIDE_CASES[name]
    truth = ground_truth([1], [1] * len(objects), [c for c, _ in objects], [box for _, box in objects])
    scores = [0.9 - 0.1 * row for row in range(len(found))]
    seen = detections([1] * len(found), [c for c, _ in found], [box for _, box in found], scores)
    assert CocoEvaluation(truth, seen, [1, 2]).tide() == pytest.approx(dict.fromkeys(TIDE_KINDS, 0.0) | lost, abs=1e-12)


def test_tide_is_not_defined_without_objects_or_detections() -> None:
    objects, found = ground_truth([1], [1], [0], [BOX]), detections([1], [0], [BOX], [0.9])
    for truth, seen in ((objects, detections([], [], [], [])), (ground_truth([1], [], [], []), found)):
        assert all(math.isnan(value) for value in CocoEvaluation(truth, seen, [1]).tide().values())


def test_detection_of_unknown_image_is_refused() -> None:
    truth = ground_truth([1], [1], [0], [[0, 0, 50, 50]])
    with pytest.raises(ValueError, match="image id 9"):
        CocoEvaluation(truth, detections([9], [0], [[0, 0, 5, 5]], [0.5]), [1])


def test_confusion_counts_all_that_counts_however_many_are_in_an_image() -> None:
    rows = np.arange(150)
    boxes = np.stack([rows * 4, rows * 0, rows * 4 + 4, rows * 0 + 20], 1)
    evaluation = CocoEvaluation(
        ground_truth([1], rows * 0 + 1, rows // 50, boxes),
        detections(rows * 0 + 1, rows // 50, boxes, np.linspace(1, 0.5, 150)), [1, 2, 3],
    )  # fmt: skip
    assert evaluation.confusion(0.5).tolist() == np.diag([50, 50, 50, 0]).tolist()


def test_of_one_score_the_first_class_chooses_first() -> None:
    for classes in ([0, 1], [1, 0]):
        truth, box = ground_truth([1], [1], [1], [[0, 0, 9, 9]]), [0, 0, 9, 9]
        evaluation = CocoEvaluation(truth, detections([1, 1], classes, [box, box], [0.5, 0.5]), [3, 8])
        assert evaluation.confusion(0.5).tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]

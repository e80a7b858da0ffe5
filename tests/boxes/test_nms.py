from __future__ import annotations

import pytest
import torch

from yolo.boxes.nms import NMSOptions, nms, non_max_suppression


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area_a, area_b = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (area_a + area_b - width * height)


def textbook(
    boxes: list[list[float]], scores: list[float], threshold: float, limit: int, groups: list[int]
) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(groups[i] != groups[j] or overlap(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept[:limit]


def random_case(seed: int, count: int, extent: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Integer boxes, so that overlaps hit the threshold exactly, and few distinct scores, so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, extent, (count, 2), generator=generator)
    size = torch.randint(1, 20, (count, 2), generator=generator)
    scores = torch.randint(0, 12, (count,), generator=generator) / 12
    return torch.cat([corner, corner + size], 1).float(), scores, torch.randint(0, 3, (count,), generator=generator)


@pytest.mark.parametrize("seed", range(100))
def test_equals_the_textbook_loop(seed: int) -> None:
    count = [0, 1, 7, 60, 300, 600][seed % 6]  # 300 and 600 span several blocks
    boxes, scores, groups = random_case(seed, count, extent=40)
    threshold = [0.3, 0.45, 0.5, 0.65][seed % 4]
    limit = [5, 50, 1000][seed % 3]
    as_lists = boxes.tolist(), scores.tolist(), threshold, limit
    assert nms(boxes, scores, threshold, limit).tolist() == textbook(*as_lists, [0] * count)
    assert nms(boxes, scores, threshold, limit, groups).tolist() == textbook(*as_lists, groups.tolist())


def test_a_chain_of_boxes_that_overlap_their_neighbours() -> None:
    left = torch.arange(300.0)  # each box overlaps the next by 0.6: every second one stays
    boxes = torch.stack([left, torch.zeros(300), left + 4, torch.ones(300)], 1)
    kept = nms(boxes, torch.linspace(1, 0, 300), 0.5, 1000)
    assert kept.tolist() == list(range(0, 300, 2))


def test_large_input_equals_the_textbook_loop() -> None:
    boxes, scores, groups = random_case(0, 20_000, extent=60)
    kept = nms(boxes, scores, 0.5, 300, groups)
    # The loop's first 300 cannot depend on what ranks below the last of them.
    order = scores.argsort(descending=True, stable=True)
    head = order[: order.tolist().index(int(kept[-1])) + 1]
    expected = textbook(boxes[head].tolist(), scores[head].tolist(), 0.5, 301, groups[head].tolist())
    assert kept.tolist() == head[expected].tolist()
    assert len(kept) == 300


def test_large_coordinates_of_many_classes_stay_exact() -> None:
    boxes = torch.tensor([[4000.0, 4000.0, 4000.5, 4001.0], [4000.0, 4000.0, 4000.25, 4001.0]])  # IoU exactly 0.5
    for group in (0, 999):
        groups = torch.tensor([group, group])
        assert len(nms(boxes, torch.tensor([0.9, 0.8]), 0.5, 10, groups)) == 2
        assert len(nms(boxes, torch.tensor([0.9, 0.8]), 0.4999, 10, groups)) == 1


def decoded_example() -> torch.Tensor:
    """One image, two classes, four anchors: two on the same object, one elsewhere, one below every threshold."""
    boxes = torch.tensor([[50.0, 50, 20, 40], [50, 51, 20, 40], [150, 50, 20, 20], [250, 50, 10, 10]])
    scores = torch.tensor([[0.9, 0.6], [0.8, 0.7], [0.1, 0.3], [0.25, 0.0]])
    return torch.cat([boxes, scores], 1).T[None]


def test_multi_label_keeps_one_detection_per_class() -> None:
    (found,) = non_max_suppression(decoded_example(), NMSOptions())
    expected = [[40, 30, 60, 70, 0.9, 0], [40, 31, 60, 71, 0.7, 1], [140, 40, 160, 60, 0.3, 1]]
    assert torch.allclose(found, torch.tensor(expected))


def test_single_label_keeps_the_best_class_only() -> None:
    (found,) = non_max_suppression(decoded_example(), NMSOptions(multi_label=False))
    assert torch.allclose(found[:, 4:], torch.tensor([[0.9, 0.0], [0.3, 1.0]]))


def test_class_agnostic_suppresses_across_classes() -> None:
    (found,) = non_max_suppression(decoded_example(), NMSOptions(class_agnostic=True))
    assert torch.allclose(found[:, 4:], torch.tensor([[0.9, 0.0], [0.3, 1.0]]))


def test_confidence_is_exclusive_and_max_detections_a_limit() -> None:
    decoded = decoded_example()
    (all_found,) = non_max_suppression(decoded, NMSOptions(confidence=0.2))
    assert all_found[:, 4].tolist() == pytest.approx([0.9, 0.7, 0.3, 0.25])
    (found,) = non_max_suppression(decoded, NMSOptions(confidence=0.25))
    assert len(found) == 3
    (found,) = non_max_suppression(decoded, NMSOptions(confidence=0.2, max_detections=2))
    assert torch.equal(found, all_found[:2])


def test_images_are_independent_and_may_be_empty() -> None:
    decoded = torch.cat([torch.zeros(1, 6, 4), decoded_example()])
    empty, found = non_max_suppression(decoded, NMSOptions())
    assert empty.shape == (0, 6)
    assert torch.equal(found, non_max_suppression(decoded_example(), NMSOptions())[0])


def plain_detections(decoded: torch.Tensor, options: NMSOptions) -> list[list[float]]:
    """One image by lists and loops: candidates class by class, then the textbook."""
    boxes, scores, classes = [], [], []
    columns = decoded.T.tolist()
    for c in range(len(decoded) - 4):
        for column in columns:
            x, y, width, height, *probabilities = column
            if probabilities[c] > options.confidence:
                boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
                scores.append(probabilities[c])
                classes.append(c)
    groups = [0] * len(boxes) if options.class_agnostic else classes
    kept = textbook(boxes, scores, options.iou, options.max_detections, groups)
    return [[*boxes[i], scores[i], classes[i]] for i in kept]


@pytest.mark.parametrize("seed", range(100))
def test_detections_with_ties_equal_the_plain_loop(seed: int) -> None:
    boxes, _, _ = random_case(seed, 90, extent=30)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 8, (5, 90), generator=generator) / 8
    twins = torch.randint(0, 90, (2, 20), generator=generator)
    boxes[twins[0]] = boxes[twins[1]]  # equal boxes, some of equal scores
    decoded = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1).T
    decoded = torch.cat([decoded, scores])
    options = NMSOptions(
        confidence=[0.001, 0.3][seed % 2], iou=[0.3, 0.5, 0.65][seed % 3], max_detections=[20, 1000][seed // 2 % 2],
        multi_label=True, class_agnostic=seed % 5 == 0,
    )  # fmt: skip
    (found,) = non_max_suppression(decoded[None], options)
    assert found.tolist() == plain_detections(decoded, options)

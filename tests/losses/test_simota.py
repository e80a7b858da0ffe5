from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

import yolo.losses.assigner as shared
from tests.losses.cases import ANCHORS, NUM_CLASSES, SIDE, STRIDES, Case, as_dict, make_case, seeds, target_lists
from tests.losses.reference import SimOTA, read_anchors, read_targets
from yolo.boxes.anchors import make_anchors
from yolo.losses.assigner import OVERLAP_FLOOR, Assignment
from yolo.losses.simota import SimOTAAssigner

steady = settings(max_examples=150, deadline=None, derandomize=True)


def reference(case: Case, **options: float) -> SimOTA:
    return SimOTA(read_anchors(case.maps, STRIDES, 16), read_targets(case.targets), **options)  # type: ignore[arg-type]


def assert_same(found: Assignment, expected: SimOTA) -> None:
    actual = as_dict(found)
    assert {site: target for site, (target, _) in actual.items()} == expected.owner
    for site, (_, score) in actual.items():
        assert score == pytest.approx(expected.score[site], rel=1e-4)


@pytest.mark.parametrize(("radius", "candidates", "positives"), [(1.4, 4, 2), (2.5, 16, 4)])
def test_golden_table(radius: float, candidates: int, positives: int) -> None:
    """8 x 8 cells of 8 pixels, one target from 16 to 48, every prediction the anchor's centre plus and minus 12."""
    anchors = make_anchors([(8, 8)], [8])
    targets = torch.tensor([[0, 0, 16.0, 16, 48, 48]])
    boxes = torch.cat([anchors.points - 12, anchors.points + 12], dim=1)[None]
    assigner = SimOTAAssigner(radius)
    found = assigner.find_candidates(anchors, targets)
    ((_, row, _),) = found.parts
    assert len(row) == candidates
    result = assigner(torch.zeros(1, 64, 1), boxes, found)
    # The cheapest are the four whose prediction lies inside the target; two of them are the first two.
    middle = [3 * 8 + 3, 3 * 8 + 4, 4 * 8 + 3, 4 * 8 + 4]
    assert result.anchors.tolist() == middle[:positives]
    assert result.scores.tolist() == pytest.approx([24 * 24 / (32 * 32)] * positives)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [pytest.param(1, marks=pytest.mark.slow), 2**24])
@steady
@given(targets=target_lists(max_size=12), seed=seeds, radius=st.sampled_from([0.5, 1.4, 2.5, 99.0]),
       topq=st.sampled_from([1, 4, 10]), weight=st.sampled_from([0.0, 3.0]))  # fmt: skip
def test_is_the_plain_rule(
    limit: int, targets: list[list[float]], seed: int, radius: float, topq: int, weight: float
) -> None:
    case = make_case(targets, seed)
    expected = reference(case, radius=radius, topq=topq, weight=weight)
    assume(not expected.doubtful)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "TABLE_LIMIT", limit)  # 1: one target at a time
        assert_same(case.assign(SimOTAAssigner(radius, weight, topq)), expected)


@pytest.mark.parametrize("size", [2, 20, 200])
def test_a_crowd_of_equal_boxes_goes_to_the_first(size: int) -> None:
    targets = [[0, 1, 3, 3, 29, 29], [0, 1, 3, 3, 29, 29]] * (size // 2) + [[1, 0, 3, 3, 29, 29]]
    case = make_case(targets, 5)
    found = case.assign(SimOTAAssigner())
    assert_same(found, reference(case))
    assert set(found.targets.tolist()) == {0, size}


def test_a_target_without_candidates_gets_none() -> None:
    # The first box holds no anchor at all; the centre of the second is that of the one cell of stride 32.
    case = make_case([[0, 0, 5, 5, 11, 7], [0, 1, 0, 0, 32, 32]])
    assert as_dict(case.assign(SimOTAAssigner(radius=0.4))).keys() == {(0, 20)}
    assert set(case.assign(SimOTAAssigner()).targets.tolist()) == {1}
    assert len(make_case([[0, 0, 5, 5, 11, 7]]).assign(SimOTAAssigner()).anchors) == 0


def test_empty_images_and_empty_batches() -> None:
    found = make_case([[2, 0, 3, 3, 29, 29]], num_images=4).assign(SimOTAAssigner())
    assert set(found.images.tolist()) == {2}
    found = make_case([]).assign(SimOTAAssigner())
    assert all(len(x) == 0 for x in (found.images, found.anchors, found.targets, found.scores))
    assert found.scores.dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_diverged_predictions_do_not_break_the_assignment(value: float) -> None:
    case = make_case([[0, 0, 3, 3, 29, 29], [0, 1, 3, 3, 21, 29], [1, 1, 4, 4, 28, 28]], seed=3)
    alone = as_dict(case.assign(SimOTAAssigner()))
    for level in case.maps:
        level[0] = value
    found = case.assign(SimOTAAssigner())
    assert found.scores.isfinite().all()
    assert 0 in found.images
    assert {k: v for k, v in as_dict(found).items() if k[0] == 1} == {k: v for k, v in alone.items() if k[0] == 1}


def test_predictions_that_overlap_nothing_still_learn() -> None:
    anchors = make_anchors([(4, 4)], [8])
    assigner = SimOTAAssigner()
    found = assigner.find_candidates(anchors, torch.tensor([[0, 0, 0.0, 0, 32, 32]]))
    logits = torch.zeros(1, 16, 1)
    logits[0, 9] = 1
    result = assigner(logits, torch.full((1, 16, 4), 500.0), found)
    assert (result.anchors.tolist(), result.scores.tolist()) == ([9], pytest.approx([OVERLAP_FLOOR]))


@pytest.mark.slow
@steady
@given(target_lists(max_size=12), seeds, st.sampled_from([0.5, 2.5]), st.sampled_from([1, 10]))
def test_positives_are_candidates_and_not_too_many(
    targets: list[list[float]], seed: int, radius: float, topq: int
) -> None:
    case = make_case(targets, seed)
    found = case.assign(SimOTAAssigner(radius, topq=topq))
    points, strides = ANCHORS.points[found.anchors], ANCHORS.strides[found.anchors]
    box = case.targets[found.targets, 2:]
    assert ((points > box[:, :2]) & (points < box[:, 2:])).all()
    away = (points - (box[:, :2] + box[:, 2:]) / 2).abs().amax(dim=1)
    assert (away <= radius * strides).all()
    assert max(Counter(found.targets.tolist()).values(), default=0) <= topq
    hollow = {t for t, row in enumerate(case.targets) if not candidates_of(row, radius)}
    assert not hollow & set(found.targets.tolist())


def candidates_of(row: Tensor, radius: float) -> list[int]:
    x1, y1, x2, y2 = row[2:].tolist()
    places = zip(ANCHORS.points.tolist(), ANCHORS.strides.tolist(), strict=True)
    return [
        a
        for a, ((x, y), stride) in enumerate(places)
        if x1 < x < x2 and y1 < y < y2 and max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) <= radius * stride
    ]


def test_options_change_what_they_say() -> None:
    case = make_case([[0, c, 1, 1, SIDE - 1, SIDE - 1] for c in range(NUM_CLASSES)], seed=1)
    results = [
        as_dict(case.assign(SimOTAAssigner(**o))) for o in ({}, {"radius": 0.6}, {"iou_weight": 0.0}, {"topq": 1})
    ]
    assert all(a != b for i, a in enumerate(results) for b in results[:i])

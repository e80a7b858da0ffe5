from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

import yolo.losses.assigner as shared
from tests.losses.cases import (
    ANCHORS,
    NUM_ANCHORS,
    NUM_CLASSES,
    STRIDES,
    Case,
    as_dict,
    make_case,
    seeds,
    target_lists,
)
from tests.losses.reference import Assigner, Settings, read_anchors, read_targets
from yolo.losses import task_aligned
from yolo.losses.assigner import OVERLAP_FLOOR, Assignment
from yolo.losses.task_aligned import TaskAlignedAssigner


def one_hot(distances: list[int]) -> Tensor:
    """Logits `[64]` of boxes whose sides lie at these distances, in strides."""
    return 100.0 * torch.nn.functional.one_hot(torch.tensor(distances), 16).flatten()


def assert_same(found: Assignment, expected: Assigner) -> None:
    actual = as_dict(found)
    assert {site: target for site, (target, _) in actual.items()} == expected.owner
    for site, (_, score) in actual.items():
        assert score == pytest.approx(expected.score[site], rel=1e-4)


def reference(case: Case, topk: int = 13) -> Assigner:
    return Assigner(read_anchors(case.maps, STRIDES, 16), read_targets(case.targets), Settings(topk=topk))


steady = settings(max_examples=60, deadline=None, derandomize=True)


@steady
@given(target_lists(), seeds)
def test_every_target_gets_an_anchor_and_every_anchor_one_owner(targets: list[list[float]], seed: int) -> None:
    case = make_case(targets, seed)
    found = case.assign()
    sites = list(zip(found.images.tolist(), found.anchors.tolist(), strict=True))
    assert sites == sorted(set(sites))
    assert torch.equal(case.targets[found.targets, 0].long(), found.images)
    for image in range(2):
        mine = [t for t, target in enumerate(targets) if target[0] == image]
        served = set(found.targets[found.images == image].tolist())
        assert len(served) == min(len(mine), NUM_ANCHORS)
    assert max(Counter(found.targets.tolist()).values(), default=0) <= 13
    assert (found.scores > 0).all()
    assert (found.scores <= 1).all()


@steady
@given(target_lists(max_size=6), seeds, st.sampled_from([1, 3, 13]), st.sampled_from([1, 2 * NUM_ANCHORS, 2**24]))
def test_without_starvation_it_is_the_plain_rule(targets: list[list[float]], seed: int, topk: int, limit: int) -> None:
    case = make_case(targets, seed)
    expected = reference(case, topk)
    assume(not expected.starved)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "TABLE_LIMIT", limit)
        assert_same(case.assign(TaskAlignedAssigner(topk)), expected)


@pytest.mark.slow
@steady
@given(target_lists(max_size=15), seeds, st.sampled_from([1, 3, 13]))
def test_fed_one_by_one_each_starved_target_takes_its_best(targets: list[list[float]], seed: int, topk: int) -> None:
    case = make_case(targets, seed)
    expected = reference(case, topk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "TABLE_LIMIT", 1)  # one target at a time, as the reference does
        assert_same(case.assign(TaskAlignedAssigner(topk)), expected)


@steady
@given(target_lists(num_images=4), seeds, st.permutations(range(4)))
def test_permuting_the_images_permutes_the_result(targets: list[list[float]], seed: int, order: list[int]) -> None:
    case = make_case(targets, seed, num_images=4)
    moved = Case([level[torch.tensor(order)] for level in case.maps], case.targets.clone())
    moved.targets[:, 0] = torch.tensor([order.index(int(image)) for image in case.targets[:, 0]])
    expected = {(order.index(image), anchor): value for (image, anchor), value in as_dict(case.assign()).items()}
    assert as_dict(moved.assign()) == expected


def test_centre_on_the_border_is_outside_and_nearest_anchor_serves_instead() -> None:
    # Touches the centres at 4 and 12 without containing one; its own centre (8, 8) is that of the first stride-16 cell.
    found = make_case([[0, 0, 4, 4, 12, 12]]).assign()
    assert as_dict(found).keys() == {(0, 16)}
    # (20, 20) of stride 8 and (24, 24) of stride 16 are equally near in pixels: the lower index wins.
    found = make_case([[1, 0, 21, 21, 23, 23]]).assign()
    assert as_dict(found).keys() == {(1, 2 * 4 + 2)}


def test_targets_without_a_centre_contest_their_nearest_anchor_by_overlap() -> None:
    targets = torch.tensor([[0, 0, 9, 9, 10, 10], [0, 0, 9, 9, 10, 10.5]])  # both nearest to (8, 8) of stride 16
    logits, boxes = torch.zeros(1, NUM_ANCHORS, NUM_CLASSES), torch.zeros(1, NUM_ANCHORS, 4)
    assigner = TaskAlignedAssigner()
    found = assigner(logits, boxes, assigner.find_candidates(ANCHORS, targets))
    assert as_dict(found)[0, 16][0] == 0  # nothing overlaps: the lower target
    boxes[0, 16] = targets[1, 2:]
    found = assigner(logits, boxes, assigner.find_candidates(ANCHORS, targets))
    assert as_dict(found)[0, 16] == (1, 1.0)
    assert found.targets.tolist().count(0) == 1


def test_target_that_nothing_overlaps_still_pulls_its_anchors() -> None:
    case = make_case([[0, 1, 0, 0, 32, 32]])
    for level in case.maps:
        level[:, :64] = one_hot([0, 0, 0, 0])[:, None, None]
    found = case.assign()  # every predicted box is a point
    assert len(found.scores) == 13
    assert found.scores.max().item() == pytest.approx(OVERLAP_FLOOR)


def test_equal_predictions_rank_by_index() -> None:
    case = make_case([[0, 1, 0, 0, 32, 32], [0, 1, 0, 0, 32, 32]])
    for level in case.maps:
        level[:, :64] = one_hot([0, 0, 0, 0])[:, None, None]  # points: every overlap is at the floor
        level[:, 64:] = 0
    found = case.assign()
    assert found.anchors.tolist() == list(range(13))
    assert found.targets.tolist() == [1] + [0] * 12  # both want the same 13; the starved second takes the first of them


def test_a_pile_of_equal_targets_is_served_in_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0
    propose = task_aligned._propose

    def counting(*args: object) -> tuple[Tensor, Tensor]:
        nonlocal rounds
        rounds += 1
        return propose(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(task_aligned, "_propose", counting)
    found = make_case([[0, 0, 3, 3, 29, 29]] * NUM_ANCHORS).assign()
    assert found.targets.unique().tolist() == list(range(NUM_ANCHORS))
    assert rounds <= 4


def test_more_targets_than_anchors_use_every_anchor() -> None:
    found = make_case([[0, 0, 3, 3, 29, 29]] * 50 + [[1, 0, 3, 3, 29, 29]]).assign()
    assert found.anchors[found.images == 0].tolist() == list(range(NUM_ANCHORS))
    assert len(found.targets[found.images == 0].unique()) == NUM_ANCHORS
    assert 50 in found.targets


def test_no_targets() -> None:
    found = make_case([]).assign()
    assert all(len(x) == 0 for x in (found.images, found.anchors, found.targets, found.scores))
    assert found.scores.dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_diverged_predictions_do_not_break_the_assignment(value: float) -> None:
    case = make_case([[0, 0, 3, 3, 29, 29], [0, 1, 3, 3, 29, 29], [1, 1, 4, 4, 6, 6]])
    for level in case.maps:
        level[0] = value
    found = case.assign()
    assert found.targets.unique().tolist() == [0, 1, 2]
    assert found.scores.isfinite().all()


def test_extremely_unlikely_classes_do_not_underflow() -> None:
    case = make_case([[0, 0, 0, 0, 32, 32]])
    for level in case.maps:
        level[:, 64:] -= 500  # the probability is 0 in float32
    scores = case.assign().scores
    assert scores.isfinite().all()
    assert scores.max() >= OVERLAP_FLOOR
    assert len(scores.unique()) == 13

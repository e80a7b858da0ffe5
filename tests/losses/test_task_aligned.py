from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.losses.reference import Assigner, Settings, read_anchors, read_targets
from yolo.boxes.anchors import make_anchors
from yolo.boxes.decode import distances_to_boxes, expected_distances, flatten_maps
from yolo.losses import task_aligned
from yolo.losses.task_aligned import OVERLAP_FLOOR, Assignment, TaskAlignedAssigner, find_candidates

STRIDES = (8, 16, 32)
SIDE = 32  # 16 + 4 + 1 = 21 anchors: few enough that targets really compete
SIZES = [(SIDE // stride, SIDE // stride) for stride in STRIDES]
ANCHORS = make_anchors(SIZES, STRIDES)
NUM_ANCHORS = len(ANCHORS.points)
NUM_CLASSES = 3
BINS = torch.arange(16.0)


@dataclass
class Case:
    maps: list[Tensor]
    targets: Tensor

    def assign(self, topk: int = 13) -> Assignment:
        box_logits, class_logits = flatten_maps(self.maps, NUM_CLASSES)
        distances = expected_distances(box_logits, BINS) * ANCHORS.strides[:, None]
        boxes = distances_to_boxes(ANCHORS.points, distances)
        return TaskAlignedAssigner(topk)(class_logits, boxes, find_candidates(ANCHORS.points, self.targets))


def make_case(targets: Sequence[Sequence[float]], seed: int = 0, num_images: int = 2) -> Case:
    generator = torch.Generator().manual_seed(seed)
    slope = torch.arange(16.0).repeat(4)[:, None, None]  # short distances are likelier, so that boxes overlap targets
    maps = []
    for height, width in SIZES:
        level = torch.randn(num_images, 64 + NUM_CLASSES, height, width, generator=generator) * 2
        level[:, :64] -= 0.7 * slope
        maps.append(level)
    return Case(maps, torch.tensor(targets, dtype=torch.float32).view(-1, 6))


def one_hot(distances: list[int]) -> Tensor:
    """Logits `[64]` of boxes whose sides lie at these distances, in strides."""
    return 100.0 * torch.nn.functional.one_hot(torch.tensor(distances), 16).flatten()


def as_dict(found: Assignment) -> dict[tuple[int, int], tuple[int, float]]:
    rows = zip(*(x.tolist() for x in (found.images, found.anchors, found.targets, found.scores)), strict=True)
    return {(image, anchor): (target, score) for image, anchor, target, score in rows}


def assert_same(found: Assignment, expected: Assigner) -> None:
    actual = as_dict(found)
    assert {site: target for site, (target, _) in actual.items()} == expected.owner
    for site, (_, score) in actual.items():
        assert score == pytest.approx(expected.score[site], rel=1e-4)


def reference(case: Case, topk: int = 13) -> Assigner:
    return Assigner(read_anchors(case.maps, STRIDES, 16), read_targets(case.targets), Settings(topk=topk))


@st.composite
def target_lists(draw: st.DrawFn, num_images: int = 2, max_size: int = 40) -> list[list[float]]:
    def target() -> list[float]:
        x, y = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
        width, height = draw(st.integers(1, SIDE)), draw(st.integers(1, SIDE))
        image, label = draw(st.integers(0, num_images - 1)), draw(st.integers(0, NUM_CLASSES - 1))
        return [image, label, x, y, min(x + width, SIDE), min(y + height, SIDE)]

    return [target() for _ in range(draw(st.integers(0, max_size)))]


seeds = st.integers(0, 2**31)
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
        patch.setattr(task_aligned, "_TABLE_LIMIT", limit)
        assert_same(case.assign(topk), expected)


@steady
@given(target_lists(max_size=15), seeds, st.sampled_from([1, 3, 13]))
def test_fed_one_by_one_each_starved_target_takes_its_best(targets: list[list[float]], seed: int, topk: int) -> None:
    case = make_case(targets, seed)
    expected = reference(case, topk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_aligned, "_TABLE_LIMIT", 1)  # one target at a time, as the reference does
        assert_same(case.assign(topk), expected)


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
    found = TaskAlignedAssigner()(logits, boxes, find_candidates(ANCHORS.points, targets))
    assert as_dict(found)[0, 16][0] == 0  # nothing overlaps: the lower target
    boxes[0, 16] = targets[1, 2:]
    found = TaskAlignedAssigner()(logits, boxes, find_candidates(ANCHORS.points, targets))
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

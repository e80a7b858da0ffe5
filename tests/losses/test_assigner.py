"""What holds for every assigner, whatever the predictions: each property over 150 random batches.

The files of the assigners have the quick tests.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.losses.cases import ANCHORS, NUM_ANCHORS, Case, as_dict, make_case, seeds, target_lists
from tests.losses.reference import Assigner as PlainTaskAligned
from tests.losses.reference import Settings, read_anchors, read_targets
from yolo.losses.assigner import Assigner, is_inside, rank_index, rank_key
from yolo.losses.simota import SimOTAAssigner
from yolo.losses.task_aligned import TaskAlignedAssigner

pytestmark = pytest.mark.slow
Targets = list[list[float]]
ASSIGNERS = {
    "task_aligned": TaskAlignedAssigner(),
    "simota": SimOTAAssigner(),
    "wide simota": SimOTAAssigner(radius=99),
}
steady = settings(max_examples=150, deadline=None, derandomize=True)
every_assigner = pytest.mark.parametrize("assigner", ASSIGNERS.values(), ids=ASSIGNERS.keys())


@every_assigner
@steady
@given(targets=target_lists(), seed=seeds)
def test_an_anchor_has_one_target_of_its_image_and_scores_are_shares(
    assigner: Assigner, targets: Targets, seed: int
) -> None:
    case = make_case(targets, seed)
    found = case.assign(assigner)
    sites = list(zip(found.images.tolist(), found.anchors.tolist(), strict=True))
    assert sites == sorted(set(sites))
    assert torch.equal(case.targets[found.targets, 0].long(), found.images)
    assert (found.scores > 0).all()
    assert (found.scores <= 1).all()


@every_assigner
@steady
@given(targets=target_lists(num_images=3), seed=seeds)
def test_images_are_independent(assigner: Assigner, targets: Targets, seed: int) -> None:
    case = make_case(targets, seed, num_images=3)
    together = as_dict(case.assign(assigner))
    apart = {}
    for image in range(3):
        rows = [t for t, target in enumerate(targets) if target[0] == image]
        alone = Case([level[image : image + 1] for level in case.maps], case.targets[rows].clone())
        alone.targets[:, 0] = 0
        for (_, anchor), (target, score) in as_dict(alone.assign(assigner)).items():
            apart[image, anchor] = rows[target], score
    assert together == apart


@every_assigner
@steady
@given(targets=target_lists(max_size=6), seed=seeds, data=st.data())
def test_permuting_the_targets_permutes_the_result(
    assigner: Assigner, targets: Targets, seed: int, data: st.DataObject
) -> None:
    case = make_case(targets, seed)
    if isinstance(assigner, TaskAlignedAssigner):
        assume(not order_matters(case))
    order = data.draw(st.permutations(range(len(targets))))
    moved = Case(case.maps, case.targets[torch.tensor(order, dtype=torch.int64)])

    def contents(some: Case) -> dict:
        """Targets by class and box: which of two equal ones an anchor has is a tie."""
        return {site: (some.targets[t].tolist(), score) for site, (t, score) in as_dict(some.assign(assigner)).items()}

    assert contents(case) == contents(moved)


def order_matters(case: Case) -> bool:
    """Whether starved targets are fed in turn, or two targets overlap the prediction of a positive equally."""
    plain = PlainTaskAligned(read_anchors(case.maps, (8, 16, 32), 16), read_targets(case.targets), Settings())
    if plain.starved:
        return True
    overlaps = Counter(
        (t.image, a, o) for t, of in zip(plain.targets, plain.overlap, strict=True) for a, o in of.items()
    )
    claimed = {(*site, plain.overlap[t][site[1]]) for site, t in plain.owner.items()}
    return any(overlaps[claim] > 1 for claim in claimed)


@steady
@given(target_lists(), seeds)
def test_task_aligned_gives_every_target_an_anchor_while_there_are_enough(targets: Targets, seed: int) -> None:
    case = make_case(targets, seed)
    found = case.assign(TaskAlignedAssigner())
    for image in range(2):
        mine = {t for t, target in enumerate(targets) if target[0] == image}
        served = set(found.targets[found.images == image].tolist())
        assert len(served) == min(len(mine), NUM_ANCHORS)
        assert served <= mine
    assert max(Counter(found.targets.tolist()).values(), default=0) <= 13


@steady
@given(target_lists(), seeds)
def test_task_aligned_positives_are_inside_their_box_or_a_target_s_only_one(targets: Targets, seed: int) -> None:
    case = make_case(targets, seed)
    found = case.assign(TaskAlignedAssigner())
    inside = is_inside(ANCHORS.points, case.targets[:, 2:])[found.targets, found.anchors]
    held = torch.bincount(found.targets, minlength=len(targets))
    assert (held[found.targets[~inside]] == 1).all()


@steady
@given(target_lists(max_size=1), seeds)
def test_task_aligned_target_alone_in_its_image_has_anchors_inside_or_the_nearest(targets: Targets, seed: int) -> None:
    assume(targets)
    found = make_case(targets, seed).assign(TaskAlignedAssigner())
    x1, y1, x2, y2 = targets[0][2:]
    centre = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2])
    inside = {a for a, (x, y) in enumerate(ANCHORS.points.tolist()) if x1 < x < x2 and y1 < y < y2}
    nearest = int((ANCHORS.points - centre).square().sum(dim=1).argmin())
    assert set(found.anchors.tolist()) <= (inside or {nearest})
    assert len(found.anchors) == min(len(inside) or 1, 13)


@steady
@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.integers(0, 2**30 - 1)), min_size=2, max_size=20))
def test_rank_keys_sort_by_value_then_by_falling_index(pairs: list[tuple[float, int]]) -> None:
    value, index = torch.tensor([v for v, _ in pairs]), torch.tensor([i for _, i in pairs])
    key = rank_key(value, index)
    assert torch.equal(rank_index(key), index)
    assert 0 <= key.min() <= key.max() < 2**62
    by_key = sorted(pairs, key=lambda pair: rank_key(torch.tensor([pair[0]]), torch.tensor([pair[1]])).item())
    assert by_key == sorted(pairs, key=lambda pair: (pair[0], -pair[1]))

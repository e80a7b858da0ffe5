from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from tests.losses.reference import Settings, branch_loss, read_anchors, read_targets
from yolo.boxes.iou import BoxIoUKind
from yolo.losses.detection import DetectionLoss, LossOptions, LossResult

STRIDES = (8, 16, 32)
BINS = torch.arange(16.0)
NUM_CLASSES = 3
Maps = tuple[Tensor, ...]


def make_maps(seed: int, num_images: int, side: int = 64) -> Maps:
    generator = torch.Generator().manual_seed(seed)
    slope = 0.4 * torch.arange(16.0).repeat(4)[:, None, None]  # short distances are likelier
    maps = []
    for stride in STRIDES:
        level = torch.randn(num_images, 64 + NUM_CLASSES, side // stride, side // stride, generator=generator) * 1.5
        level[:, :64] -= slope
        maps.append(level.requires_grad_())
    return tuple(maps)


def make_targets(seed: int, num_images: int, most: int, side: int = 64) -> Tensor:
    """Up to `most` boxes in each image; every third image is empty, and every tenth batch."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for image in range(num_images):
        count = 0 if seed % 10 == 0 or (seed + image) % 3 == 0 else 1 + (seed * 7 + image) % most
        size = 2 + torch.rand(count, 2, generator=generator) * side * 0.8
        corner = torch.rand(count, 2, generator=generator) * (side - size).clamp(min=0)
        label = torch.randint(0, NUM_CLASSES, (count, 1), generator=generator)
        rows.append(torch.cat([torch.full((count, 1), image), label, corner, (corner + size).clamp(max=side)], 1))
    return torch.cat(rows)


def run(branches: tuple[Maps, ...], targets: Tensor, options: LossOptions | None = None) -> LossResult:
    return DetectionLoss(options)(branches, targets, STRIDES, BINS)


@pytest.mark.parametrize("seed", range(50))
def test_equals_the_slow_float64_reference(seed: int) -> None:
    num_images = 1 + seed % 3
    maps, targets = make_maps(seed, num_images), make_targets(seed, num_images, most=6)
    loss_type: Literal["bce", "varifocal"] = "varifocal" if seed % 5 == 4 else "bce"
    pos_weight = 2.5 if seed % 5 == 3 else 1.0
    result = run((maps,), targets, LossOptions(cls_loss_type=loss_type, cls_pos_weight=pos_weight))

    settings = Settings(varifocal=loss_type == "varifocal", pos_weight=pos_weight)
    expected = branch_loss(read_anchors(maps, STRIDES, 16), read_targets(targets), settings)
    expected = {"box": 7.5 * expected["box"], "cls": 0.5 * expected["cls"], "dfl": 1.5 * expected["dfl"]}
    for name, value in expected.items():
        assert result.parts[name].item() == pytest.approx(value, rel=1e-5)
    assert result.total.item() == pytest.approx(sum(expected.values()) * num_images, rel=1e-5)


def test_auxiliary_branch_adds_a_quarter_of_its_own_loss() -> None:
    targets = make_targets(1, 3, most=6)
    main, auxiliary = make_maps(1, 3), make_maps(2, 3)
    both, one, other = (run(branches, targets) for branches in ((main, auxiliary), (main,), (auxiliary,)))
    assert both.total.item() == pytest.approx((one.total + 0.25 * other.total).item(), rel=1e-6)
    assert both.parts == one.parts  # logs leave the auxiliary branch out
    assert other.total.item() != pytest.approx(one.total.item(), rel=1e-2)


def test_box_and_class_terms_reach_their_logits_and_only_those() -> None:
    maps, targets = make_maps(1, 2), make_targets(1, 2, most=6)
    box_only = LossOptions(cls_loss_weight=0, dfl_loss_weight=0)
    cls_only = LossOptions(box_loss_weight=0, dfl_loss_weight=0)
    dfl_only = LossOptions(box_loss_weight=0, cls_loss_weight=0)
    for options, reached in ((box_only, slice(None, 64)), (cls_only, slice(64, None)), (dfl_only, slice(None, 64))):
        gradients = torch.autograd.grad(run((maps,), targets, options).total, maps)
        inside = torch.cat([gradient[:, reached].flatten() for gradient in gradients])
        assert inside.isfinite().all()
        assert inside.abs().max() > 1e-4
        everything = torch.cat([gradient.flatten() for gradient in gradients])
        assert everything.abs().sum().item() == pytest.approx(inside.abs().sum().item(), rel=1e-6)


@pytest.mark.parametrize("options", [LossOptions(), LossOptions(cls_loss_type="vfl"), LossOptions(assigner="simota")])
def test_gradient_steps_learn_the_boxes(options: LossOptions) -> None:
    maps, targets = make_maps(1, 2), make_targets(1, 2, most=4)
    optimizer = torch.optim.Adam(maps, lr=0.3)
    losses = []
    for _ in range(40):
        result = run((maps,), targets, options)
        losses.append(result.parts["box"].item())
        optimizer.zero_grad()
        result.total.backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


def test_no_targets_at_all() -> None:
    main, auxiliary = make_maps(0, 2), make_maps(1, 2)
    result = run((main, auxiliary), torch.zeros(0, 6))
    assert result.parts["box"] == 0
    assert result.parts["dfl"] == 0
    assert result.parts["cls"] > 0
    for gradient in torch.autograd.grad(result.total, (*main, *auxiliary)):  # raises where a map is not in the graph
        assert (gradient[:, :64] == 0).all()
        assert (gradient[:, 64:] > 0).all()


def test_box_terms_stay_in_the_graph_without_targets() -> None:
    result = run((make_maps(0, 2),), torch.zeros(0, 6), LossOptions(cls_loss_weight=0))
    assert result.total == 0
    assert result.total.requires_grad


def test_varifocal_has_two_names() -> None:
    maps, targets = make_maps(1, 2), make_targets(1, 2, most=6)
    short, long = (run((maps,), targets, LossOptions(cls_loss_type=name)) for name in ("vfl", "varifocal"))
    assert torch.equal(short.total, long.total)
    assert short.total != run((maps,), targets).total


def test_reduce_sum_gives_the_divisor() -> None:
    maps, targets = make_maps(1, 2), make_targets(1, 2, most=6)
    alone = run((maps,), targets)
    seen: list[float] = []

    def four_times(total: Tensor) -> Tensor:
        seen.append(total.item())
        return total * 4

    shared = DetectionLoss()((maps,), targets, STRIDES, BINS, reduce_sum=four_times)
    assert len(seen) == 1
    assert seen[0] > 1
    assert shared.total.item() == pytest.approx(alone.total.item() / 4, rel=1e-6)


def test_processes_divide_by_their_share_of_at_least_one() -> None:
    maps, targets = make_maps(1, 2), make_targets(1, 2, most=6)
    undivided = DetectionLoss()((maps,), targets, STRIDES, BINS, reduce_sum=torch.ones_like)
    shared = DetectionLoss()(
        (maps,), targets, STRIDES, BINS, reduce_sum=lambda total: total.new_full([1], 0.3), num_processes=4
    )
    assert shared.total.item() == pytest.approx(4 * undivided.total.item(), rel=1e-6)


def test_mixed_precision_computes_in_float32() -> None:
    targets = make_targets(1, 2, most=6)
    half = tuple(level.detach().bfloat16().requires_grad_() for level in make_maps(1, 2))
    full = tuple(level.detach().float() for level in half)
    expected = run((full,), targets).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = run((half,), targets).total
    assert actual.dtype == torch.float32
    assert actual.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.autograd.grad(actual, half)[0].dtype == torch.bfloat16


def test_memory_format_changes_nothing() -> None:
    maps, targets = make_maps(1, 2), make_targets(1, 2, most=6)
    last = tuple(level.to(memory_format=torch.channels_last) for level in maps)
    assert run((last,), targets).total.item() == pytest.approx(run((maps,), targets).total.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, 3, 1, 1, 9, 9], "class 3 is out of range: expected 0 to 2"),
        ([0, -1, 1, 1, 9, 9], "class -1 is out of range"),
        ([2, 0, 1, 1, 9, 9], "image index 2 is out of range: expected 0 to 1"),
        ([0, float("nan"), 1, 1, 9, 9], "class nan is out of range"),
    ],
)
def test_targets_that_point_nowhere_are_refused(row: list[float], message: str) -> None:
    targets = torch.tensor([[0.0, 0, 1, 1, 9, 9], row])
    with pytest.raises(ValueError, match=message):
        run((make_maps(0, 2),), targets)


def test_targets_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \[4, 5\]"):
        run((make_maps(0, 2),), torch.zeros(4, 5))


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou", "siou", "mpdiou"])
def test_every_box_loss_pulls_the_boxes(kind: BoxIoUKind) -> None:
    maps, targets = make_maps(1, 2), make_targets(1, 2, most=6)
    result = run((maps,), targets, LossOptions(box_loss_type=kind, cls_loss_weight=0, dfl_loss_weight=0))
    gradients = torch.autograd.grad(result.total, maps)
    assert all(g.isfinite().all() for g in gradients)
    assert sum(g.abs().sum() for g in gradients) > 0
    reference = run((maps,), targets, LossOptions(cls_loss_weight=0, dfl_loss_weight=0))
    assert (result.total.item() == reference.total.item()) == (kind == "ciou")


def test_quality_focal_has_two_names() -> None:
    maps, targets = make_maps(1, 2), make_targets(1, 2, most=6)
    short, long = (run((maps,), targets, LossOptions(cls_loss_type=name)) for name in ("qfl", "quality_focal"))
    assert short.parts["cls"] == long.parts["cls"] > 0
    assert short.parts["cls"] != run((maps,), targets, LossOptions()).parts["cls"]


def test_simota_is_chosen_by_option() -> None:
    maps, targets = make_maps(1, 2), make_targets(1, 2, most=6)
    result = run((maps,), targets, LossOptions(assigner="simota"))
    gradients = torch.autograd.grad(result.total, maps)
    assert all(g.isfinite().all() for g in gradients)
    assert result.total.item() != run((maps,), targets).total.item()
    narrow = run((maps,), targets, LossOptions(assigner="simota", assigner_radius=1e-6))
    assert (narrow.parts["box"], narrow.parts["dfl"]) == (0, 0)  # no candidates, no positives
    assert narrow.parts["cls"] > 0
    other = [{"assigner_topq": 1}, {"assigner_lambda": 0.0}]
    assert len({run((maps,), targets, LossOptions(assigner="simota", **o)).total.item() for o in [{}, *other]}) == 3

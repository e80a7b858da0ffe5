from __future__ import annotations

import math

import pytest
import torch

from yolo.boxes.iou import BoxIoUKind, box_iou

KINDS: list[BoxIoUKind] = ["iou", "giou", "diou", "ciou", "siou", "mpdiou"]
IMAGE = (30, 40)  # squared diagonal 2500


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_identical_boxes_give_exactly_one(kind: BoxIoUKind) -> None:
    boxes = random_boxes(100, 0).float()
    assert torch.equal(box_iou(boxes, boxes, kind, image_size=IMAGE), torch.ones(100))


# a = 4 x 4 at the origin, b = 2 x 4 shifted right by 3: intersection 1 x 4, union 16 + 8 - 4 = 20, hull 5 x 4.
ASPECT = 4 / math.pi**2 * (math.atan(1) - math.atan(0.5)) ** 2
OVERLAPPING = {
    "iou": 0.2,
    "giou": 0.2 - (20 - 20) / 20,
    "diou": 0.2 - 2**2 / (5**2 + 4**2),
    "ciou": 0.2 - 2**2 / (5**2 + 4**2) - ASPECT**2 / (1 - 0.2 + ASPECT),
    # Shift along x only: angle 0, so the distance cost is 1 - exp(-2 (2/5)^2); widths 4 and 2, heights equal.
    "siou": 0.2 - (1 - math.exp(-2 * (2 / 5) ** 2) + (1 - math.exp(-2 / 4)) ** 4) / 2,
    "mpdiou": 0.2 - (3**2 + 1**2) / 2500,
}
# a = 2 x 2 at the origin, b = 2 x 2 at (6, 8): no intersection, union 8, hull 8 x 10, same aspect ratio.
APART = {
    "iou": 0.0,
    "giou": -(80 - 8) / 80,
    "diou": -(6**2 + 8**2) / (8**2 + 10**2),
    "ciou": -(6**2 + 8**2) / (8**2 + 10**2),
    # sin(2 alpha) = 2 * 0.6 * 0.8 for a shift of (6, 8); same shape.
    "siou": -(2 - math.exp(-(2 - 0.96) * (6 / 8) ** 2) - math.exp(-(2 - 0.96) * (8 / 10) ** 2)) / 2,
    "mpdiou": -2 * (6**2 + 8**2) / 2500,
}
# a = 8 x 8 at the origin, b = 4 x 2 at (2, 2) inside it: intersection 8, union and hull 64, centres 1 apart along y.
INSIDE_ASPECT = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2
INSIDE = {
    "iou": 0.125,
    "giou": 0.125,
    "diou": 0.125 - 1 / 128,
    "ciou": 0.125 - 1 / 128 - INSIDE_ASPECT**2 / (1 - 0.125 + INSIDE_ASPECT),
    "siou": 0.125 - (1 - math.exp(-2 / 64) + (1 - math.exp(-4 / 8)) ** 4 + (1 - math.exp(-6 / 8)) ** 4) / 2,
    "mpdiou": 0.125 - (2**2 + 2**2 + 2**2 + 4**2) / 2500,
}
# a = 2 x 2 at the origin, b the same to its right, sharing an edge: union and hull 8, centres 2 apart along x.
TOUCHING = {
    "iou": 0.0,
    "giou": 0.0,
    "diou": -4 / 20,
    "ciou": -4 / 20,
    "siou": -(1 - math.exp(-2 * (2 / 4) ** 2)) / 2,
    "mpdiou": -(2**2 + 2**2) / 2500,
}
GOLDEN = {
    "overlapping": ([0, 0, 4, 4], [3, 0, 5, 4], OVERLAPPING),
    "apart": ([0, 0, 2, 2], [6, 8, 8, 10], APART),
    "inside": ([0, 0, 8, 8], [2, 2, 6, 4], INSIDE),
    "touching": ([0, 0, 2, 2], [2, 0, 4, 2], TOUCHING),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("a", "b", "expected"), GOLDEN.values(), ids=GOLDEN.keys())
def test_hand_computed_pairs(kind: BoxIoUKind, a: list[int], b: list[int], expected: dict[str, float]) -> None:
    first, second = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    assert box_iou(first, second, kind, image_size=IMAGE).item() == pytest.approx(expected[kind], abs=1e-12)
    assert box_iou(second, first, kind, image_size=IMAGE).item() == pytest.approx(expected[kind], abs=1e-12)


def test_mpdiou_needs_the_image() -> None:
    with pytest.raises(ValueError, match="image_size must be given"):
        box_iou(torch.rand(1, 4), torch.rand(1, 4), "mpdiou")


@pytest.mark.parametrize("kind", KINDS)
def test_pairwise_by_broadcasting_equals_one_by_one(kind: BoxIoUKind) -> None:
    a, b = random_boxes(4, 1), random_boxes(5, 2)
    pairwise = box_iou(a[:, None], b[None], kind, image_size=IMAGE)
    assert pairwise.shape == (4, 5)
    for i in range(4):
        for j in range(5):
            assert pairwise[i, j] == pytest.approx(box_iou(a[i], b[j], kind, image_size=IMAGE).item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    large = torch.tensor([0.0, 0.0, 640.0, 640.0], dtype=dtype)  # the area overflows float16
    overlap = box_iou(large, large)
    assert overlap.dtype == torch.float32
    assert overlap == 1


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_without_area_are_finite_and_have_finite_gradients(kind: BoxIoUKind) -> None:
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]], requires_grad=True)
    for other in (torch.tensor([[3.0, 3.0, 3.0, 3.0]]), torch.tensor([[0.0, 0.0, 8.0, 8.0]])):
        overlap = box_iou(point, other, kind, image_size=IMAGE)
        (gradient,) = torch.autograd.grad(overlap.sum(), point)
        assert overlap.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_symmetric_and_unchanged_by_moving_or_scaling_everything(kind: BoxIoUKind) -> None:
    a, b = random_boxes(100, 7), random_boxes(100, 8)
    expected = box_iou(a, b, kind, image_size=IMAGE)
    shift = torch.tensor([5.0, -3, 5, -3], dtype=torch.float64)
    for moved in (box_iou(a + shift, b + shift, kind, image_size=IMAGE), box_iou(b, a, kind, image_size=IMAGE)):
        torch.testing.assert_close(moved, expected, rtol=1e-9, atol=1e-9)
    scaled = box_iou(3 * a, 3 * b, kind, image_size=(3 * IMAGE[0], 3 * IMAGE[1]))
    torch.testing.assert_close(scaled, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "siou", "mpdiou"])
def test_gradients_match_finite_differences(kind: BoxIoUKind) -> None:
    a, b = random_boxes(20, 3).requires_grad_(), random_boxes(20, 4)
    assert torch.autograd.gradcheck(lambda x: box_iou(x, b, kind, image_size=IMAGE), a)


def test_ciou_gradient_takes_the_trade_off_weight_as_constant() -> None:
    a, b = random_boxes(20, 5).requires_grad_(), random_boxes(20, 6)
    width, height = (a[:, 2:] - a[:, :2]).unbind(1)
    angle = torch.atan(width / height) - torch.atan((b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1]))
    aspect = 4 / math.pi**2 * angle**2
    weight = (aspect / (1 - box_iou(a, b) + aspect)).detach()
    expected = torch.autograd.grad((box_iou(a, b, "diou") - weight * aspect).sum(), a)[0]
    actual = torch.autograd.grad(box_iou(a, b, "ciou").sum(), a)[0]
    assert torch.allclose(actual, expected, rtol=1e-10, atol=1e-12)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'alpha'"):
        box_iou(torch.zeros(4), torch.zeros(4), "alpha")  # type: ignore[arg-type]

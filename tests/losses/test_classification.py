from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from yolo.losses.classification import Index, bce_sum, quality_focal_sum, varifocal_sum


def example(positives: int) -> tuple[Tensor, Index, Tensor, Tensor]:
    """Logits, positions, their scores, and the same as a dense target tensor."""
    generator = torch.Generator().manual_seed(positives)
    logits = torch.randn(3, 20, 5, generator=generator, dtype=torch.float64) * 6
    chosen = torch.randperm(logits.numel(), generator=generator)[:positives]
    index = (chosen // 100, chosen // 5 % 20, chosen % 5)
    scores = torch.rand(positives, generator=generator, dtype=torch.float64)
    target = torch.zeros_like(logits)
    target[index] = scores
    return logits.requires_grad_(), index, scores, target


def assert_same_value_and_gradient(actual: Tensor, expected: Tensor, logits: Tensor) -> None:
    assert actual.item() == pytest.approx(expected.item(), rel=1e-12)
    gradient, wanted = (torch.autograd.grad(loss, logits)[0] for loss in (actual, expected))
    assert torch.allclose(gradient, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("positives", [0, 1, 40])
@pytest.mark.parametrize("pos_weight", [1.0, 3.0])
def test_bce_equals_the_dense_loss(positives: int, pos_weight: float) -> None:
    logits, index, scores, target = example(positives)
    weight = torch.tensor(pos_weight, dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction="sum", pos_weight=weight)
    assert_same_value_and_gradient(bce_sum(logits, index, scores, pos_weight), expected, logits)


@pytest.mark.parametrize("positives", [0, 1, 40])
def test_varifocal_equals_the_dense_loss(positives: int) -> None:
    logits, index, scores, target = example(positives)
    weight = torch.where(target > 0, target, 0.6 * logits.detach().sigmoid() ** 1.5)
    expected = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    assert_same_value_and_gradient(varifocal_sum(logits, index, scores, 0.6, 1.5), expected, logits)


@pytest.mark.parametrize("positives", [0, 1, 40])
def test_quality_focal_equals_the_dense_loss(positives: int) -> None:
    logits, index, scores, target = example(positives)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    expected = ((target - logits.sigmoid()).abs() ** 2 * entropy).sum()
    assert_same_value_and_gradient(quality_focal_sum(logits, index, scores, 2.0), expected, logits)


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[[-1e4, 1e4, 0.0]]], requires_grad=True)
    index = (torch.tensor([0, 0]), torch.tensor([0, 0]), torch.tensor([0, 1]))
    for loss in (
        bce_sum(logits, index, torch.ones(2)),
        varifocal_sum(logits, index, torch.ones(2), 0.75, 2.0),
        quality_focal_sum(logits, index, torch.ones(2), 2.0),
    ):
        assert loss.isfinite()
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()

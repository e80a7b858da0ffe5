from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from yolo.training.muon import ADAM_RMS, Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 40), (2, 64, 9)])
def test_singular_values_come_out_near_one(shape: tuple[int, int, int]) -> None:
    result = orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(result)
    assert result.shape == shape
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_directions_are_those_of_the_singular_value_decomposition() -> None:
    matrix = torch.randn(6, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    between = u.T @ orthogonalise(matrix[None])[0] @ vt.T  # diagonal if the singular vectors are the same
    torch.testing.assert_close(between, torch.diag(between.diagonal()), atol=1e-9, rtol=0)


def test_steps_of_a_kernel_follow_the_formulas() -> None:
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(8, 4, 3, 3, dtype=torch.float64, generator=generator)
    gradients = [torch.randn(start.shape, dtype=torch.float64, generator=generator) for _ in range(4)]
    weight = nn.Parameter(start.clone())
    optimizer = Muon([weight], lr=0.01, momentum=0.9, weight_decay=0.1)
    expected, momentum = start.clone(), torch.zeros_like(start)
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
        momentum = 0.9 * momentum + 0.1 * gradient
        direction = orthogonalise((0.9 * momentum + 0.1 * gradient).reshape(1, 8, 36)).reshape(start.shape)
        expected = expected - 0.01 * (ADAM_RMS * math.sqrt(36) * direction + 0.1 * expected)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=1e-12)


def test_a_step_is_as_large_as_one_of_adamw() -> None:
    weight = nn.Parameter(torch.zeros(64, 32, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    Muon([weight], lr=1.0).step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(ADAM_RMS, rel=0.2)


def test_vectors_are_stepped_as_by_adamw() -> None:
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    muon, adamw = Muon([ours], lr=0.01, weight_decay=0.1), torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for seed in range(5):
        gradient = torch.randn(5, generator=torch.Generator().manual_seed(seed))
        ours.grad, theirs.grad = gradient, gradient.clone()
        muon.step()
        adamw.step()
    torch.testing.assert_close(ours, theirs)


def step(layer: nn.Module, optimizer: Muon, images: Tensor) -> None:
    optimizer.zero_grad()
    layer(images).square().sum().backward()
    optimizer.step()


def test_going_on_from_a_saved_state_is_exact() -> None:
    torch.manual_seed(4)
    straight = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
    images = torch.randn(2, 3, 8, 8)
    first = Muon(straight.parameters(), lr=0.01)
    for _ in range(3):
        step(straight, first, images)
    resumed = copy.deepcopy(straight)
    second = Muon(resumed.parameters(), lr=0.01)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(3):
        step(straight, first, images)
        step(resumed, second, images)
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_memory_layout_changes_nothing() -> None:
    torch.manual_seed(5)
    plain = nn.Conv2d(4, 8, 3)
    other = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for layer in (plain, other):
        layer.weight.grad = torch.arange(8 * 36, dtype=torch.float32).reshape(8, 4, 3, 3).sin().contiguous()
        layer.bias.grad = torch.ones(8)
        Muon(layer.parameters(), lr=0.1).step()
    torch.testing.assert_close(plain.weight, other.weight)
    assert other.weight.is_contiguous(memory_format=torch.channels_last)


def test_parameters_without_gradient_stay() -> None:
    layer = nn.Conv2d(3, 4, 1)
    before = copy.deepcopy(layer.state_dict())
    Muon(layer.parameters(), lr=0.1, weight_decay=0.5).step()
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state_dict().items())

from __future__ import annotations

import math

import pytest
import torch

from yolo.training.lion import Lion


def plain(weights: float, gradients: list[float], lr: float, b1: float, b2: float, decay: float, smoothness) -> float:
    """The formulas, on one number."""
    momentum = 0.0
    for g in gradients:
        c = b1 * momentum + (1 - b1) * g
        u = math.copysign(1, c) if smoothness is None else 2 / math.pi * math.atan(smoothness * c)
        weights -= lr * (u + decay * weights)
        momentum = b2 * momentum + (1 - b2) * g
    return weights


def test_first_smooth_step_is_the_golden_value() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    Lion([weight], lr=1.0, betas=(0.9, 0.999), smoothness=30).step()
    assert -weight.item() == pytest.approx(0.7952, abs=5e-5)


@pytest.mark.parametrize("smoothness", [None, 5.0])
def test_many_steps_follow_the_formulas(smoothness: float | None) -> None:
    gradients = torch.randn(20, dtype=torch.float64).tolist()
    weight = torch.nn.Parameter(torch.tensor([0.7], dtype=torch.float64))
    optimizer = Lion([weight], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1, smoothness=smoothness)
    for g in gradients:
        weight.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    assert weight.item() == pytest.approx(plain(0.7, gradients, 0.01, 0.9, 0.95, 0.1, smoothness), rel=1e-12)


def test_smooth_tends_to_the_sign() -> None:
    results = []
    for smoothness in (None, 1e9):
        weight = torch.nn.Parameter(torch.ones(3))
        weight.grad = torch.tensor([0.5, -2.0, 0.1])
        Lion([weight], lr=0.1, smoothness=smoothness).step()
        results.append(weight.detach())
    torch.testing.assert_close(results[0], results[1])


def test_state_survives_saving() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = Lion([weight], lr=0.1)
    weight.grad = torch.ones(2)
    optimizer.step()
    other = Lion([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    assert torch.equal(other.state_dict()["state"][0]["momentum"], optimizer.state_dict()["state"][0]["momentum"])


def test_parameters_without_gradient_stay() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    Lion([weight], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(weight, torch.ones(2))

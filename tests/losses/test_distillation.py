"""The loss that holds a network to a teacher."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.models.test_checkpoint import TinyNetwork
from yolo.losses.distillation import Distillation, map_distillation

CLASSES, BINS = 2, 4


def random_maps(seed: int, scale: float = 2.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(2, 4 * BINS + CLASSES, side, side, generator=generator) for side in (4, 2)]


def test_nothing_for_equal_maps_something_for_others() -> None:
    teacher = random_maps(0)
    assert map_distillation(teacher, teacher, CLASSES).item() == pytest.approx(0, abs=1e-5)
    near = [level + 0.1 * noise for level, noise in zip(teacher, random_maps(1), strict=True)]
    assert 0 < map_distillation(near, teacher, CLASSES) < map_distillation(random_maps(1), teacher, CLASSES)


def test_against_the_sums_by_hand() -> None:
    student, teacher = random_maps(2), random_maps(3)
    total = weights = 0.0
    for found, wanted in zip(student, teacher, strict=True):
        for image in range(2):
            for cell in range(found.shape[2] * found.shape[3]):
                mine, yours = (level[image].flatten(1)[:, cell].double() for level in (found, wanted))
                p, q = yours[4 * BINS :].sigmoid(), mine[4 * BINS :].sigmoid()
                total += float((p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum())
                weight = float(p.max())
                weights += weight
                for side in range(4):
                    a, b = (logits[side * BINS : (side + 1) * BINS].softmax(0) for logits in (yours, mine))
                    total += weight * float((a * (a / b).log()).sum())
    assert map_distillation(student, teacher, CLASSES).item() == pytest.approx(total / max(weights, 1), rel=1e-4)


def test_a_teacher_who_sees_nothing_says_nothing_about_boxes() -> None:
    teacher, student = random_maps(4), random_maps(4)
    for level in (*teacher, *student):
        level[:, 4 * BINS :] = -30
    for level in student:
        level[:, : 4 * BINS] += torch.randn_like(level[:, : 4 * BINS])
    assert map_distillation(student, teacher, CLASSES).item() == pytest.approx(0, abs=1e-5)


def test_finite_for_extreme_logits() -> None:
    teacher, student = ([1e4 * level.sign() for level in random_maps(seed)] for seed in (5, 6))
    student = [level.requires_grad_() for level in student]
    loss = map_distillation(student, teacher, CLASSES)
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(level.grad is not None and level.grad.isfinite().all() for level in student)


def test_training_on_it_brings_a_student_to_its_teacher() -> None:
    torch.manual_seed(0)
    teacher, student, images = TinyNetwork(CLASSES), TinyNetwork(CLASSES), torch.rand(4, 3, 64, 64)
    distillation = Distillation.from_network(teacher, 0.5)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.003)
    history = []
    for _ in range(150):
        maps, *_ = student(images)
        loss = distillation(images, maps)
        assert loss.item() == pytest.approx(0.5 * map_distillation(maps, distillation.wanted, CLASSES).item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.1 * history[0]
    assert all(not level.requires_grad for level in distillation.wanted)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not teacher.training

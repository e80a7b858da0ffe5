from __future__ import annotations

import math

import pytest

from yolo.training.schedule import Rates, Schedule, ScheduleOptions

STEPS, EPOCHS, LR, MOMENTUM = 7, 10, 0.01, 0.937
TOTAL = STEPS * EPOCHS


def curve(kind: str, step: int) -> float:
    """The closed forms, spelt out."""
    p = step / TOTAL
    if kind == "cosine":
        return 0.01 + 0.99 * (1 + math.cos(math.pi * p)) / 2
    if kind == "linear":
        return 1 - 0.99 * p
    if kind == "step":
        return 0.1 ** (step // STEPS // 4)
    low, final = 1 / 25, 1 / 25 / 1e4
    if p < 0.3:
        return low + (1 - low) * (1 - math.cos(math.pi * p / 0.3)) / 2
    return final + (1 - final) * (1 + math.cos(math.pi * (p - 0.3) / 0.7)) / 2


def expected(kind: str, step: int) -> Rates:
    rate, warm = LR * curve(kind, step), 3 * STEPS
    if step >= warm:
        return Rates(rate, rate, MOMENTUM)
    w = (step + 1) / warm
    return Rates(rate * w, 0.1 * (1 - w) + rate * w, 0.8 * (1 - w) + MOMENTUM * w)


@pytest.mark.parametrize("kind", ["cosine", "linear", "step", "one_cycle"])
def test_every_step_equals_the_closed_form(kind: str) -> None:
    schedule = Schedule(ScheduleOptions(lr_scheduler=kind, step_size=4), LR, MOMENTUM, STEPS, TOTAL)
    for step in range(TOTAL):
        assert schedule(step) == pytest.approx(expected(kind, step), rel=1e-12), step


def test_bias_rate_starts_at_most_ten_times_the_learning_rate() -> None:
    schedule = Schedule(ScheduleOptions(), 0.001, MOMENTUM, 100, 1000)
    assert schedule(0).bias_lr == pytest.approx(0.01, rel=0.01)


def test_no_warm_up() -> None:
    schedule = Schedule(ScheduleOptions(warmup_epochs=0), LR, MOMENTUM, STEPS, TOTAL)
    assert schedule(0) == pytest.approx((LR, LR, MOMENTUM))


def test_past_the_end_stays_at_the_end() -> None:
    schedule = Schedule(ScheduleOptions(), LR, MOMENTUM, STEPS, TOTAL)
    assert schedule(TOTAL + 5) == schedule(TOTAL)

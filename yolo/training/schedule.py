"""Learning rate, bias rate and momentum as one pure function of the optimiser step.

Nothing is remembered between steps, so a resumed run is on the same curve by construction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple


@dataclass(frozen=True)
class ScheduleOptions:
    """Learning-rate schedule and warm-up."""

    lr_scheduler: Literal["cosine", "linear", "step", "one_cycle"] = "cosine"
    """Shape of the learning-rate curve over the whole run."""
    lr_min_factor: float = 0.01
    """Cosine and linear: final learning rate as a fraction of `learning_rate`."""
    step_size: int = 30
    """Step: epochs between two drops."""
    step_gamma: float = 0.1
    """Step: factor of each drop."""
    one_cycle_pct_start: float = 0.3
    """One-cycle: fraction of the run in which the rate rises."""
    one_cycle_div_factor: float = 25.0
    """One-cycle: initial rate is `learning_rate` divided by this."""
    one_cycle_final_div_factor: float = 1e4
    """One-cycle: final rate is the initial rate divided by this."""
    warmup_epochs: float = 3.0
    """Epochs over which learning rate, bias rate and momentum ramp linearly onto their curves; 0 turns it off."""
    warmup_momentum: float = 0.8
    """Momentum at the first step (SGD, Muon)."""
    warmup_bias_lr: float = 0.1
    """Learning rate of the biases at the first step, at most 10 x `learning_rate`."""


class Rates(NamedTuple):
    """What the optimiser uses at one step."""

    lr: float
    bias_lr: float
    momentum: float


@dataclass(frozen=True)
class Schedule:
    """Rates at every optimiser step of a run of `total_steps` steps.

    With s = step, S = total steps, W = warm-up steps and r(s) the curve of the chosen shape:
    lr = r(s) w, bias_lr = b (1 - w) + r(s) w, momentum = m0 (1 - w) + m w, where w = min((s + 1) / W, 1).
    """

    options: ScheduleOptions
    learning_rate: float
    momentum: float
    steps_per_epoch: int
    total_steps: int

    def __call__(self, step: int) -> Rates:
        """Rates of the update number `step`, counted from 0."""
        options = self.options
        rate = self.learning_rate * self._curve(step)
        warmup_steps = round(options.warmup_epochs * self.steps_per_epoch)
        if step >= warmup_steps:
            return Rates(rate, rate, self.momentum)
        w = (step + 1) / warmup_steps
        bias_start = min(options.warmup_bias_lr, 10 * self.learning_rate)
        return Rates(
            lr=rate * w,
            bias_lr=bias_start * (1 - w) + rate * w,
            momentum=options.warmup_momentum * (1 - w) + self.momentum * w,
        )

    def _curve(self, step: int) -> float:
        """Fraction of `learning_rate` at `step`, warm-up left out."""
        options = self.options
        progress = min(step / max(self.total_steps, 1), 1.0)
        if options.lr_scheduler == "cosine":
            return _anneal(1.0, options.lr_min_factor, progress)
        if options.lr_scheduler == "linear":
            return 1.0 + (options.lr_min_factor - 1.0) * progress
        if options.lr_scheduler == "step":
            return options.step_gamma ** (step // (self.steps_per_epoch * options.step_size))
        start = 1.0 / options.one_cycle_div_factor
        rise = options.one_cycle_pct_start
        if progress < rise:
            return _anneal(start, 1.0, progress / rise)
        return _anneal(1.0, start / options.one_cycle_final_div_factor, (progress - rise) / (1.0 - rise))


def _anneal(start: float, end: float, progress: float) -> float:
    """Half a cosine from `start` at 0 to `end` at 1."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2

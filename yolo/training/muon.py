"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum whose steps are orthogonal matrices.

On a small dataset the number of updates is what is short, and a step along all directions of a weight matrix at once
gets further than one along the few that dominate the gradient: training-experiment/README.md has the figures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Odd quintic a x + b x^3 + c x^5 that drives every singular value in (0, 1] to about 1; from the source above."""
ITERATIONS = 5
ADAM_RMS = 0.2
"""Root mean square of a step at rate 1, about that of AdamW, so that AdamW's rates fit (Liu et al., 2502.16982)."""


class Muon(Optimizer):
    """Orthogonalised Nesterov momentum for weights of two and more dimensions, AdamW for all others.

    A convolution's kernel is the matrix [out, in / groups * kh * kw]:
    m = momentum m + (1 - momentum) g;  u = orthogonalise(momentum m + (1 - momentum) g);
    p -= lr (0.2 sqrt(max(rows, columns)) u + weight_decay p).

    Args:
        params: parameters or groups.
        lr: learning rate; one to five times AdamW's.
        momentum: share of the old momentum that is kept.
        betas: of AdamW.
        weight_decay: decoupled decay.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            self._adamw([p for p in parameters if p.ndim < 2], group)
            by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for p in parameters:
                if p.ndim >= 2:
                    by_shape[p.shape[0], p[0].numel()].append(p)
            for shape, matrices in by_shape.items():
                self._orthogonal(matrices, shape, group)
        return loss

    def _orthogonal(self, parameters: list[Tensor], shape: tuple[int, int], group: dict[str, Any]) -> None:
        """Step parameters that are matrices of one shape, all at once."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        directions = torch._foreach_lerp(gradients, momenta, group["momentum"])
        steps = orthogonalise(torch.stack([d.reshape(shape) for d in directions]))
        updates = [step.reshape(p.shape) for step, p in zip(steps, parameters, strict=True)]
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, updates, alpha=-group["lr"] * ADAM_RMS * max(shape) ** 0.5)

    def _adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Step the others."""
        if not parameters:
            return
        states = [self.state[p] for p in parameters]
        for state, p in zip(states, parameters, strict=True):
            if not state:
                state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        firsts, seconds, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
        beta1, beta2 = group["betas"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        adamw(
            parameters, gradients, firsts, seconds, [], steps, foreach=True, amsgrad=False, beta1=beta1, beta2=beta2,
            lr=group["lr"], weight_decay=group["weight_decay"], eps=1e-8, maximize=False,
        )  # fmt: skip


def orthogonalise(matrices: Tensor) -> Tensor:
    """Nearly the closest orthogonal matrix of each: U V^T of its singular value decomposition, [K, m, n] -> [K, m, n].

    By Newton-Schulz iteration; singular values come out near 1, between 0.7 and 1.2, tiny ones below: near enough.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x

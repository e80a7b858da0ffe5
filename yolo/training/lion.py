"""Lion (Chen et al., arXiv 2302.06675) and its smooth variant, which replaces the sign by an arc tangent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class Lion(Optimizer):
    """Steps by the sign of a momentum, so that every weight moves by the learning rate.

    c = b1 m + (1 - b1) g;  u = sign(c), or (2 / pi) atan(smoothness c);  p -= lr (u + weight_decay p);
    m = b2 m + (1 - b2) g.

    Args:
        params: parameters or groups.
        lr: learning rate; a third to a tenth of AdamW's.
        betas: b1 and b2.
        weight_decay: decoupled decay.
        smoothness: steepness of the arc tangent; None for the sign, which it tends to as it grows.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        smoothness: float | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "smoothness": smoothness})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            for p in parameters:
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum"] for p in parameters]
            b1, b2 = group["betas"]
            update = torch._foreach_lerp(gradients, momenta, b1)
            if group["smoothness"] is None:
                torch._foreach_sign_(update)
            else:
                torch._foreach_mul_(update, group["smoothness"])
                torch._foreach_atan_(update)
                torch._foreach_mul_(update, 2 / math.pi)
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, update, alpha=-group["lr"])
            torch._foreach_lerp_(momenta, gradients, 1 - b2)
        return loss

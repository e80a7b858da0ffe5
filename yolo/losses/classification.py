"""Classification losses over all anchors and classes with few, soft positives.

Almost every element of `[B, A, C]` has target zero. So both losses are the sum with all targets zero, plus the
difference at the positives: no dense target tensor is built.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

Index = tuple[Tensor, Tensor, Tensor]
"""Image, anchor and class of each positive, int64 `[P]` each; no element twice."""


def bce_sum(logits: Tensor, positives: Index, scores: Tensor, pos_weight: float = 1.0) -> Tensor:
    """Sum of the binary cross entropy with logits.

    Args:
        logits: `[B, A, C]`.
        positives: elements whose target is not zero.
        scores: targets of the positives, in [0, 1], `[P]`.
        pos_weight: weight of the part that pulls probabilities up.

    Returns:
        Scalar.
    """
    positive = logits[positives]
    with_target = (1 - scores) * F.softplus(positive) + pos_weight * scores * F.softplus(-positive)
    return F.softplus(logits).sum() + (with_target - F.softplus(positive)).sum()


def quality_focal_sum(logits: Tensor, positives: Index, scores: Tensor, beta: float) -> Tensor:
    """Sum of the quality focal loss (Li et al., arXiv 2006.04388): |target - probability| ** beta times the entropy.

    Arguments as in `bce_sum`.
    """
    positive = logits[positives]
    with_target = (scores - positive.sigmoid()).abs().pow(beta) * (F.softplus(positive) - scores * positive)
    without = logits.sigmoid().pow(beta) * F.softplus(logits)
    return without.sum() + (with_target - without[positives]).sum()


def varifocal_sum(logits: Tensor, positives: Index, scores: Tensor, alpha: float, gamma: float) -> Tensor:
    """Sum of the varifocal loss (Zhang et al., VarifocalNet, arXiv 2008.13367).

    Binary cross entropy weighted by the target score at positives and by `alpha * probability ** gamma` elsewhere; the
    weight is a constant to the gradient. Arguments as in `bce_sum`.
    """

    def negative(x: Tensor) -> Tensor:
        return alpha * x.detach().sigmoid().pow(gamma) * F.softplus(x)

    positive = logits[positives]
    with_target = scores * (F.softplus(positive) - scores * positive)
    return negative(logits).sum() + (with_target - negative(positive)).sum()
